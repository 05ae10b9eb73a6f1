"""How far a candidate's numbers are from a reference's, and how well either meets the labels.

Two families. `Errors` streams over pairs of arrays of any shape and keeps only float64 sums. The
scores by label take the samples on the *last* axis and reduce it, so that one call scores one run
or a whole block of bootstrap resamples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]

CHUNK = 1 << 20
"""Elements that are widened to float64 at a time: 8 MB, however large an output is."""

SMALLEST_PROBABILITY = 1e-7
"""A step of float32 at 1. A quantized softmax gives exact zeros, and KL would be infinite."""


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
        total, left, right = self, reference.reshape(-1), candidate.reshape(-1)
        for start in range(0, left.size, CHUNK):
            part = slice(start, start + CHUNK)
            total = total.merge(_sums(left[part], right[part]))
        return total

    def merge(self, other: Errors) -> Errors:
        """The sums over both."""
        both = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return Errors(**both | {"largest": max(self.largest, other.largest)})

    @property
    def identical(self) -> bool:
        """Equal wherever the reference is finite."""
        return self.largest == 0 and self.nonfinite == 0

    @property
    def sqnr_db(self) -> float:
        """Signal over quantization noise in dB; inf when equal, -inf when nothing is left."""
        # SQNR = 10 log10(sum r^2 / sum (r - c)^2)
        if self.nonfinite:
            return -math.inf
        if self.error_power == 0:
            return math.inf
        if self.reference_power == 0:
            return -math.inf
        return 10 * (math.log10(self.reference_power) - math.log10(self.error_power))

    @property
    def cosine(self) -> float:
        """Cosine of the angle between both as vectors; two zero vectors point the same way."""
        # cos = r.c / (|r| |c|)
        if self.nonfinite:
            return math.nan
        if self.reference_power == 0 or self.candidate_power == 0:
            return float(self.reference_power == self.candidate_power)
        norms = math.sqrt(self.reference_power) * math.sqrt(self.candidate_power)
        return min(1.0, max(-1.0, self.dot / norms))

    @property
    def max_abs_error(self) -> float:
        """The largest |r - c|, in the output's own unit."""
        return math.inf if self.nonfinite else self.largest

    @property
    def mean_abs_error(self) -> float:
        """The mean |r - c|, in the output's own unit."""
        return math.inf if self.nonfinite else self.error_sum / max(self.count, 1)


def _sums(reference: Array, candidate: Array) -> Errors:
    """The sums of one flat chunk."""
    r, c = reference.astype(np.float64), candidate.astype(np.float64)
    wanted, usable = np.isfinite(r), np.isfinite(c)
    both = wanted & usable
    skipped = r.size - int(wanted.sum())
    nonfinite = int((wanted & ~usable).sum())
    if skipped or nonfinite:
        r, c = r[both], c[both]
    with np.errstate(over="ignore", under="ignore"):  # squares of float64 beyond 1e154
        error = r - c
        size = np.abs(error)
        return Errors(
            count=r.size,
            reference_power=float(np.sum(r * r)),
            candidate_power=float(np.sum(c * c)),
            error_power=float(np.sum(error * error)),
            dot=float(np.sum(r * c)),
            error_sum=float(np.sum(size)),
            largest=float(np.max(size, initial=0.0)),
            nonfinite=nonfinite,
            skipped=skipped,
        )


def sqnr_db(reference: Array, candidate: Array) -> float:
    """10 log10(sum r^2 / sum (r - c)^2) in dB over arrays of equal shape; inf when equal."""
    return Errors().add(reference, candidate).sqnr_db


def cosine(reference: Array, candidate: Array) -> float:
    """Cosine of the angle between two arrays of equal shape, in -1 … 1."""
    return Errors().add(reference, candidate).cosine


def max_abs_error(reference: Array, candidate: Array) -> float:
    """The largest |r - c| of two arrays of equal shape."""
    return Errors().add(reference, candidate).max_abs_error


def mean_abs_error(reference: Array, candidate: Array) -> float:
    """The mean |r - c| of two arrays of equal shape."""
    return Errors().add(reference, candidate).mean_abs_error


def best_classes(scores: Array, k: int) -> NDArray[np.int64]:
    """The k best classes of each row, best first, (n, classes) -> (n, k).

    Of equal scores the lower class comes first. NaN comes last, and as -1, which is no class.
    """
    descending = -scores.astype(np.float64)
    order = np.argsort(descending, axis=-1, kind="stable")[:, :k]  # numpy sorts NaN to the end
    unknown = np.isnan(np.take_along_axis(descending, order, axis=-1))
    return np.where(unknown, -1, order)


def top_k(scores: Array, labels: NDArray[np.int64], k: int = 1) -> float:
    """The share of rows, in 0 … 1, whose label (n,) is among the k best of scores (n, classes)."""
    return float((best_classes(scores, k) == labels[:, None]).any(axis=-1).mean())


def top1_agreement(reference: Array, candidate: Array) -> float:
    """The share of rows of two (n, classes) arrays that put the same class first."""
    return float((best_classes(reference, 1) == best_classes(candidate, 1)).mean())


def mean(values: Array) -> Floats:
    """The mean over the last axis, in float64: the score made of hits."""
    return np.asarray(np.mean(values, axis=-1, dtype=np.float64))


def f1_macro(labels: NDArray[np.int64], predictions: NDArray[np.int64]) -> Floats:
    """F1 averaged over the classes met in either, (..., n) twice -> (...); classes from 0 on."""
    shape, n = labels.shape[:-1], labels.shape[-1]
    truth, guess = labels.reshape(-1, n), predictions.reshape(-1, n)
    classes = int(max(truth.max(), guess.max())) + 1
    start = (
        np.arange(len(truth))[:, None] * classes
    )  # one counter per row and class, in one bincount

    def count(which: NDArray[np.int64]) -> Floats:
        counted = np.bincount(which.ravel(), minlength=len(truth) * classes)
        return counted.reshape(-1, classes).astype(np.float64)

    # F1 = 2 TP / (2 TP + FP + FN) = 2 TP / (labelled + predicted)
    hits = count((truth + start)[truth == guess])
    met = count(truth + start) + count(guess + start)
    f1 = 2 * hits / np.maximum(met, 1)
    return np.asarray(f1.sum(axis=-1) / (met > 0).sum(axis=-1)).reshape(shape)


def mse(labels: Array, predictions: Array) -> Floats:
    """The mean squared error over the last axis, (..., n) twice -> (...)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return mean((labels.astype(np.float64) - predictions) ** 2)


def squared_errors(targets: Array, values: Array) -> Floats:
    """The mean squared error of each sample, (n, …) twice -> (n,); one is widened at a time."""
    with np.errstate(over="ignore", invalid="ignore"):
        pairs = zip(targets, values, strict=True)
        return np.array([np.square(v.astype(np.float64) - t).mean() for t, v in pairs])


def r2(labels: Array, predictions: Array) -> Floats:
    """The coefficient of determination over the last axis, (..., n) twice -> (...).

    Where the labels are constant: 1 if they are met exactly, else 0 (as scikit-learn has it).
    """
    # R2 = 1 - sum (y - p)^2 / sum (y - mean y)^2
    truth = labels.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        spread = mean((truth - mean(truth)[..., None]) ** 2)
        missed = mse(truth, predictions)
        return np.asarray(
            np.where(spread > 0, 1 - missed / np.where(spread > 0, spread, 1), missed == 0),
            dtype=np.float64,
        )


def is_probability(rows: Array) -> bool:
    """Whether each row of (n, classes) is nonnegative and sums to 1 within 0.1 %."""
    return bool(
        (rows >= 0).all() and np.allclose(rows.sum(axis=-1, dtype=np.float64), 1, atol=1e-3)
    )


def kl_divergence(reference: Array, candidate: Array) -> Floats:
    """KL(reference || candidate) of each row in nats, (n, classes) twice -> (n,).

    Both are raised to at least 1e-7 and brought to sum 1, so that a zero costs much, not infinity.
    """
    # KL(p || q) = sum p (log p - log q)
    p, q = _smoothed(reference), _smoothed(candidate)
    return np.asarray(np.sum(p * (np.log(p) - np.log(q)), axis=-1))


def _smoothed(rows: Array) -> Floats:
    raised = np.maximum(rows.astype(np.float64), SMALLEST_PROBABILITY)
    with np.errstate(invalid="ignore"):  # inf / inf: NaN is the answer for a row that holds inf
        return np.asarray(raised / raised.sum(axis=-1, keepdims=True))
