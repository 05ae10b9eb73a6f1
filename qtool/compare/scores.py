"""Both models' outputs held against the labels: one row per metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.compare.result import Score
from qtool.compare.watch import CLASSES_FOR_TOP5, Watch
from qtool.errors import DataError
from qtool.numeric.bootstrap import Metric, drop_interval
from qtool.numeric.metrics import f1_macro, mean, mse, r2

Array = NDArray[Any]
Scores = dict[str, Score]


def judge(watched: Sequence[Watch], labels: Array) -> tuple[str | None, Scores, tuple[str, ...]]:
    """The first output that the labels can be about, its scores, and why there are none.

    Integer labels are classes, for an output of class scores; float labels are values, for an
    output of one number per sample.

    Raises:
        DataError: a label beyond the classes of the output.
    """
    kind = "value" if labels.dtype.kind == "f" else "classes"
    watch = next((w for w in watched if w.kind == kind), None)
    if labels.ndim != 1 or watch is None:
        wanted = "one number for each sample" if kind == "value" else "a row of class scores"
        what = f"labels of type {labels.dtype} and shape {labels.shape}"
        return None, {}, (f"{what} were not used: they need an output with {wanted}",)
    if kind == "value":
        return watch.name, _value_scores(watch, labels), ()
    wrong = labels[(labels < 0) | (labels >= watch.classes)]
    if len(wrong):
        raise DataError(
            f"label {wrong[0]} is not a class of output {watch.name!r}",
            f"its {watch.classes} scores stand for the classes 0 to {watch.classes - 1}",
            "check the labels, or name another output with  --output",
        )
    return watch.name, _class_scores(watch, labels), ()


def _class_scores(watch: Watch, labels: Array) -> Scores:
    reference, candidate = watch.column("reference"), watch.column("candidate")
    first = reference[:, 0] == labels, candidate[:, 0] == labels
    found = {"top1": _score(mean, first[:1], first[1:], rate=True)}
    if watch.classes >= CLASSES_FOR_TOP5:
        among = [(best == labels[:, None]).any(axis=-1) for best in (reference, candidate)]
        found["top5"] = _score(mean, (among[0],), (among[1],), rate=True)
    # Classes that were met, renumbered from 0: the counters stay small however many there are.
    together = np.concatenate([labels, reference[:, 0], candidate[:, 0]])
    truth, left, right = np.split(np.unique(together, return_inverse=True)[1], 3)
    found["f1"] = _score(f1_macro, (truth, left), (truth, right), rate=True)
    return found


def _value_scores(watch: Watch, labels: Array) -> Scores:
    reference = labels, watch.column("reference")
    candidate = labels, watch.column("candidate")
    return {
        "mse": _score(mse, reference, candidate, lower_is_better=True),
        "r2": _score(r2, reference, candidate),
    }


def _score(
    metric: Metric,
    reference: tuple[Array, ...],
    candidate: tuple[Array, ...],
    *,
    rate: bool = False,
    lower_is_better: bool = False,
) -> Score:
    values = float(metric(*reference)), float(metric(*candidate))
    better, worse = (candidate, reference) if lower_is_better else (reference, candidate)
    return Score(
        *values,
        drop=values[1] - values[0] if lower_is_better else values[0] - values[1],
        interval=drop_interval(metric, better, worse, rate=rate),
        n=len(reference[0]),
    )
