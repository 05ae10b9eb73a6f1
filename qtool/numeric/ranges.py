"""Range methods: from a histogram to the range [low, high] that the codes should cover."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.affine import from_range, lowest
from qtool.numeric.histogram import Histogram
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
        high = _quantile(np.abs(values), counts, PERCENTILE / 100)
        return -high, high
    tail = (1 - PERCENTILE / 100) / 2
    low = _quantile(values, counts, tail)
    high = _quantile(values, counts, 1 - tail)
    return max(low, histogram.low), min(high, histogram.high)


def mse(histogram: Histogram, kind: IntType, symmetric: bool) -> Range:
    """The range of least mean squared error: what clipping loses against what rounding loses.

    Both ends shrink in turn until neither moves; each is the best of a fixed grid given the other.
    """
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    if symmetric:
        top = max(-low, high)
        errors = [_error(histogram, -top * s, top * s, kind, symmetric) for s in _SHRINK]
        top *= _SHRINK[int(np.argmin(errors))]
        return -top, top
    best, shares = np.inf, (1.0, 1.0)
    for _ in range(4):
        before = shares
        for share in _SHRINK if low < 0 else _SHRINK[:1]:
            best, shares = min(
                (best, shares),
                (
                    _error(histogram, low * share, high * shares[1], kind, symmetric),
                    (float(share), shares[1]),
                ),
                key=lambda pair: pair[0],
            )
        for share in _SHRINK if high > 0 else _SHRINK[:1]:
            best, shares = min(
                (best, shares),
                (
                    _error(histogram, low * shares[0], high * share, kind, symmetric),
                    (shares[0], float(share)),
                ),
                key=lambda pair: pair[0],
            )
        if shares == before:
            break
    return low * shares[0], high * shares[1]


# From nothing clipped downwards: at equal error the wider range, which clips less, is found first.
_SHRINK = np.concatenate([np.linspace(1.0, 0.5, 51), 0.5 * 0.9 ** np.arange(1, 60)])


def _error(histogram: Histogram, low: float, high: float, kind: IntType, symmetric: bool) -> float:
    """Sum of squared errors. Values on a grid are rounded one by one; else those of a bin are taken
    to lie evenly between its ends, so that they lose (G(end) - G(start)) / (end - start) each.

    G(x) = n scale^3 / 12 + (x - n scale)^3 / 3,  n the nearest code in range: full steps, the rest
    """
    params = from_range(np.asarray(low), np.asarray(high), kind, symmetric=symmetric)
    scale, zero = float(params.scale), int(params.zero_point)

    def rounded(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(np.rint(x / scale), lowest(params) - zero, kind.maximum - zero)

    if histogram.on_grid:
        values, counts = histogram.sorted
        return float(counts @ (values - rounded(values) * scale) ** 2)

    def integral(x: NDArray[np.float64], codes: NDArray[np.float64]) -> NDArray[np.float64]:
        rest = x - codes * scale
        return np.asarray(
            codes * (scale**3 / 12) + rest * rest * rest / 3
        )  # **3 is 20 times slower

    start, end, counts = histogram.spans
    first, width = rounded(start), end - start
    inside = integral(end, rounded(end)) - integral(start, first)
    point = (start - first * scale) ** 2
    return float(counts @ np.where(width > 0, inside / np.where(width > 0, width, 1), point))


def _quantile(values: NDArray[np.float64], counts: NDArray[np.int64], share: float) -> float:
    """The least value with at least `share` of all values at or below it."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(counts[order])
    index = np.searchsorted(below, share * below[-1], side="left")
    return float(values[order][min(int(index), len(values) - 1)])


METHODS: dict[str, Method] = {"minmax": minmax, "percentile": percentile, "mse": mse}
