"""One output while the batches go by: running sums, and a few small numbers for each sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.compare.result import OutputComparison, Rate
from qtool.compare.rows import Keys, as_rows
from qtool.numeric import distances, metrics
from qtool.numeric.bootstrap import Interval, mean_interval, value_intervals

Array = NDArray[Any]

TOP = 5
CLASSES_FOR_TOP5 = 6
"""With fewer, top-5 is (nearly) always right."""


class Watch:
    """Sees both models' values of one output, block by block.

    `kind` is what its samples look like: "classes" (a float row of scores, two columns or more),
    "value" (one float), "label" (one integer or text), or "" for anything else. `keys` are what the
    columns stand for where the output is maps; they may come as arrays or as maps, by `dtype`. The
    numbers of a `state`, which the next run takes, are never classes or values, and those of a
    `vector`, an embedding or what has targets of its shape, never classes.
    """

    def __init__(
        self, name: str, dtype: str = "", *, state: bool = False, vector: bool = False
    ) -> None:
        self.name = name
        self.state = state
        self._vector = vector
        self.kind = ""
        self.classes = 0
        self.keys: Keys | None = None
        self._declared = dtype
        self._dtype = ""
        self._errors = distances.Errors()
        self._runs = 0
        self._blocks = 0
        self._mismatched = 0
        self._sums: list[Array] = []
        self._columns: dict[str, list[Array]] = {}
        self._probable = True

    def see(self, reference: Any, candidate: Any, count: int, runs: int = 1) -> None:
        """Take in `count` samples of as many `runs`, whose values are joined."""
        self._runs += runs
        self._blocks += 1
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
            self._mismatched += runs
            self._be("", 0, None)
            return
        if content == "numbers":
            rows = reference.shape[:1] == (count,)
            shape = reference.shape if rows else (1, *reference.shape)
            errors, sums = distances.row_sums(reference.reshape(shape), candidate.reshape(shape))
            self._errors = self._errors.merge(errors)
            self._sums.append(sums)
        kind, classes = ("", 0) if self.state else _kind(reference, candidate, count)
        if self._vector and kind == "classes":
            kind, classes = "", 0
        self._be(kind, classes, keys)
        self._note_samples(reference, candidate, count)

    def column(self, name: str) -> Array:
        """What was kept for each sample under this name, all batches joined."""
        return np.concatenate(self._columns[name])

    def result(self) -> OutputComparison | None:
        """The numbers of this output; None if it is nothing that can be compared."""
        if self._lost:
            return None
        errors, broken, agreement = self._errors, self._mismatched > 0, self._agreement()
        nothing = np.nan if errors.lost else 0.0  # equal to nothing is not equal
        found = OutputComparison(
            self.name,
            self._dtype,
            sqnr_db=-np.inf if broken else nothing or errors.sqnr_db,
            cosine=np.nan if broken else nothing or errors.cosine,
            max_abs_error=np.inf if broken else nothing or errors.max_abs_error,
            mean_abs_error=np.inf if broken else nothing or errors.mean_abs_error,
            identical=errors.identical and not broken,
            nonfinite=errors.nonfinite,
            skipped=errors.skipped,
            mismatched=self._mismatched,
            agreement=agreement,
            kl=float(self.column("kl").mean())
            if self.kind == "classes" and self._probable
            else None,
            kind=self.kind,
            n=self._n,
            intervals={} if broken or self.kind == "label" else self._intervals(),
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

    def _intervals(self) -> dict[str, Interval]:
        """Of what is the mean, or a function of sums, over samples."""
        found = {}
        unknown = self._errors.nonfinite or self._errors.lost
        if self._sums and not unknown and not self._errors.identical:
            column = dict(zip(distances.SUMS, np.concatenate(self._sums).T, strict=True))
            figures = [
                (metric, tuple(column[each] for each in of)) for metric, of in _DISTANCES.values()
            ]
            found = dict(zip(_DISTANCES, value_intervals(figures), strict=True))
        if self.kind == "classes" and self._probable:
            found["kl"] = mean_interval(self.column("kl"))
        return found

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
            f"{name}: the shapes differ in {self._mismatched} of {self._runs} runs": (
                self._mismatched
            ),
        }
        return tuple(note for note, holds in facts.items() if holds)

    @property
    def _n(self) -> int:
        return sum(map(len, self._sums))

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
        """Stay what every block has been, or become nothing in particular."""
        if self._blocks == 1:
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


# distance -> its function of the columns of SUMS named behind it
_DISTANCES: Mapping[str, tuple[Callable[..., Array], tuple[str, ...]]] = {
    "sqnr_db": (distances.sqnr_of, ("error_power", "reference_power")),
    "cosine": (distances.cosine_of, ("dot", "reference_power", "candidate_power")),
    "mean_abs_error": (distances.mean_abs_of, ("error_sum", "count")),
}


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
