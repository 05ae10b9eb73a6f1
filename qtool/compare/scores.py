"""Both models' outputs held against the labels: one row per metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.compare.result import Score
from qtool.compare.targets import TargetErrors
from qtool.compare.watch import CLASSES_FOR_TOP5, Watch
from qtool.errors import DataError
from qtool.numeric.bootstrap import Metric, drop_interval, ratio, ratio_interval
from qtool.numeric.metrics import f1_macro, mean, mse, r2

Array = NDArray[Any]
Names = Sequence[str] | None
Judged = tuple[str | None, dict[str, Score], tuple[str, ...]]

_FIX = "check the labels, or name another output with  --output"

# kind of labels -> kinds of outputs that they can be about, the best first, and in words
_ABOUT = {
    "i": (("classes", "label"), "a row of class scores, or one class, for each sample"),
    "f": (("value",), "one number for each sample"),
}


def judge(watched: Sequence[Watch], labels: Array, names: Names = None) -> Judged:
    """The output that the labels (n,) are about, its scores, and why there are none.

    Integer labels are classes: for the first output of class scores, else of predicted classes;
    `names[label]` is the class's name, for outputs that speak of names. Float labels are values,
    for the first output of one number per sample.

    Raises:
        DataError: a label beyond the classes of the output.
    """
    kinds, wanted = _ABOUT[labels.dtype.kind]
    watch = next((w for kind in kinds for w in watched if w.kind == kind), None)
    if watch is None:
        return _unused(labels, f"they need an output with {wanted}")
    if watch.kind == "value":
        return watch.name, _value_scores(watch, labels), ()
    if watch.kind == "classes":
        return watch.name, _class_scores(watch, _columns_of(watch, labels, names)), ()
    reference, candidate = watch.column("reference"), watch.column("candidate")
    if reference.dtype.kind == "O":
        texts = np.array([_name(label, names) for label in labels.tolist()], object)
        if not set(texts) & {*reference, *candidate}:
            why = f"output {watch.name!r} gives texts such as {reference[0]!r}, and no class is so"
            return _unused(labels, f"{why} called")
        return watch.name, _predicted(texts, reference, candidate), ()
    return watch.name, _predicted(labels, reference, candidate), ()


def judge_targets(errors: Sequence[TargetErrors], targets: Array) -> Judged:
    """The first output of the same shape as the targets (n, …), and its mean squared error."""
    for each in errors:
        if columns := each.columns():
            reference, candidate = columns
            return each.name, {"mse": _loss(mean, (reference,), (candidate,))}, ()
    sizes = ", ".join(map(str, targets.shape[1:]))
    return _unused(targets, f"they need a float output of shape (samples, {sizes})")


def _unused(labels: Array, why: str) -> Judged:
    what = f"labels of type {labels.dtype} and shape {labels.shape} were not used"
    return None, {}, (f"{what}: {why}",)


def _name(label: int, names: Names) -> str:
    return names[label] if names and 0 <= label < len(names) else str(label)


def _columns_of(watch: Watch, labels: Array, names: Names) -> Array:
    """For each label the column of its class; maps have one for each key."""
    what = f"is not a class of output {watch.name!r}"
    if watch.keys is None:
        wrong = labels[(labels < 0) | (labels >= watch.classes)]
        if len(wrong):
            why = f"its {watch.classes} scores stand for the classes 0 to {watch.classes - 1}"
            raise DataError(f"label {wrong[0]} {what}", why, _FIX)
        return labels
    columns = {key: column for column, key in enumerate(watch.keys)}
    texts = isinstance(watch.keys[0], str)
    found = [_name(label, names) if texts else label for label in labels.tolist()]
    for label in found:
        if label not in columns:
            keys = ", ".join(repr(key) for key in watch.keys[:12])
            more = ", …" if len(watch.keys) > 12 else ""
            raise DataError(f"label {label!r} {what}", f"its maps have the keys {keys}{more}", _FIX)
    return np.array([columns[label] for label in found])


def _class_scores(watch: Watch, labels: Array) -> dict[str, Score]:
    reference, candidate = watch.column("reference"), watch.column("candidate")
    found = _predicted(labels, reference[:, 0], candidate[:, 0])
    if watch.classes >= CLASSES_FOR_TOP5:
        among = [(best == labels[:, None]).any(axis=-1) for best in (reference, candidate)]
        top5 = _score(mean, (among[0],), (among[1],), rate=True)
        found = {"top1": found["top1"], "top5": top5, "f1": found["f1"]}
    return found


def _predicted(labels: Array, reference: Array, candidate: Array) -> dict[str, Score]:
    """Scores of one predicted class per sample, all (n,)."""
    # Classes that were met, renumbered from 0: the counters stay small however many there are.
    together = np.concatenate([labels, reference, candidate])
    truth, left, right = np.split(np.unique(together, return_inverse=True)[1], 3)
    return {
        "top1": _score(mean, (truth == left,), (truth == right,), rate=True),
        "f1": _score(f1_macro, (truth, left), (truth, right), rate=True),
    }


def _value_scores(watch: Watch, labels: Array) -> dict[str, Score]:
    reference = labels, watch.column("reference")
    candidate = labels, watch.column("candidate")
    return {"mse": _loss(mse, reference, candidate), "r2": _score(r2, reference, candidate)}


def _score(
    metric: Metric,
    reference: tuple[Array, ...],
    candidate: tuple[Array, ...],
    *,
    rate: bool = False,
) -> Score:
    """A score of which more is better."""
    values = float(metric(*reference)), float(metric(*candidate))
    interval = drop_interval(metric, reference, candidate, rate=rate)
    return Score(*values, values[0] - values[1], interval, len(reference[0]))


def _loss(metric: Metric, reference: tuple[Array, ...], candidate: tuple[Array, ...]) -> Score:
    """A score of which less is better, and whose ratio says more than its difference."""
    values = metric(*reference), metric(*candidate)
    return Score(
        float(values[0]),
        float(values[1]),
        drop=float(values[1] - values[0]),
        interval=drop_interval(metric, candidate, reference),
        n=len(reference[0]),
        ratio=float(ratio(*values)),
        ratio_interval=ratio_interval(metric, reference, candidate),
    )
