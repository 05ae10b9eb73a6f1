"""The range of least mean squared error: what clipping loses against what rounding loses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.affine import QParams, from_range, lowest
from qtool.numeric.histogram import Histogram
from qtool.numeric.types import IntType

Floats: TypeAlias = NDArray[np.float64]
Error: TypeAlias = Callable[[float, float], float]

# What is kept of the widest range: in steps of 1 %, then of 2 % of what is left, down to 0.1 %.
SHRINK = np.concatenate([np.linspace(1.0, 0.5, 51), 0.5 * 0.98 ** np.arange(1, 308)])
# Distances at which shares are tried: everywhere, then around the best, and around that.
_STEPS = (8, 2, 1)


def mse(histogram: Histogram, kind: IntType, symmetric: bool) -> tuple[float, float]:
    """The ends of least error; they shrink in turn, each given the other, until neither moves."""
    error = _error_of(histogram, kind, symmetric)
    ends = min(histogram.low, 0.0), max(histogram.high, 0.0)
    if symmetric:
        tops = (max(-ends[0], ends[1]) * SHRINK).tolist()
        ranges = [(-top, top) for top in tops]
        return ranges[_least(error, ranges)]
    lows, highs = ((end * SHRINK).tolist() for end in ends)
    low = high = 0  # indices into SHRINK
    steps: tuple[int, ...] = _STEPS
    for _ in range(4):
        before = low, high
        if ends[0] < 0:
            low = _least(error, [(each, highs[high]) for each in lows], low, steps)
        if ends[1] > 0:
            high = _least(error, [(lows[low], each) for each in highs], high, steps)
        if (low, high) == before:
            break
        steps = _STEPS[1:]  # from now on they move little
    return lows[low], highs[high]


def _least(
    error: Error, ranges: list[tuple[float, float]], start: int = 0, steps: tuple[int, ...] = _STEPS
) -> int:
    """Which range has the least error; of equal ones the wider, which clips less."""
    known = {start: error(*ranges[start])}
    for step in steps:
        best = min(known, key=lambda i: (known[i], i))
        near = range(best - 4 * step, best + 4 * step + 1, step)
        for index in range(0, len(ranges), step) if step == _STEPS[0] else near:
            if index not in known and 0 <= index < len(ranges):
                known[index] = error(*ranges[index])
    return min(known, key=lambda i: (known[i], i))


def _error_of(histogram: Histogram, kind: IntType, symmetric: bool) -> Error:
    """What a range (low, high) costs."""
    loss = loss_of(histogram)

    def error(low: float, high: float) -> float:
        return loss(from_range(np.asarray(low), np.asarray(high), kind, symmetric=symmetric))

    return error


def loss_of(histogram: Histogram) -> Callable[[QParams], float]:
    """The sum of squared errors that parameters cost.

    Values on a grid are rounded one by one; else those of a bin are taken to lie evenly between its
    ends, so that they lose (G(end) - G(start)) / (end - start) each.

    G(x) = n scale^3 / 12 + (x - n scale)^3 / 3,  n the nearest code in range: full steps, the rest
    """
    if histogram.on_grid:
        values, counts = histogram.sorted
        points, weights = values, counts.astype(np.float64)
        edges, per_width = np.zeros((2, 0)), np.zeros(0)
    else:
        start, end, counts = histogram.spans
        wide = end > start
        points, weights = start[~wide], counts[~wide].astype(np.float64)
        edges = np.stack([start[wide], end[wide]])
        per_width = counts[wide] / (edges[1] - edges[0])

    def loss(params: QParams) -> float:
        scale, zero = float(params.scale), int(params.zero_point)
        least, most = lowest(params) - zero, params.type.maximum - zero

        def rest(x: Floats) -> tuple[Floats, Floats]:
            codes = np.clip(np.rint(x / scale), least, most)
            return codes, x - codes * scale

        _, lost = rest(points)
        codes, over = rest(edges)
        # x**3 is 20 times slower.
        below = codes * (scale**3 / 12) + over * over * over / 3
        return float(weights @ (lost * lost) + per_width @ (below[1] - below[0]))

    return loss
