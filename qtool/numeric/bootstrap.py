"""How sure a measured number is: 95 % intervals by resampling the samples, paired.

Efron, B. (1979), "Bootstrap methods: another look at the jackknife". Paired: reference and
candidate are scored on the same resample, so what is hard for both cancels.

Plain percentiles of few samples or of rare events are too narrow. Two corrections, both of which
vanish as samples come in (`python -m tests.benchmarks.cover` shows what they do):

- The percentiles are those that make the interval of a normal mean the exact one of Student's t
  (Hesterberg, T. (2015), "What teachers should know about the bootstrap", section 4.4).
- Rates are drawn from the samples and a few made up: of a rate one hit and one miss, of a drop half
  a sample that is lost and half one that is gained (Agresti, A. and Min, Y. (2005), "Simple
  improved confidence intervals for comparing matched proportions").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.metrics import mean

Array = NDArray[Any]
Floats = NDArray[np.float64]
Statistic = Callable[[NDArray[np.int64]], Array]
Columns = tuple[Array, ...]
Metric = Callable[..., Array]
"""Columns (n,) of samples, and `counts` (resamples, n): how often each sample occurs. It gives one
number per resample."""

RESAMPLES = 2000
TAIL = 0.025
BLOCK = 1 << 19
"""Numbers that are drawn at a time (4 MB), so memory does not grow with the number of samples."""

MANY = 0.1
"""With so many distinct samples of all, it is faster to draw samples than how often each occurs."""


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
    return _spanned(statistic, _indices(n, seed), n)


def value_interval(
    metric: Metric, columns: Columns, *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """The interval of metric(*columns), columns of shape (n,)."""
    (found,) = value_intervals([(metric, columns)], seed=seed, resamples=resamples)
    return found


def value_intervals(
    figures: Sequence[tuple[Metric, Columns]], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[Interval, ...]:
    """The interval of each metric(*columns), all columns of shape (n,); the resamples are shared.

    To draw them takes longer than most metrics do.
    """
    n = len(figures[0][1][0])
    if n < 2:
        return (Interval(-math.inf, math.inf),) * len(figures)
    with np.errstate(invalid="ignore"):
        drawn = [
            [metric(*columns, counts=counts) for metric, columns in figures]
            for counts in _samples(n, seed, resamples)
        ]
    return tuple(_ends(np.concatenate(values), n) for values in zip(*drawn, strict=True))


def mean_interval(scores: Array, *, seed: int = 0) -> Interval:
    """The interval of the mean of scores (n,); booleans are hits, and their mean a rate."""
    n = len(scores)
    if scores.dtype != bool:
        return value_interval(mean, (scores,), seed=seed)
    if (scores == scores[:1]).all():
        return _ignorance(float(scores[0]), n, (0.0, 1.0))
    chance = (np.count_nonzero(scores) + 1) / (n + 2)
    hits = np.random.default_rng(seed).binomial(n, chance, size=RESAMPLES)
    return _ends(hits / n, n)


def drop_interval(
    metric: Metric,
    reference: Columns,
    candidate: Columns,
    *,
    rate: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """The paired interval of metric(*reference) - metric(*candidate), columns of shape (n,).

    `rate` says that the metric lies in 0 … 1, one sample moving it by about 1/n. `resamples` is for
    other metrics, which may be slow.
    """
    n = len(reference[0])
    if not rate:
        draws = _samples(n, seed, resamples)
        return _paired(np.subtract, metric, reference, candidate, draws, n)
    if all(np.array_equal(r, c) for r, c in zip(reference, candidate, strict=True)):
        return _ignorance(0.0, n, (-1.0, 1.0))
    left, right, distinct, made_up = _smoothed(reference, candidate)
    draws = _rates(distinct, made_up, np.random.default_rng(seed))
    return _paired(np.subtract, metric, left, right, draws, n)


def ratio(reference: Array, candidate: Array) -> Array:
    """Candidate over reference; 1 where both are zero, infinite where the reference alone is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where((reference == 0) & (candidate == 0), 1.0, candidate / reference))


def ratio_interval(
    metric: Metric,
    reference: Columns,
    candidate: Columns,
    *,
    seed: int = 0,
) -> Interval:
    """The paired interval of metric(*candidate) / metric(*reference), columns of shape (n,)."""
    n = len(reference[0])
    return _paired(ratio, metric, reference, candidate, _samples(n, seed), n)


def _paired(
    compared: Callable[[Array, Array], Array],
    metric: Metric,
    reference: Columns,
    candidate: Columns,
    draws: Iterator[Floats],
    n: int,
) -> Interval:
    """The interval of compared(metric(*reference), metric(*candidate)) on the same resamples."""
    return _spanned(
        lambda counts: compared(
            metric(*reference, counts=counts), metric(*candidate, counts=counts)
        ),
        draws,
        n,
    )


def _spanned(statistic: Callable[[Any], Array], draws: Iterator[Any], n: int) -> Interval:
    """The interval that the statistic spans over all draws from n samples."""
    if n < 2:
        return Interval(-math.inf, math.inf)
    with np.errstate(invalid="ignore"):  # inf - inf: dealt with where the ends are taken
        return _ends(np.concatenate([statistic(drawn) for drawn in draws]), n)


def _blocks(width: int, resamples: int = RESAMPLES) -> Iterator[int]:
    """Numbers of resamples, in all so many, of which each block has at most BLOCK elements."""
    rows = max(1, BLOCK // width)
    yield from (min(rows, resamples - done) for done in range(0, resamples, rows))


def _indices(n: int, seed: int, resamples: int = RESAMPLES) -> Iterator[NDArray[np.int64]]:
    """Which samples make each resample: (rows, n)."""
    generator = np.random.default_rng(seed)
    return (generator.integers(0, n, size=(rows, n)) for rows in _blocks(n, resamples))


def _samples(n: int, seed: int, resamples: int = RESAMPLES) -> Iterator[Floats]:
    """How often each of n samples occurs in each resample: (rows, n)."""
    return (_counts(index, n) for index in _indices(n, seed, resamples))


def _counts(index: NDArray[np.int64], width: int) -> Floats:
    """How often each of `width` numbers occurs in each row: floats, to be multiplied with."""
    found = np.empty((len(index), width))
    for row, drawn in zip(found, index, strict=True):
        row[:] = np.bincount(drawn, minlength=width)
    return found


def _smoothed(reference: Columns, candidate: Columns) -> tuple[Columns, Columns, Array, Floats]:
    """The distinct samples, how often each occurs, and its share in one that is made up.

    That one is any sample on which the models differ, and as often as not they change places there.
    Without it two samples lost of 500 and none gained would prove that none can be gained.
    """
    together = (*reference, *candidate)
    codes = [np.unique(column, return_inverse=True)[1] for column in together]
    # Mixed radix, renumbered at each step: the numbers stay below n * n.
    code = reduce(lambda a, b: np.unique(a * (b.max() + 1) + b, return_inverse=True)[1], codes)
    _, first, counts = np.unique(code, return_index=True, return_counts=True)
    left, right = ([c[first] for c in columns] for columns in (reference, candidate))
    differ = np.any([a != b for a, b in zip(left, right, strict=True)], axis=0)
    share = np.where(differ, counts, 0) / (2 * counts[differ].sum())
    return (
        tuple(np.concatenate([a, b[differ]]) for a, b in zip(left, right, strict=True)),
        tuple(np.concatenate([b, a[differ]]) for a, b in zip(left, right, strict=True)),
        np.concatenate([counts, np.zeros(differ.sum(), np.int64)]),
        np.concatenate([share, share[differ]]),
    )


def _rates(distinct: Array, made_up: Floats, generator: np.random.Generator) -> Iterator[Floats]:
    """How often each distinct sample occurs in resamples of n: of the n and the one made up."""
    n, kinds = int(distinct.sum()), len(distinct)
    if kinds <= MANY * n:
        chances = (distinct + made_up) / (n + 1)
        for rows in _blocks(kinds):
            yield generator.multinomial(n, chances, size=rows).astype(np.float64)
        return
    members = np.append(np.repeat(np.arange(kinds), distinct), -1)
    for rows in _blocks(n):
        drawn = members[generator.integers(0, n + 1, size=(rows, n))]
        lone = drawn < 0
        drawn[lone] = generator.choice(kinds, size=np.count_nonzero(lone), p=made_up)
        yield _counts(drawn, kinds)


def _ends(values: Array, n: int) -> Interval:
    """The interval that the statistic of resamples of n samples spans."""
    if not np.isfinite(values).all():  # an infinite error in some resamples: nothing is known
        return Interval(-math.inf, math.inf)
    tail = _tail(n)
    low, high = np.quantile(values, (tail, 1 - tail))
    return Interval(float(low), float(high))


def _tail(n: int) -> float:
    """The share of resamples beyond either end: less than 2.5 % for few samples.

    A resample's mean varies by s sqrt((n - 1) / n) and is taken as normal; the truth is Student's.
    """
    normal, freedom = NormalDist(), n - 1
    z = normal.inv_cdf(1 - TAIL)
    # Student's quantile from the normal one: Abramowitz and Stegun (1964), 26.7.5.
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    student = sum(term / freedom**power for power, term in enumerate(terms))
    return normal.cdf(-student * math.sqrt(n / freedom))


def _ignorance(value: float, n: int, within: tuple[float, float]) -> Interval:
    """What n samples without one exception cannot rule out.

    No resample of them shows one either, and the bootstrap would claim certainty. The rule of
    three: 0 of n seen leaves a rate of up to 3/n (Hanley and Lippman-Hand, 1983).
    """
    return Interval(value, value).widened(3 / n, within)
