"""Whether more samples would still move the ranges."""

from __future__ import annotations

from collections.abc import Mapping

from qtool.numeric.histogram import Histogram
from qtool.numeric.ranges import quantile

SHARE = 0.9999  # of the values: the extremes themselves grow for ever
STILL = 0.05  # of a range's width


def settled(half: Mapping[str, Histogram], whole: Mapping[str, Histogram]) -> str:
    """What the second half of the samples did to the ranges, in words."""
    moves = {name: _moved(half[name], whole[name]) for name in whole if half[name].total}
    if not moves:
        return ""
    name = max(moves, key=lambda name: moves[name])
    if moves[name] <= STILL:
        return f"the second half of the samples moved no range by more than {STILL:.0%}"
    return (
        f"the second half of the samples still moved {sum(m > STILL for m in moves.values())} of "
        f"{len(moves)} ranges, that of {name!r} by {moves[name]:.0%}: more samples may help"
    )


def _moved(half: Histogram, whole: Histogram) -> float:
    """The greater move of the two ends, over the range's width with 0 in it."""
    before, after = _range(half), _range(whole)
    width = after[1] - after[0]
    moves = (abs(a - b) for a, b in zip(before, after, strict=True))
    return float(max(moves) / width) if width > 0 else 0.0


def _range(histogram: Histogram) -> tuple[float, float]:
    tail = (1 - SHARE) / 2
    low, high = (quantile(*histogram.sorted, share) for share in (tail, 1 - tail))
    return min(low, 0.0), max(high, 0.0)
