"""How far a candidate's numbers are from a reference's, as sums in float64.

They add up: over batches (`Errors`), and over any set of samples (`row_sums`), from which the
bootstrap makes its intervals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]

CHUNK = 1 << 16
"""Elements that are widened to float64 at a time, however large an output is: 512 kB, which stay in
the cache."""

SUMS = ("error_power", "reference_power", "candidate_power", "dot", "error_sum", "count")
"""What is kept of each sample, in this order: enough for SQNR, cosine and mean error of any set."""


@dataclass(frozen=True)
class Errors:
    """Sums of a reference, a candidate and their difference, in float64; `add` and `merge` grow it.

    Elements where the reference is not finite are left out and counted in `skipped`. Where only
    the candidate is not finite (counted in `nonfinite`) no finite error is right: the SQNR is
    -inf, the absolute errors are inf and the cosine is NaN.
    """

    count: int = 0
    reference_power: float = 0.0
    candidate_power: float = 0.0
    error_power: float = 0.0
    dot: float = 0.0
    error_sum: float = 0.0
    largest: float = 0.0
    nonfinite: int = 0
    skipped: int = 0

    def add(self, reference: Array, candidate: Array) -> Errors:
        """These sums and those of one more pair of arrays of equal shape (else ValueError)."""
        if reference.shape != candidate.shape:
            raise ValueError(f"shapes differ: {reference.shape} and {candidate.shape}")
        return self.merge(row_sums(reference.reshape(1, -1), candidate.reshape(1, -1))[0])

    def merge(self, other: Errors) -> Errors:
        """The sums over both."""
        both = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return Errors(**both | {"largest": max(self.largest, other.largest)})

    @property
    def identical(self) -> bool:
        """Equal wherever the reference is finite, and that somewhere."""
        return self.largest == 0 and self.nonfinite == 0 and not self.lost

    @property
    def lost(self) -> bool:
        """Whether there is nothing finite to be compared with."""
        return self.count == 0 and self.skipped > 0

    @property
    def sqnr_db(self) -> float:
        """Signal over quantization noise in dB; inf when equal, -inf when nothing is left."""
        if self.nonfinite:
            return -math.inf
        return float(sqnr_of(np.array([self.error_power]), np.array([self.reference_power])))

    @property
    def cosine(self) -> float:
        """Cosine of the angle between both as vectors; two zero vectors point the same way."""
        if self.nonfinite:
            return math.nan
        sums = self.dot, self.reference_power, self.candidate_power
        return float(cosine_of(*(np.array([each]) for each in sums)))

    @property
    def max_abs_error(self) -> float:
        """The largest |r - c|, in the output's own unit."""
        return math.inf if self.nonfinite else self.largest

    @property
    def mean_abs_error(self) -> float:
        """The mean |r - c|, in the output's own unit."""
        return math.inf if self.nonfinite else self.error_sum / max(self.count, 1)


def row_sums(reference: Array, candidate: Array) -> tuple[Errors, Floats]:
    """The sums over all, and those of each row alone, (n, …) twice -> (n, 6): see SUMS.

    Elements where either is not finite are in no sum of a row.
    """
    rows, width = len(reference), math.prod(reference.shape[1:])
    left, right = (array.reshape(rows, width) for array in (reference, candidate))
    found, errors = np.zeros((rows, len(SUMS))), Errors()
    # Many short rows at a time, or a part of a long one.
    high, wide = max(1, CHUNK // max(1, width)), min(CHUNK, max(1, width))
    for row in range(0, rows, high):
        for column in range(0, width, wide):
            part = slice(row, row + high), slice(column, column + wide)
            sums, largest, nonfinite, skipped = _sums(left[part], right[part])
            found[part[0]] += sums
            errors = replace(
                errors,
                largest=max(errors.largest, largest),
                nonfinite=errors.nonfinite + nonfinite,
                skipped=errors.skipped + skipped,
            )
    whole: dict[str, Any] = dict(zip(SUMS, found.sum(axis=0).tolist(), strict=True))
    return replace(errors, **whole | {"count": int(whole["count"])}), found


def _sums(reference: Array, candidate: Array) -> tuple[Floats, float, int, int]:
    """SUMS of each row of one block, the largest error, and the counts of what is not finite."""
    r, c = reference.astype(np.float64), candidate.astype(np.float64)
    counts: Any = r.shape[1]
    nonfinite = skipped = 0
    with np.errstate(all="ignore"):  # squares of float64 beyond 1e154; inf - inf
        if not np.isfinite(r.sum() + c.sum()):
            wanted, usable = np.isfinite(r), np.isfinite(c)
            both = wanted & usable
            skipped = r.size - int(wanted.sum())
            nonfinite = int((wanted & ~usable).sum())
            counts = both.sum(axis=1)
            r[~both] = c[~both] = 0
        powers = [np.einsum("nd,nd->n", *pair) for pair in ((r, r), (c, c), (r, c))]
        error = np.subtract(r, c, out=r)
        noise = np.einsum("nd,nd->n", error, error)
        size = np.abs(error, out=error)
        found = np.empty((len(r), len(SUMS)))
        for column, values in enumerate((noise, *powers, size.sum(axis=1), counts)):
            found[:, column] = values
    return found, float(size.max(initial=0.0)), nonfinite, skipped


def total(values: Array, counts: Array | None = None) -> Floats:
    """The sum over samples, in float64: (..., n) -> (...), or of (n,) with `counts` (..., n).

    `counts` says how often each sample occurs: a resample of the bootstrap.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        if counts is None:
            return np.asarray(np.sum(values, axis=-1, dtype=np.float64))
        # Not by BLAS: its threads and the runtime's, which still spin, would wait for each other.
        return np.asarray(np.einsum("...n,n->...", counts, values.astype(np.float64)))


def sqnr_of(error_power: Array, reference_power: Array, counts: Array | None = None) -> Floats:
    """10 log10(sum r^2 / sum (r - c)^2) in dB, sums of samples as for `total`.

    Inf when equal, -inf when nothing is left.
    """
    error, power = total(error_power, counts), total(reference_power, counts)
    with np.errstate(divide="ignore", invalid="ignore"):  # as logarithms, which cannot overflow
        found = 10 * (np.log10(power) - np.log10(error))
    return np.asarray(np.where(error == 0, np.inf, found))


def cosine_of(
    dot: Array, reference_power: Array, candidate_power: Array, counts: Array | None = None
) -> Floats:
    """The cosine of two vectors, sums of samples as for `total`.

    Two zero vectors point the same way, and one is at right angles to any other.
    """
    # cos = r.c / (|r| |c|)
    r, c = total(reference_power, counts), total(candidate_power, counts)
    norms = np.sqrt(r) * np.sqrt(c)
    with np.errstate(invalid="ignore"):  # inf / inf
        found = total(dot, counts) / np.where(norms == 0, 1, norms)
    return np.asarray(np.where(norms == 0, r == c, np.clip(found, -1, 1)), dtype=np.float64)


def mean_abs_of(error_sum: Array, count: Array, counts: Array | None = None) -> Floats:
    """The mean |r - c|, sums and numbers of elements of samples as for `total`."""
    return np.asarray(total(error_sum, counts) / np.maximum(total(count, counts), 1))
