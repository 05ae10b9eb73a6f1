"""Range methods: from a histogram to the range [low, high] that the codes should cover."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.entropy import entropy
from qtool.numeric.histogram import Histogram
from qtool.numeric.mse import mse
from qtool.numeric.types import IntType

Range: TypeAlias = tuple[float, float]
Method: TypeAlias = Callable[[Histogram, IntType, bool], Range]

PERCENTILE = 99.999


def minmax(histogram: Histogram, kind: IntType, symmetric: bool) -> Range:
    """All that was seen: nothing is clipped."""
    del kind, symmetric
    return histogram.low, histogram.high


def percentile(histogram: Histogram, kind: IntType, symmetric: bool) -> Range:
    """The range that leaves 100 - 99.999 percent of the values, half of it on each side, outside.

    symmetric: percentiles of |x|.
    """
    del kind
    if not histogram.total:
        return 0.0, 0.0
    values, counts = histogram.sorted
    if symmetric:
        high = quantile(np.abs(values), counts, PERCENTILE / 100)
        return -high, high
    tail = (1 - PERCENTILE / 100) / 2
    low = quantile(values, counts, tail)
    high = quantile(values, counts, 1 - tail)
    return max(low, histogram.low), min(high, histogram.high)


def quantile(values: NDArray[np.float64], counts: NDArray[np.int64], share: float) -> float:
    """The least value with at least `share` of all values at or below it."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(counts[order])
    index = np.searchsorted(below, share * below[-1], side="left")
    return float(values[order][min(int(index), len(values) - 1)])


METHODS: dict[str, Method] = {
    "minmax": minmax,
    "percentile": percentile,
    "entropy": entropy,
    "mse": mse,
}
