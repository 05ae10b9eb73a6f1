"""What a plot of a sweep shows, before anything is drawn: points, what they say, and how far.

y range    from the best to the worst point before a gap that would squeeze all the others;
           what lies beyond stands at the border, with its value
labels     of points that nothing beats, at the first place around them where nothing stands
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from qtool.sweep.cells import Cell
from qtool.sweep.result import LATENCY, Outcome, Sweep

SQUEEZED = 8.0  # so many times the range of the better half is shown, or of the bars
CORE = 0.5  # that half

Box: TypeAlias = tuple[float, float, float, float]
"""Left, bottom, right, top."""


@dataclass(frozen=True)
class Point:
    """A cell: `x` is its size in bytes or its time over float's; `y` the score as it is shown.

    `hue` and `shape` are its values on the axes that colours and markers stand for. `beyond`: it
    stands at the border, since its score is far off. `under`: how many points lie beneath it.
    """

    name: str
    x: float
    y: float
    xs: tuple[float, float]
    ys: tuple[float, float]
    hue: str = ""
    shape: str = ""
    best: bool = False
    beyond: bool = False
    under: int = 0
    text: str = ""


@dataclass(frozen=True)
class Picture:
    """One panel. `low` and `high` are the range of y; `float_` is the original's point."""

    points: tuple[Point, ...]
    float_: Point
    low: float
    high: float


def told_apart(sweep: Sweep) -> tuple[str, str]:
    """The axes that colours and markers stand for, "" for none: bits first, then as they come."""
    several = [
        axis
        for axis in sweep.axes
        if len({cell.values[axis] for cell, _ in sweep.worked if axis in cell.values}) > 1
    ]
    several.sort(key=lambda axis: axis not in _FIRST)
    return (*several[:2], "", "")[0], (*several[:2], "", "")[1]


def picture(sweep: Sweep, *, latency: bool = False) -> Picture:
    """The panel of score against size, or against time for the cells that were timed."""
    axes = told_apart(sweep)
    found = [_point(sweep, *each, axes, latency=latency) for each in sweep.cells]
    points = [point for point in found if point is not None]
    float_ = _float(sweep, latency=latency)
    best = sweep.best(["time" if latency else "size"])
    points = [replace(p, best=best[p.name]) for p in points]
    float_ = replace(float_, best=best["float"])
    sign = 1.0 if sweep.metric.better == "low" else -1.0
    around = 2.0 if sweep.metric.scale[1] == "%" else 0.05 * abs(float_.y)
    least = around if math.isfinite(around) else 1.0
    low, high = _range(points, float_, sign, least)
    points = _stacked([_within(p, low, high) for p in points])
    return Picture(tuple(points), _within(float_, low, high), low, high)


def place(
    anchor: tuple[float, float], size: tuple[float, float], taken: Sequence[Box], inside: Box
) -> Box | None:
    """The first box of a size around a point that touches nothing that is taken; None if none is.

    All in pixels.
    """
    (x, y), (width, height) = anchor, size
    for away in (9.0, 16.0, 26.0):
        for right, up in _AROUND:
            left = x + right * away + (right - 1) * width / 2
            bottom = y + up * away + (up - 1) * height / 2
            box = (left, bottom, left + width, bottom + height)
            within = inside[0] <= box[0] and box[2] <= inside[2]
            free = within and inside[1] <= box[1] and box[3] <= inside[3]
            if free and not any(touch(box, other) for other in taken):
                return box
    return None


def touch(left: Box, right: Box) -> bool:
    """Whether two boxes have more than an edge in common."""
    wide = left[0] < right[2] and right[0] < left[2]
    return wide and left[1] < right[3] and right[1] < left[3]


def front(points: Sequence[Point]) -> list[Point]:
    """The points that nothing beats, one of those that are equal, from left to right."""
    best = {(p.x, p.y): p for p in reversed(points) if p.best}
    return sorted(best.values(), key=lambda p: p.x)


def labels(points: Sequence[Point]) -> list[tuple[Point, str]]:
    """What is written beside which points: names of the best, and how far those beyond are off."""
    found = []
    together: dict[tuple[int, float], list[Point]] = {}
    for point in points:
        together.setdefault(_spot(point), []).append(point)
    for each in together.values():
        named = [p for p in each if p.best]
        if not named and not each[0].beyond:
            continue
        first = (named or each)[0]
        more = f" (+{len(named) - 1})" if len(named) > 1 else ""
        far = f": {first.text}" if first.beyond else ""
        found.append((first, f"{first.name}{more}{far}"))
    return found


def _point(
    sweep: Sweep, cell: Cell, outcome: Outcome, axes: tuple[str, str], *, latency: bool
) -> Point | None:
    if outcome.error is not None or (latency and outcome.latency is None):
        return None
    times, unit = sweep.metric.scale
    y, low, high = (times * end for end in sweep.score(outcome))
    if unit == "%" and math.isfinite(y):
        low, high = max(low, 0.0), min(high, 100.0)
    x = float(outcome.size)
    xs = (x, x)
    if latency:
        x = outcome.metrics[LATENCY]
        xs = outcome.intervals.get(LATENCY, (x, x))
    text = f"{y:.3g} {unit}".strip() if math.isfinite(y) else "broken"
    if outcome.loss.value == 0 and math.isinf(y):
        text = "as float"
    hue, shape = (cell.values.get(axis, "") for axis in axes)
    return Point(cell.name, x, y, xs, (low, high), hue, shape, text=text)


def _float(sweep: Sweep, *, latency: bool) -> Point:
    y = sweep.metric.scale[0] * sweep.score(sweep.reference)[0]
    x = 1.0 if latency else float(sweep.reference.size)
    return Point("float", x, y, (x, x), (y, y))


def _range(
    points: Sequence[Point], float_: Point, sign: float, least: float
) -> tuple[float, float]:
    """The range of y that shows most points apart; worse is where `sign` points to.

    At least `least` are left around them, and as much of their bars as is not more than they span.
    """
    bad = sorted(sign * p.y for p in (*points, float_) if math.isfinite(p.y))
    if not bad:
        return 0.0, 1.0
    bars = sorted(p.ys[1] - p.ys[0] for p in points if math.isfinite(p.y))
    spread = bars[len(bars) // 2] if bars else 0.0
    core = bad[min(math.ceil(CORE * len(bad)), len(bad) - 1)] - bad[0]
    most = SQUEEZED * max(core, spread, least / 4)
    stop = sum(each - bad[0] <= most for each in bad)
    first, last = bad[0], bad[stop - 1]
    ends = [sign * end for p in points if first <= sign * p.y <= last for end in p.ys]
    room = max(last - first, least)
    low = max(min([first, *ends]), first - room)
    high = min(max([last, *ends]), last + room)
    pad = max(0.08 * (high - low), 0.5 * (least - (high - low)))
    low, high = low - pad, high + pad * (1.0 if stop == len(bad) else 2.0)
    return (low, high) if sign > 0 else (-high, -low)


def _within(point: Point, low: float, high: float) -> Point:
    y = min(max(point.y, low), high)
    return point if y == point.y else replace(point, y=y, ys=(y, y), beyond=True)


def _spot(point: Point) -> tuple[int, float]:
    """Equal for points that lie on each other, nearly at least."""
    return round(math.log(point.x) / _NEAR), point.y


def _stacked(points: Sequence[Point]) -> list[Point]:
    """Those that lie on each other know on how many."""
    seen: dict[tuple[int, float], int] = {}
    stacked = []
    for point in points:
        spot = _spot(point)
        stacked.append(replace(point, under=seen.get(spot, 0)))
        seen[spot] = seen.get(spot, 0) + 1
    return stacked


_NEAR = 0.02  # of a size
_FIRST = ("bits", "levels", "scheme")
_AROUND = ((1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))
