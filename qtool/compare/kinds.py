"""Scores against labels, a row each: what is computed, and which way is better.

A score is a pure function of columns with one number for each sample: (..., n) -> (...). All else
follows from its row: the drop, the interval, how it is written, and the gates on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.compare.result import McNemar, Score
from qtool.numeric.bootstrap import (
    RESAMPLES,
    Metric,
    drop_interval,
    mean_interval,
    ratio,
    ratio_interval,
    value_interval,
)
from qtool.numeric.mcnemar import mcnemar
from qtool.numeric.metrics import f1_macro, mean, r2
from qtool.numeric.ranks import spearman
from qtool.numeric.tokens import perplexity

Array = NDArray[Any]
Columns = tuple[Array, ...]


@dataclass(frozen=True)
class Kind:
    """One score. `rate`: in 0 … 1, a sample moves it by about 1/n. `needs` and `fix` are said."""

    function: Metric
    needs: str
    better: str = "high"
    unit: str = ""
    rate: bool = False
    fix: str = "add class folders, labels.csv or labels.npy to the folder of  --data,  or  --scorer"


_CLASSES = "integer labels and an output of class scores or of predicted classes"
_IMAGES = "float labels that are images, and an output of their shape"
_TARGETS = "add labels.npy, the images that the output should be, to the folder of  --data"

KINDS: Mapping[str, Kind] = {
    "top1": Kind(mean, _CLASSES, unit="share", rate=True),
    "top5": Kind(
        mean, "integer labels and an output of six class scores or more", unit="share", rate=True
    ),
    "f1": Kind(f1_macro, _CLASSES, unit="share", rate=True),
    "mse": Kind(mean, "float labels and an output of their shape", better="low"),
    "r2": Kind(r2, "float labels and an output of one number for each sample"),
    "psnr": Kind(mean, _IMAGES, unit="dB", fix=_TARGETS),
    "ssim": Kind(mean, _IMAGES, fix=_TARGETS),
    "spearman": Kind(
        spearman,
        "pairs.csv, and an output that is an embedding of the sample",
        fix="add pairs.csv (first,second,score) to the folder of  --data",
    ),
    "perplexity": Kind(
        perplexity,
        "next_token in qtool.toml, or labels for each place, and logits",
        better="low",
        fix='add  next_token = "INPUT"  under [data] in qtool.toml',
    ),
    "mAP": Kind(
        mean,
        "annotations.json, and an output of boxes",
        unit="share",
        fix="add annotations.json (COCO) to the folder of  --data",
    ),
}


def score(
    kind: Kind,
    reference: Columns,
    candidate: Columns,
    function: Metric | None = None,
    *,
    resamples: int = RESAMPLES,
) -> Score:
    """Both models' columns, (n,) each, as a score; `function` in place of the kind's own."""
    compute = kind.function if function is None else function
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, and said so
        left, right = float(compute(*reference)), float(compute(*candidate))
        drop = left - right if kind.better == "high" else right - left
    hits = compute is mean and kind.rate
    pair = (reference, candidate) if kind.better == "high" else (candidate, reference)
    loss = kind.better == "low"
    return Score(
        left,
        right,
        drop,
        interval=drop_interval(compute, *pair, rate=kind.rate, resamples=resamples),
        n=len(reference[0]),
        ratio=float(ratio(np.array(left), np.array(right))) if loss else None,
        ratio_interval=ratio_interval(compute, reference, candidate) if loss else None,
        better=kind.better,
        unit=kind.unit,
        mcnemar=_mcnemar(*reference, *candidate) if hits else None,
        candidate_interval=mean_interval(*candidate)
        if hits
        else value_interval(compute, candidate, resamples=resamples),
    )


def _mcnemar(reference: Array, candidate: Array) -> McNemar:
    """Of hits, (n,) booleans."""
    lost, gained = int((reference & ~candidate).sum()), int((candidate & ~reference).sum())
    return McNemar(lost, gained, mcnemar(lost, gained))
