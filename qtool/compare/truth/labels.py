"""One label for each sample: its class, or a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.compare.kinds import KINDS, score
from qtool.compare.result import Score
from qtool.compare.truth.held import Judged, Outputs, unused
from qtool.compare.watch import CLASSES_FOR_TOP5, Watch
from qtool.errors import DataError

Array = NDArray[Any]
Names = Sequence[str] | None

_FIX = "check the labels;  qtool compare --output NAME  judges by another output"

# kind of labels -> kinds of outputs that they can be about, the best first, and in words
_ABOUT = {
    "i": (("classes", "label"), "a row of class scores, or one class, for each sample"),
    "f": (("value",), "one number for each sample"),
}


class Labels:
    """Labels (n,), held against what the watches keep of each sample.

    Integer labels are classes: for the first output of class scores, else of predicted classes;
    `names[label]` is the class's name, for outputs that speak of names. Float labels are values,
    for the first output of one number per sample. Not `strict`: labels may mean something else.
    """

    inputs = alone = False

    def __init__(
        self, watched: Sequence[Watch], labels: Array, names: Names = None, *, strict: bool = True
    ) -> None:
        self._watched = watched
        self._labels = labels
        self._names = names
        self._strict = strict

    def see(self, feeds: Outputs, reference: Outputs, candidate: Outputs, count: int) -> None:
        """The watches have seen it all."""

    def judge(self) -> Judged:
        """Scores of the output that the labels are about, or why there are none.

        Raises:
            DataError: a label beyond the classes of the output.
        """
        labels, names = self._labels, self._names
        kinds, wanted = _ABOUT[labels.dtype.kind]
        watch = next((w for kind in kinds for w in self._watched if w.kind == kind), None)
        what = f"labels of type {labels.dtype} and shape {labels.shape}"
        if watch is None:
            return unused(what, f"they need an output with {wanted}")
        if watch.kind == "value":
            return Judged(watch.name, _value_scores(watch, labels))
        if watch.kind == "classes":
            try:
                columns = _columns_of(watch, labels, names)
            except DataError as error:
                if self._strict:
                    raise
                return unused(what, error.what)
            return Judged(watch.name, _class_scores(watch, columns))
        reference, candidate = watch.column("reference"), watch.column("candidate")
        if reference.dtype.kind == "O":
            texts = np.array([_name(label, names) for label in labels.tolist()], object)
            if not set(texts) & {*reference, *candidate}:
                why = f"output {watch.name!r} gives texts such as {reference[0]!r}, and no class is"
                return unused(what, f"{why} so called")
            return Judged(watch.name, _predicted(texts, reference, candidate))
        return Judged(watch.name, _predicted(labels, reference, candidate))


def _name(label: int, names: Names) -> str:
    return names[label] if names and 0 <= label < len(names) else str(label)


def _columns_of(watch: Watch, labels: Array, names: Names) -> Array:
    """For each label the column of its class; maps have one for each key."""
    what = f"is not a class of output {watch.name!r}"
    if watch.keys is None:
        wrong = labels[(labels < 0) | (labels >= watch.classes)]
        if len(wrong):
            why = f"its {watch.classes} scores stand for the classes 0 to {watch.classes - 1}; "
            why += f"{len(wrong)} of {len(labels)} labels do not lie there"
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
        top5 = score(KINDS["top5"], (among[0],), (among[1],))
        found = {"top1": found["top1"], "top5": top5, "f1": found["f1"]}
    return found


def _predicted(labels: Array, reference: Array, candidate: Array) -> dict[str, Score]:
    """Scores of one predicted class per sample, all (n,)."""
    # Classes that were met, renumbered from 0: the counters stay small however many there are.
    together = np.concatenate([labels, reference, candidate])
    truth, left, right = np.split(np.unique(together, return_inverse=True)[1], 3)
    return {
        "top1": score(KINDS["top1"], (truth == left,), (truth == right,)),
        "f1": score(KINDS["f1"], (truth, left), (truth, right)),
    }


def _value_scores(watch: Watch, labels: Array) -> dict[str, Score]:
    values = watch.column("reference"), watch.column("candidate")
    with np.errstate(over="ignore", invalid="ignore"):
        errors = [np.square(value - labels) for value in values]
    return {
        "mse": score(KINDS["mse"], (errors[0],), (errors[1],)),
        "r2": score(KINDS["r2"], (labels, values[0]), (labels, values[1])),
    }
