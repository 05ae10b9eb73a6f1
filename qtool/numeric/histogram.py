"""The observer: one frozen statistic from which every range method reads its answer.

A value is counted in the bin named by the leading 16 bits of its float32 (sign, 8 of exponent, 7 of
mantissa; what bfloat16 keeps). Bins need no range beforehand, a huge value costs one bin and ruins
none, and counts are integers: merging is exact, whatever the order, the batches or the machines.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BINS = 1 << 16
# Below this many values, touching all bins costs more than adding one by one.
_FEW = 1 << 14


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts by leading bits, exact minimum and maximum.

    `on_grid` tells that every value seen was its bin's lower edge (pixels 0..255, ids, one-hot):
    then the counts are the whole truth and not an approximation.
    """

    counts: NDArray[np.int64]
    low: float
    high: float
    on_grid: bool

    @classmethod
    def empty(cls) -> Histogram:
        """The neutral element of `merge`."""
        return cls(np.zeros(_BINS, np.int64), np.inf, -np.inf, True)

    @classmethod
    def unit(cls) -> Histogram:
        """The two values 0 and 1: a range where none was measured."""
        return cls.empty().observe(np.array([0.0, 1.0]))

    def observe(self, x: NDArray[Any]) -> Histogram:
        """The statistic with the values of `x` added.

        Raises:
            ValueError: a value is NaN or infinite.
        """
        if x.size == 0:
            return self
        flat = np.ascontiguousarray(x, np.float32).reshape(-1)
        # Adding 0 makes -0 one with 0: which of the two equals min() finds depends on their order.
        low, high = float(flat.min()) + 0.0, float(flat.max()) + 0.0
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError("NaN" if np.isnan(low) else "Inf")
        bits = flat.view(np.uint32)
        counts = self.counts.copy()
        if flat.size < _FEW:
            np.add.at(counts, bits >> 16, 1)
        else:
            counts += np.bincount(bits >> 16, minlength=_BINS)
        on_grid = self.on_grid and not np.bitwise_and(bits, 0xFFFF).any()
        return Histogram(counts, min(self.low, low), max(self.high, high), on_grid)

    def merge(self, other: Histogram) -> Histogram:
        """a.observe(x).merge(b.observe(y)) equals empty.observe(x).observe(y), bit for bit."""
        return Histogram(
            self.counts + other.counts,
            min(self.low, other.low),
            max(self.high, other.high),
            self.on_grid and other.on_grid,
        )

    @cached_property
    def sorted(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Occupied bins in ascending order: a value that stands for each, and its count."""
        keys = np.flatnonzero(self.counts).astype(np.uint32)
        edges = (keys << 16).view(np.float32).astype(np.float64)
        if self.on_grid:
            values = edges
        else:
            # The last 16 bits are as good as uniform, so a bin's values average to its middle.
            middle = ((keys << 16) | 0x8000).view(np.float32).astype(np.float64)
            values = np.clip(np.where(edges == 0, 0.0, middle), self.low, self.high)
        order = np.argsort(values, kind="stable")
        return values[order], self.counts[keys][order]

    @cached_property
    def spans(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Occupied bins: where each begins and ends within [low, high], and its count."""
        keys = np.flatnonzero(self.counts).astype(np.uint32)
        inner = (keys << 16).view(np.float32).astype(np.float64)
        outer = ((keys << 16) | 0xFFFF).view(np.float32).astype(np.float64)
        ends = np.clip(np.sort([inner, outer], axis=0), self.low, self.high)
        return ends[0], ends[1], self.counts[keys]

    @property
    def total(self) -> int:
        """How many values were seen."""
        return int(self.counts.sum())
