"""Makers of the levels of a codebook, for the values that it is to hold, in units of their scales.

    kmeans     least squared error: each level is the mean of the values nearest to it (Lloyd 1982,
               Least squares quantization in PCM)
    log2       0 and powers of two of either sign (Miyashita, Lee and Murmann 2016, Convolutional
               Neural Networks using Logarithmic Data Representation)
    quantile   as many values at each level (the idea of NF4: Dettmers, Pagnoni, Holtzman and
               Zettlemoyer 2023, QLoRA; there of a normal distribution, here of the values' own)

0 is a level of every book whose tensor holds a 0, so that what was pruned stays so; log2 has it in
any case. Values come as points: sorted, with a mass each that says how much an error there costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Reals: TypeAlias = NDArray[np.float64]

_FEW = 256  # points whose best levels are computed, …
_MOST = 64  # … if these are not more
_TURNS = 100  # of Lloyd's algorithm; most end earlier, where a turn gains next to nothing
_GAIN = 1e-4  # of the cost, over
_PATIENCE = 4  # turns
_BINS = 512  # of the density that a start is taken from


@dataclass(frozen=True, eq=False)
class Points:
    """Values other than 0, ascending; the mass of each; and whether there are zeros beside them."""

    values: Reals
    mass: Reals
    zeros: bool

    @property
    def ends(self) -> tuple[float, float]:
        """The least value and the greatest."""
        return float(self.values[0]), float(self.values[-1])


def kmeans(points: Points, count: int, before: Reals | None = None) -> Reals:
    """Levels of least sum of mass (value - level)^2, as far as Lloyd's algorithm finds them. It
    starts from evenly spaced levels one unit apart, so the result is no worse than those; from the
    best for few points, which are the values themselves or bins of them; and from levels as dense
    as the cube root of the values' density (Panter and Dite 1951, best for many levels). Or it goes
    on from levels for about the same values."""
    distinct = points.values[np.append(True, np.diff(points.values) != 0)[: len(points.values)]]
    if len(distinct) + points.zeros <= count:
        return filled(np.append(distinct, [0.0] * points.zeros), count)
    sums = _Sums(points)
    starts = _starts(points, count) if before is None else [before]
    found = [_lloyd(sums, start, points.zeros) for start in starts]
    return min(found, key=sums.cost)


def log2(points: Points, count: int, before: Reals | None = None) -> Reals:
    """0, then +1, -1, +1/2, -1/2, …: of 16 levels 0, 1 to 2^-7 and -1 to -2^-6."""
    places = np.arange(count - 1)
    return np.sort(np.append(0.0, np.where(places % 2, -1.0, 1.0) * 0.5 ** (places // 2)))


def quantile(points: Points, count: int, before: Reals | None = None) -> Reals:
    """The (i + 1/2) / n quantiles; where there are zeros, 0 and the quantiles of the others."""
    levels = _quantiles(points.values, np.ones(len(points.values)), count - points.zeros)
    return np.sort(np.append(levels, [0.0] * points.zeros))


MAKERS: dict[str, Callable[[Points, int, Reals | None], Reals]] = {
    "kmeans": kmeans,
    "log2": log2,
    "quantile": quantile,
}


def filled(levels: Reals, count: int) -> Reals:
    """Distinct levels in order, the last one repeated where there are fewer than asked for."""
    levels = np.unique(levels)
    if not len(levels):
        levels = np.zeros(1)
    return np.append(levels, np.repeat(levels[-1:], count - len(levels)))


class _Sums:
    """Sums of mass, mass x and mass x^2 over any run of points, at the cost of looking two up."""

    def __init__(self, points: Points) -> None:
        x, mass = points.values, points.mass
        self.points = x
        self.sums = np.zeros((3, len(x) + 1))
        for row, terms in enumerate((mass, mass * x, mass * x * x)):
            np.cumsum(terms, out=self.sums[row, 1:])

    def runs(self, levels: Reals) -> tuple[NDArray[np.intp], Reals]:
        """Where the points nearest to each level begin and end, and the three sums of each."""
        inner = np.searchsorted(self.points, (levels[1:] + levels[:-1]) / 2, "right")
        ends = np.concatenate(([0], inner, [len(self.points)]))
        return ends, np.diff(self.sums[:, ends])

    def cost(self, levels: Reals) -> float:
        """The sum of mass (value - level)^2."""
        return float(self._costs(levels, self.runs(levels)[1]).sum())

    @staticmethod
    def _costs(levels: Reals, sums: Reals) -> Reals:
        mass, first, second = sums
        costs: Reals = np.maximum(second - 2 * levels * first + levels * levels * mass, 0.0)
        return costs

    def means(self, levels: Reals, pinned: bool) -> Reals:
        """Each level moved to the mean of the points nearest to it; 0 stays where it is pinned. One
        that has none goes to an end of the run that costs most, and so halves it."""
        ends, sums = self.runs(levels)
        mass = sums[0]
        held = mass > 0
        moved = np.divide(sums[1], mass, out=levels.copy(), where=held)
        if pinned:
            moved[levels == 0] = 0.0
        costs = self._costs(moved, sums)
        for empty in np.flatnonzero(~held & ~(pinned & (levels == 0))):
            worst = int(costs.argmax())
            if not costs[worst] > 0:
                break
            first, last = self.points[ends[worst]], self.points[ends[worst + 1] - 1]
            moved[empty] = first if moved[worst] - first > last - moved[worst] else last
            costs[worst] = 0.0
        return np.sort(moved)


def _lloyd(sums: _Sums, levels: Reals, pinned: bool) -> Reals:
    """The best of all turns: what gives an empty run something to hold may cost more at first."""
    best, costs = levels, [sums.cost(levels)]
    for turn in range(1, _TURNS):
        levels = sums.means(levels, pinned)
        costs.append(sums.cost(levels))
        if costs[-1] < min(costs[:-1]):
            best = levels
        if costs[-1] >= (1 - _GAIN) * costs[max(0, turn - _PATIENCE)]:
            break
    return best


def _starts(points: Points, count: int) -> Iterator[Reals]:
    yield np.arange(count, dtype=np.float64) - count // 2
    if count <= _MOST:
        yield _with_zero(_best(_few(points), count), points.zeros)
    edges = np.linspace(*points.ends, _BINS + 1)
    density = np.histogram(points.values, edges, weights=points.mass)[0]
    if density.sum() > 0:
        middles = (edges[1:] + edges[:-1]) / 2
        yield _with_zero(_quantiles(middles, np.cbrt(density), count), points.zeros)


def _few(points: Points) -> Points:
    """Means of equal bins where there are many points."""
    if len(points.values) <= _FEW:
        return points
    low, high = points.ends
    place = ((points.values - low) * (_FEW / max(high - low, 1e-300))).astype(np.int64)
    place = np.minimum(place, _FEW - 1)
    mass: Reals = np.bincount(place, points.mass, _FEW).astype(np.float64)
    first = np.bincount(place, points.mass * points.values, _FEW)
    held = mass > 0
    return Points(first[held] / mass[held], mass[held], points.zeros)


def _best(points: Points, count: int) -> Reals:
    """The levels of least cost of all, by dynamic programming: the best k levels for the first j
    points are the best k - 1 for the first i, and the mean of the others (Wang and Song 2011)."""
    mass, first, second = _Sums(points).sums
    runs = [each[None, :] - each[:, None] for each in (mass, first, second)]
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = np.where(runs[0] > 0, runs[2] - runs[1] ** 2 / runs[0], np.inf)
    np.fill_diagonal(cost, 0.0)
    cost[np.tril_indices(len(cost), -1)] = np.inf
    least, begins = cost[0], []
    for _ in range(count - 1):
        total = least[:, None] + cost
        begins.append(total.argmin(0))
        least = total.min(0)
    ends = [len(points.values)]
    for begin in reversed(begins):
        ends.append(int(begin[ends[-1]]))
    bounds = np.array([0, *ends[::-1]])
    held = np.diff(mass[bounds]) > 0
    return filled(np.diff(first[bounds])[held] / np.diff(mass[bounds])[held], count)


def _quantiles(values: Reals, mass: Reals, count: int) -> Reals:
    """The (i + 1/2) / count quantiles of values in order, between them in proportion."""
    if not len(values):
        return np.zeros(count)
    reached = np.cumsum(mass) - mass / 2
    found: Reals = np.interp((np.arange(count) + 0.5) / count * mass.sum(), reached, values)
    return found


def _with_zero(levels: Reals, pinned: bool) -> Reals:
    if pinned:
        levels[np.abs(levels).argmin()] = 0.0
    return levels
