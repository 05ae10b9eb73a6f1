"""How sure a measured number is: 95 % intervals by resampling the samples, paired.

Efron, B. (1979), "Bootstrap methods: another look at the jackknife"; the percentile interval.
Paired: reference and candidate are scored on the same resample, so what is hard for both cancels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.metrics import mean

Array = NDArray[Any]
Statistic = Callable[[NDArray[np.int64]], Array]
Metric = Callable[..., Array]

RESAMPLES = 2000
COVERAGE = (0.025, 0.975)
BLOCK = 1 << 20
"""Indices that are drawn at a time (8 MB), so memory does not grow with the number of samples."""


@dataclass(frozen=True)
class Interval:
    """A 95 % interval, ends included, in the unit of what was measured."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def widened(self, by: float, within: tuple[float, float]) -> Interval:
        """Wider on both sides, but inside what is possible."""
        return Interval(max(self.low - by, within[0]), min(self.high + by, within[1]))


def interval(statistic: Statistic, n: int, *, seed: int = 0) -> Interval:
    """The interval of a statistic of n samples; everything is possible with fewer than two.

    `statistic` maps indices (resamples, n) into the samples to one number per resample. It must
    be paired by construction: it reads all its columns with the same indices.
    """
    if n < 2:
        return Interval(-np.inf, np.inf)
    generator = np.random.default_rng(seed)
    rows = max(1, BLOCK // n)
    with np.errstate(invalid="ignore"):  # inf - inf: dealt with below
        values = np.concatenate(
            [
                statistic(generator.integers(0, n, size=(min(rows, RESAMPLES - done), n)))
                for done in range(0, RESAMPLES, rows)
            ]
        )
    if not np.isfinite(values).all():  # an infinite error in some resamples: nothing is known
        return Interval(-np.inf, np.inf)
    low, high = np.quantile(values, COVERAGE)
    return Interval(float(low), float(high))


def mean_interval(scores: Array, *, seed: int = 0) -> Interval:
    """The interval of the mean of scores (n,); booleans are hits, and their mean a rate."""
    if scores.dtype == bool and (scores == scores[:1]).all():
        return _ignorance(float(scores[0]), len(scores), (0.0, 1.0))
    return interval(lambda index: mean(scores[index]), len(scores), seed=seed)


def drop_interval(
    metric: Metric,
    reference: tuple[Array, ...],
    candidate: tuple[Array, ...],
    *,
    rate: bool = False,
    seed: int = 0,
) -> Interval:
    """The paired interval of metric(*reference) - metric(*candidate), columns of shape (n,).

    `metric` reduces the last axis. `rate` says that it lies in 0 … 1, one sample moving it by
    about 1/n.
    """
    n = len(reference[0])
    pairs = list(zip(reference, candidate, strict=True))
    if rate and all(np.array_equal(r, c) for r, c in pairs):
        return _ignorance(0.0, n, (-1.0, 1.0))
    return interval(
        lambda index: (
            metric(*(r[index] for r in reference)) - metric(*(c[index] for c in candidate))
        ),
        n,
        seed=seed,
    )


def ratio(reference: Array, candidate: Array) -> Array:
    """Candidate over reference; 1 where both are zero, infinite where the reference alone is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where((reference == 0) & (candidate == 0), 1.0, candidate / reference))


def ratio_interval(
    metric: Metric,
    reference: tuple[Array, ...],
    candidate: tuple[Array, ...],
    *,
    seed: int = 0,
) -> Interval:
    """The paired interval of metric(*candidate) / metric(*reference), columns of shape (n,)."""
    return interval(
        lambda index: ratio(
            metric(*(column[index] for column in reference)),
            metric(*(column[index] for column in candidate)),
        ),
        len(reference[0]),
        seed=seed,
    )


def ratio_of_medians(reference: Array, candidate: Array, *, seed: int = 0) -> Interval:
    """The paired interval of median(candidate) / median(reference), both (n,) and above zero."""
    return interval(
        lambda index: np.median(candidate[index], axis=-1) / np.median(reference[index], axis=-1),
        len(reference),
        seed=seed,
    )


def _ignorance(value: float, n: int, within: tuple[float, float]) -> Interval:
    """What n samples without one exception cannot rule out.

    No resample of them shows one either, and the bootstrap would claim certainty. The rule of
    three: 0 of n seen leaves a rate of up to 3/n (Hanley and Lippman-Hand, 1983).
    """
    return Interval(value, value).widened(3 / n, within)
