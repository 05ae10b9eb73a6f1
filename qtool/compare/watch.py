"""One output while the batches go by: running sums, and a few small numbers for each sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.compare.result import OutputComparison, Rate
from qtool.numeric import metrics
from qtool.numeric.bootstrap import mean_interval

Array = NDArray[Any]

TOP = 5
CLASSES_FOR_TOP5 = 6
"""With fewer, top-5 is (nearly) always right."""


class Watch:
    """Sees both models' values of one output, batch by batch.

    `kind` is what its samples look like: "classes" (a float row of scores, two columns or more),
    "value" (one float), or "" for anything else.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.kind = ""
        self.classes = 0
        self._dtype = ""
        self._errors = metrics.Errors()
        self._batches = 0
        self._mismatched = 0
        self._columns: dict[str, list[Array]] = {}
        self._probable = True

    def see(self, reference: Any, candidate: Any, count: int) -> None:
        """Take in one batch of `count` samples."""
        self._batches += 1
        if not _numeric(reference) or not _numeric(candidate):
            self._dtype = "other"
        elif self._dtype != "other":
            self._dtype = reference.dtype.name
            if reference.shape == candidate.shape:
                self._errors = self._errors.add(reference, candidate)
            else:
                self._mismatched += 1
        self._note_samples(reference, candidate, count)

    def column(self, name: str) -> Array:
        """What was kept for each sample under this name, all batches joined."""
        return np.concatenate(self._columns[name])

    def result(self) -> OutputComparison | None:
        """The numbers of this output; None if it is not an array of numbers."""
        if self._dtype == "other":
            return None
        errors, broken = self._errors, self._mismatched > 0
        return OutputComparison(
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
            agreement=self._agreement(),
            kl=float(self.column("kl").mean())
            if self.kind == "classes" and self._probable
            else None,
        )

    def notes(self) -> tuple[str, ...]:
        """Sentences on what could not be compared."""
        errors, name = self._errors, f"output {self.name!r}"
        facts = {
            f"{name} is not an array of numbers and was not compared": self._dtype == "other",
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

    def _agreement(self) -> Rate | None:
        if self.kind != "classes":
            return None
        reference, candidate = self.column("reference")[:, 0], self.column("candidate")[:, 0]
        same = (reference == candidate) & (reference >= 0)
        return Rate(float(same.mean()), mean_interval(same), len(same))

    def _note_samples(self, reference: Any, candidate: Any, count: int) -> None:
        """Keep a few numbers per sample while every batch has been of one kind."""
        kind, classes = _kind(reference, candidate, count)
        if self._batches == 1:
            self.kind, self.classes = kind, classes
        elif (kind, classes) != (self.kind, self.classes):
            self.kind, self.classes = "", 0
            self._columns.clear()
        if self.kind == "classes":
            k = TOP if classes >= CLASSES_FOR_TOP5 else 1
            self._keep("reference", metrics.best_classes(reference, k))
            self._keep("candidate", metrics.best_classes(candidate, k))
            self._probable = self._probable and metrics.is_probability(reference)
            if self._probable:
                self._keep("kl", metrics.kl_divergence(reference, candidate))
        elif self.kind == "value":
            self._keep("reference", reference.reshape(count).astype(np.float64))
            self._keep("candidate", candidate.reshape(count).astype(np.float64))

    def _keep(self, name: str, values: Array) -> None:
        self._columns.setdefault(name, []).append(values)


def _numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiub"


def _kind(reference: Any, candidate: Any, count: int) -> tuple[str, int]:
    """What the samples of a batch look like, and with how many classes."""
    if not _numeric(reference) or reference.dtype.kind != "f":
        return "", 0
    if not _numeric(candidate) or reference.shape != candidate.shape:
        return "", 0
    if reference.ndim == 2 and len(reference) == count and reference.shape[1] >= 2:
        return "classes", reference.shape[1]
    return ("value", 0) if reference.size == count else ("", 0)
