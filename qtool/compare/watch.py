"""One output while the batches go by: running sums, and a few small numbers for each sample."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.compare.result import OutputComparison, Rate
from qtool.compare.rows import Keys, as_rows
from qtool.numeric import metrics
from qtool.numeric.bootstrap import mean_interval

Array = NDArray[Any]

TOP = 5
CLASSES_FOR_TOP5 = 6
"""With fewer, top-5 is (nearly) always right."""


class Watch:
    """Sees both models' values of one output, batch by batch.

    `kind` is what its samples look like: "classes" (a float row of scores, two columns or more),
    "value" (one float), "label" (one integer or text), or "" for anything else. `keys` are what the
    columns stand for where the output is maps; they may come as arrays or as maps, by `dtype`. The
    numbers of a `state`, which the next run takes, are never classes or values.
    """

    def __init__(self, name: str, dtype: str = "", state: bool = False) -> None:
        self.name = name
        self.state = state
        self.kind = ""
        self.classes = 0
        self.keys: Keys | None = None
        self._declared = dtype
        self._dtype = ""
        self._errors = metrics.Errors()
        self._batches = 0
        self._mismatched = 0
        self._columns: dict[str, list[Array]] = {}
        self._probable = True

    def see(self, reference: Any, candidate: Any, count: int) -> None:
        """Take in one batch of `count` samples."""
        self._batches += 1
        reference, keys = as_rows(reference, self._declared)
        candidate, others = as_rows(candidate, self._declared)
        content = _content(reference)
        if not content or content != _content(candidate):
            self._dtype = "other"
        if self._dtype == "other":
            self._be("", 0, None)
            return
        self._dtype = reference.dtype.name if content == "numbers" else "str"
        if reference.shape != candidate.shape or keys != others:
            self._mismatched += 1
            self._be("", 0, None)
            return
        if content == "numbers":
            self._errors = self._errors.add(reference, candidate)
        self._be(*(("", 0) if self.state else _kind(reference, candidate, count)), keys)
        self._note_samples(reference, candidate, count)

    def column(self, name: str) -> Array:
        """What was kept for each sample under this name, all batches joined."""
        return np.concatenate(self._columns[name])

    def result(self) -> OutputComparison | None:
        """The numbers of this output; None if it is nothing that can be compared."""
        if self._lost:
            return None
        errors, broken, agreement = self._errors, self._mismatched > 0, self._agreement()
        found = OutputComparison(
            self.name,
            self._dtype,
            sqnr_db=-np.inf if broken else errors.sqnr_db,
            cosine=np.nan if broken else errors.cosine,
            max_abs_error=np.inf if broken else errors.max_abs_error,
            mean_abs_error=np.inf if broken else errors.mean_abs_error,
            identical=errors.identical and not broken,
            nonfinite=errors.nonfinite,
            skipped=errors.skipped,
            mismatched=self._mismatched,
            agreement=agreement,
            kl=float(self.column("kl").mean())
            if self.kind == "classes" and self._probable
            else None,
            kind=self.kind,
        )
        if self.kind != "label" or agreement is None:
            return found
        # The distance of two class numbers means nothing.
        return replace(
            found,
            sqnr_db=np.nan,
            cosine=np.nan,
            max_abs_error=np.nan,
            mean_abs_error=np.nan,
            identical=agreement.value == 1,
        )

    def notes(self) -> tuple[str, ...]:
        """Sentences on what could not be compared."""
        errors, name = self._errors, f"output {self.name!r}"
        facts = {
            f"{name} is not an array of numbers and was not compared": self._lost,
            f"{name}: {errors.nonfinite} values of the candidate are NaN or infinite where the "
            "reference is finite": errors.nonfinite,
            f"{name}: {errors.skipped} values of the reference are NaN or infinite, and left out": (
                errors.skipped
            ),
            f"{name}: the shapes differ in {self._mismatched} of {self._batches} runs": (
                self._mismatched
            ),
        }
        return tuple(note for note, holds in facts.items() if holds)

    @property
    def _lost(self) -> bool:
        """Whether there is nothing to compare; of texts only predicted classes are compared."""
        return self._dtype == "other" or (self._dtype == "str" and self.kind != "label")

    def _agreement(self) -> Rate | None:
        if self.kind not in ("classes", "label"):
            return None
        reference, candidate = self.column("reference"), self.column("candidate")
        same = reference == candidate
        if self.kind == "classes":
            same = same[:, 0] & (reference[:, 0] >= 0)
        return Rate(float(same.mean()), mean_interval(same), len(same))

    def _be(self, kind: str, classes: int, keys: Keys | None) -> None:
        """Stay what every batch has been, or become nothing in particular."""
        if self._batches == 1:
            self.kind, self.classes, self.keys = kind, classes, keys
        elif (kind, classes, keys) != (self.kind, self.classes, self.keys):
            self.kind, self.classes, self.keys = "", 0, None
            self._columns.clear()

    def _note_samples(self, reference: Array, candidate: Array, count: int) -> None:
        """Keep a few numbers per sample while every batch has been of one kind."""
        if self.kind == "classes":
            k = TOP if self.classes >= CLASSES_FOR_TOP5 else 1
            self._keep("reference", metrics.best_classes(reference, k))
            self._keep("candidate", metrics.best_classes(candidate, k))
            self._probable = self._probable and metrics.is_probability(reference)
            if self._probable:
                self._keep("kl", metrics.kl_divergence(reference, candidate))
        elif self.kind:
            wide = np.float64 if self.kind == "value" else np.int64
            kept = object if self._dtype == "str" else wide
            self._keep("reference", reference.reshape(count).astype(kept))
            self._keep("candidate", candidate.reshape(count).astype(kept))

    def _keep(self, name: str, values: Array) -> None:
        self._columns.setdefault(name, []).append(values)


def _content(value: Any) -> str:
    """ "numbers" or "texts" for an array of these, "" for anything else."""
    if not isinstance(value, np.ndarray):
        return ""
    return "numbers" if value.dtype.kind in "fiub" else "texts" if value.dtype.kind in "OU" else ""


def _kind(reference: Array, candidate: Array, count: int) -> tuple[str, int]:
    """What the samples of a batch of equal shapes look like, and with how many classes."""
    kinds = {reference.dtype.kind, candidate.dtype.kind}
    if "f" not in kinds:
        return ("label", 0) if reference.size == count else ("", 0)
    if kinds != {"f"}:
        return "", 0
    if reference.ndim == 2 and len(reference) == count and reference.shape[1] >= 2:
        return "classes", reference.shape[1]
    return ("value", 0) if reference.size == count else ("", 0)
