"""The range method `entropy`: the range in whose codes most of the distribution is left.

Migacz, S. (2017), "8-bit Inference with TensorRT", GTC: of ranges on a uniform fine histogram, the
one of least KL(P || Q) = sum P log(P / Q), where

    P   its fine bins, what it clips added to the outermost that is not empty
    Q   its fine bins without that, merged into as many levels as the type has; the mass of a level
        spread evenly over those of its fine bins that are not empty

Three things are not as there, each because KL alone would be led astray:

1. Zeros count in neither: every range keeps them exactly. (NVIDIA's own code gives their bin the
   count of the next.)
2. The grid ends at twice the range that is best with the histogram's own bins for the fine ones,
   which resolve every magnitude alike, and grows or shrinks until the best lies inside. On a grid
   as wide as one huge value all others are one bin, where no loss is seen.
3. At most twice a level's even share is clipped: where nearly all is clipped onto one bin, P and Q
   are one spike, and alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.histogram import Histogram
from qtool.numeric.types import IntType

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FINE = 2048  # fine bins, or 16 to a level if that is more
_TRIED = 512  # candidates for one end: closer ones would differ by less than half a level
_EMPTY = 1e-3  # less mass than that is a bin which a value's span only touches
_TIE = 1e-9


def entropy(histogram: Histogram, kind: IntType, symmetric: bool) -> tuple[float, float]:
    """The range of least KL divergence, of equals the widest; above 8 bits all that was seen.

    symmetric: that of |x|, with half of the levels. Otherwise each end is searched in turn, given
    the other, until neither moves.
    """
    if kind.codes > 256:  # steps finer than the histogram's bins: only what clipping loses is seen
        return histogram.low, histogram.high
    if symmetric:
        _, high = _best(_magnitudes(histogram), kind.half + 1)
        return -high, high
    return _best(histogram, kind.codes)


def _best(histogram: Histogram, levels: int) -> tuple[float, float]:
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    values = _Values.of(histogram)
    if not values.mass.size:
        return low, high
    reach = _reach(values, low, high, levels)
    ends = values.within(2 * reach, low, high)
    while True:
        grid = _Grid.of(values, *ends, levels)
        found, shut, narrow = grid.search()
        reach = max(reach, -found[0], found[1])
        wider = values.within(2 * reach, low, high)
        if not shut or wider == ends:
            break
        ends = wider
    while narrow:
        found, _, narrow = _Grid.of(values, *found, levels).search()
    return found


def _magnitudes(histogram: Histogram) -> Histogram:
    """The statistic of |x|."""
    counts = np.bincount(histogram.bins & 0x7FFF, histogram.counts, 1).astype(np.int64)
    bins = np.flatnonzero(counts)
    low, high = max(histogram.low, -histogram.high, 0.0), max(-histogram.low, histogram.high)
    return Histogram(bins.astype(np.uint16), counts[bins], low, high, histogram.on_grid)


@dataclass(frozen=True)
class _Values:
    """What was seen but zeros, ascending: each `mass` lies evenly between `start` and `end`."""

    start: Floats
    end: Floats
    mass: Floats

    @classmethod
    def of(cls, histogram: Histogram) -> _Values:
        if histogram.on_grid:
            start, counts = histogram.sorted
            end, seen = start, start != 0
        else:
            start, end, counts = histogram.spans
            seen = histogram.bins & 0x7FFF != 0
        order = np.flatnonzero(seen)[np.argsort(start[seen], kind="stable")]
        return cls(start[order], end[order], counts[order].astype(np.float64))

    def within(self, most: float, low: float, high: float) -> tuple[float, float]:
        """[low, high]; an end beyond `most` becomes that of what lies inside."""
        if low < -most:
            low = float(self.start[self.start >= -most].min(initial=0.0))
        if high > most:
            high = float(self.end[self.end <= most].max(initial=0.0))
        return low, high

    def on(self, edges: Floats) -> Floats:
        """The mass below, between each two of the edges, and above: (edges + 1,)."""
        wide = self.end > self.start
        sums = np.append(0.0, np.cumsum(self.mass[wide]))
        knots = np.stack([self.start[wide], self.end[wide]], axis=1).reshape(-1)
        below = np.zeros(len(edges))
        if knots.size:
            below = np.interp(edges, knots, np.repeat(sums, 2)[1:-1])
        mass = np.diff(below, prepend=0.0, append=sums[-1])
        mass[mass < _EMPTY] = 0.0
        points = self.start[~wide]
        place = np.searchsorted(edges, points, side="right")
        place[points == edges[-1]] -= 1  # the last bin has both its ends, as in np.histogram
        return np.asarray(mass + np.bincount(place, self.mass[~wide], len(edges) + 1))


def _reach(values: _Values, low: float, high: float, levels: int) -> float:
    """The T of the best of ranges [-T, T], with the bins of the histogram for fine ones."""
    start, end = values.start, values.end
    outer = np.maximum(np.abs(start), np.abs(end))
    # A point among spans is one that the least or greatest value cut off.
    spans = bool(np.any(end > start))
    size = np.maximum(end - start, outer / 256) if spans else np.ones(outer.shape)
    order = np.argsort(outer, kind="stable")
    enough = np.cumsum(values.mass[order]) >= values.mass.sum() * _kept(levels)
    tops = outer[order][enough]
    # Four to an octave, of each the widest that is not empty; the widest of all first.
    tops = tops[np.append(np.diff(np.floor(4 * np.log2(tops))) > 0, True)][::-1]
    first = np.searchsorted(start, -tops, side="left")[:, None]
    last = np.searchsorted(end, tops, side="right")[:, None]
    between = np.linspace(np.maximum(low, -tops), np.minimum(high, tops), levels + 1, axis=1)
    cuts = np.clip(np.searchsorted((start + end) / 2, between), first, last)
    cuts[:, :1], cuts[:, -1:] = first, last
    return float(tops[_widest(_divergences(values.mass, size, cuts, np.searchsorted(start, 0.0)))])


@dataclass(frozen=True)
class _Grid:
    """A uniform fine histogram; `mass` has one entry more on either side for what lies beyond."""

    edges: Floats
    mass: Floats
    levels: int

    @classmethod
    def of(cls, values: _Values, low: float, high: float, levels: int) -> _Grid:
        edges = np.linspace(low, high, max(_FINE, 16 * levels) + 1)
        return cls(edges, values.on(edges), levels)

    def search(self) -> tuple[tuple[float, float], bool, bool]:
        """The best range that holds 0 and a quarter of the grid, and two doubts about it: that it
        ends with the grid where more lies beyond, and that it is among the narrowest, which have
        so few fine bins to a level that hardly a loss is seen.
        """
        count = len(self.edges) - 1
        first, last, least = 0, count, count // 4
        filled = np.flatnonzero(self.mass[1:-1])
        zero = int(np.searchsorted(self.edges, 0.0, side="right")) - 1
        start = int(-self.edges[0] > self.edges[-1])  # with the longer side
        for turn in range(start, start + 16):
            before = first, last
            if turn % 2 and self.edges[0] < 0:
                starts = np.append(0, filled)
                starts = _some(starts[(starts <= last - least) & (starts <= zero)])
                first = int(starts[_widest(self._divergences(starts, np.full(len(starts), last)))])
            elif turn % 2 == 0 and self.edges[-1] > 0:
                ends = np.append(count, filled[::-1] + 1)
                ends = _some(ends[(ends >= first + least) & (ends > zero)])
                last = int(ends[_widest(self._divergences(np.full(len(ends), first), ends))])
            if turn > start and (first, last) == before:
                break
        shut = (first == 0 and self.mass[0] > 0) or (last == count and self.mass[-1] > 0)
        found = float(self.edges[first]), float(self.edges[last])
        return found, bool(shut), 3 * (last - first) < count

    def _divergences(self, first: Ints, last: Ints) -> Floats:
        # Fine bin j is in level floor((j - first) levels / width): no level gets the remainder.
        width = (last - first)[:, None]
        cuts = (np.arange(self.levels + 1) * width + self.levels - 1) // self.levels
        filled = (self.mass > 0).astype(np.float64)
        return _divergences(self.mass, filled, first[:, None] + cuts + 1)


def _some(candidates: Ints) -> Ints:
    """At most `_TRIED` of them, evenly, with the first."""
    return candidates[:: -(-len(candidates) // _TRIED)]


def _widest(found: Floats) -> int:
    """The first, which is the widest, of the least."""
    return int(np.flatnonzero(found <= found.min() + _TIE)[0])


def _kept(levels: int) -> float:
    """The share of the mass that a range leaves unclipped at least: case 3."""
    return max(1 - 2 / levels, 0.5)


def _divergences(mass: Floats, size: Floats, cuts: Ints, zero: np.intp | int = 0) -> Floats:
    """KL(P || Q) of each candidate, (n,), in nats; infinite where too much is clipped.

    mass, size: of each fine bin: how much lies in it, and its part in what a level is spread over
    cuts: (n, levels + 1), the first fine bin of each level, and the one after the last
    zero: the first fine bin above 0

    With N the mass, M of it inside, H and S a level's mass and size, C what an end clips:

        N KL = sum P log(P / size) - sum H log(H / S) - sum C log(H / S) there + N log(M / N)
    """
    inside, told = _sums(mass), _sums(_times_log(mass, size))
    held, room = np.diff(inside[cuts], axis=1), np.diff(_sums(size, zero)[cuts], axis=1)
    some = held > 0
    level = np.log(np.divide(held, room, out=np.ones(held.shape), where=some))
    first, last, total = cuts[:, 0], cuts[:, -1], inside[-1]
    found = told[last] - told[first] - np.einsum("nl,nl->n", held, level)
    filled, rows = np.flatnonzero(mass), np.arange(len(cuts))
    lowest, highest = np.argmax(some, axis=1), some.shape[1] - 1 - np.argmax(some[:, ::-1], axis=1)
    for clipped, onto, at in (
        (inside[first], np.searchsorted(filled, first), lowest),
        (total - inside[last], np.searchsorted(filled, last) - 1, highest),
    ):
        m, s = mass[filled[onto]], size[filled[onto]]
        found += _times_log(m + clipped, s) - _times_log(m, s) - clipped * level[rows, at]
    kept, least = (inside[last] - inside[first]) / total, _kept(cuts.shape[1] - 1) - 1e-6
    return np.where(kept < least, np.inf, found / total + np.log(np.maximum(kept, least)))


def _sums(part: Floats, zero: np.intp | int = 0) -> Floats:
    """Sums up to each bin, from `zero` on to either side, lest the tiny be lost in the huge."""
    return np.concatenate([-np.cumsum(part[:zero][::-1])[::-1], [0.0], np.cumsum(part[zero:])])


def _times_log(mass: Floats, size: Floats) -> Floats:
    some = mass > 0
    return mass * np.log(np.divide(mass, size, out=np.ones(mass.shape), where=some))
