"""The observer: one frozen statistic from which every range method reads its answer.

A value is counted in the bin named by the leading 16 bits of its float32 (sign, 8 of exponent, 7 of
mantissa; what bfloat16 keeps). Bins need no range beforehand, a huge value costs one bin and ruins
none, and counts are integers: merging is exact, whatever the order, the batches or the machines.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BINS = 1 << 16


@dataclass(frozen=True, eq=False)
class Histogram:
    """Occupied bins in ascending order and their counts; exact minimum and maximum.

    `low` and `high` are of all values that were seen, of which as few as `counts` says may have
    been counted. `on_grid` tells that each counted one was its bin's lower edge (pixels 0..255,
    ids, one-hot): then the counts are the whole truth of them and not an approximation.
    """

    bins: NDArray[np.uint16]
    counts: NDArray[np.int64]
    low: float
    high: float
    on_grid: bool

    @classmethod
    def empty(cls) -> Histogram:
        """The neutral element of `merge`."""
        return cls(np.zeros(0, np.uint16), np.zeros(0, np.int64), np.inf, -np.inf, True)

    @classmethod
    def unit(cls) -> Histogram:
        """The two values 0 and 1: a range where none was measured."""
        return cls.empty().observe(np.array([0.0, 1.0]))

    @classmethod
    def of(cls, values: NDArray[np.float32], low: float, high: float) -> Histogram:
        """The statistic of a choice of values, (n,), out of more between `low` and `high`."""
        bits = values.view(np.uint32)
        dense = np.bincount(bits >> 16)
        bins = np.flatnonzero(dense != 0)
        on_grid = not int(np.bitwise_or.reduce(bits)) & 0xFFFF
        # Adding 0 makes -0 one with 0: which of the two equals min() finds depends on their order.
        return cls(bins.astype(np.uint16), dense[bins], low + 0.0, high + 0.0, on_grid)

    def observe(self, x: NDArray[Any]) -> Histogram:
        """The statistic with all values of `x` added.

        Raises:
            ValueError: a value is NaN or infinite.
        """
        if x.size == 0:
            return self
        flat = np.ascontiguousarray(x, np.float32).reshape(-1)
        return self.merge(Histogram.of(flat, *ends(flat)))

    def merge(self, other: Histogram) -> Histogram:
        """a.observe(x).merge(b.observe(y)) equals empty.observe(x).observe(y), bit for bit."""
        return merged([self, other])

    @cached_property
    def sorted(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Occupied bins in ascending order: a value that stands for each, and its count."""
        keys = self.bins.astype(np.uint32)
        edges = (keys << 16).view(np.float32).astype(np.float64)
        if self.on_grid:
            values = edges
        else:
            # The last 16 bits are as good as uniform, so a bin's values average to its middle.
            middle = ((keys << 16) | 0x8000).view(np.float32).astype(np.float64)
            values = np.clip(np.where(edges == 0, 0.0, middle), self.low, self.high)
        order = np.argsort(values, kind="stable")
        return values[order], self.counts[order]

    @cached_property
    def spans(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Occupied bins: where each begins and ends within [low, high], and its count."""
        keys = self.bins.astype(np.uint32)
        inner = (keys << 16).view(np.float32).astype(np.float64)
        outer = ((keys << 16) | 0xFFFF).view(np.float32).astype(np.float64)
        ends = np.clip(np.sort([inner, outer], axis=0), self.low, self.high)
        return ends[0], ends[1], self.counts

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())


def ends(x: NDArray[np.float32]) -> tuple[float, float]:
    """Least and greatest value of an array that is not empty.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    low, high = float(np.minimum.reduce(x, axis=None)), float(np.maximum.reduce(x, axis=None))
    if not (low > -np.inf and high < np.inf):  # false for NaN too, which both carry on
        raise ValueError("NaN" if np.isnan(low) else "Inf")
    return low, high


def merged(parts: Iterable[Histogram]) -> Histogram:
    """All of them in one; their order does not matter."""
    several = [each for each in parts if each.low <= each.high]  # the others are empty
    if len(several) < 2:
        return several[0] if several else Histogram.empty()
    counts = np.zeros(_BINS, np.int64)
    for each in several:
        counts[each.bins] += each.counts  # no bin stands twice in one
    bins = np.flatnonzero(counts != 0)  # on booleans it is ten times faster
    return Histogram(
        bins.astype(np.uint16),
        counts[bins],
        min(each.low for each in several),
        max(each.high for each in several),
        all(each.on_grid for each in several),
    )
