"""The range of least KL divergence, found by its definition: bin by bin, candidate by candidate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ends = tuple[int, int]


def divergence(mass: Floats, level: NDArray[np.int64], under: float, over: float) -> float:
    """KL(P || Q), straight from the definition; a level for each fine bin of the range."""
    filled = np.flatnonzero(mass)
    p, q = mass.astype(np.float64), np.zeros(len(mass))
    p[filled[0]] += under
    p[filled[-1]] += over
    for each in np.unique(level[filled]):
        members = filled[level[filled] == each]
        q[members] = mass[members].sum() / len(members)
    p, q = p[filled] / p.sum(), q[filled] / q.sum()
    return float((p * np.log(p / q)).sum())


def of_range(mass: Floats, ends: Ends, levels: int) -> float:
    """KL of the fine bins from one end to the other; infinite if too much lies outside."""
    part = mass[ends[0] : ends[1]]
    under, over = mass[: ends[0]].sum(), mass[ends[1] :].sum()
    if part.sum() < (kept(levels) - 1e-6) * mass.sum():
        return np.inf
    return divergence(part, np.arange(len(part)) * levels // len(part), under, over)


def kept(levels: int) -> float:
    return max(1 - 2 / levels, 0.5)


def reach(x: Floats, levels: int) -> float:
    """Where to look: the best of [-T, T] with the values themselves as fine bins."""
    values, counts = np.unique(x, return_counts=True)
    mass = counts.astype(np.float64)
    order = np.argsort(np.abs(values), kind="stable")
    tops = np.abs(values)[order][np.cumsum(mass[order]) >= kept(levels) * len(x)]
    widest = {np.floor(4 * np.log2(top)): float(top) for top in tops}
    found = {}
    for top in widest.values():
        inside = np.abs(values) <= top
        low, high = max(min(values[0], 0.0), -top), min(max(values[-1], 0.0), top)
        level = np.minimum((values - low) / (high - low) * levels, levels - 1).astype(np.int64)
        under, over = mass[values < -top].sum(), mass[values > top].sum()
        found[top] = divergence(mass[inside], level[inside], under, over)
    return max(top for top in found if found[top] <= min(found.values()) + 1e-9)


def histogram_on(x: Floats, ends: tuple[float, float], levels: int) -> tuple[Floats, Floats]:
    """Fine bins and their edges, with a bin more on either side for what lies beyond."""
    low, high = ends
    mass, edges = np.histogram(x[(x >= low) & (x <= high)], max(2048, 16 * levels), (low, high))
    return np.concatenate([[(x < low).sum()], mass, [(x > high).sum()]]), edges


def best_on(mass: Floats, edges: Floats, levels: int) -> Ends:
    """The best range in bins of `mass`: all candidates for one end, then for the other."""
    count = len(edges) - 1
    zero = int(np.searchsorted(edges, 0.0, side="right"))  # the bin of 0, counted with the outer
    first, last = 1, count + 1
    longer = int(-edges[0] > edges[-1])  # comes first
    for turn in range(longer, 99):
        before = first, last
        if turn % 2 == 0 and edges[-1] > 0:
            wide = range(count + 1, max(first + count // 4, zero + 1) - 1, -1)
            ends = [e for e in wide if e == count + 1 or mass[e - 1]]
            last = min(ends, key=lambda e: round(of_range(mass, (first, e), levels), 9))
        if turn % 2 == 1 and edges[0] < 0:
            wide = range(1, min(last - count // 4, zero) + 1)
            starts = [s for s in wide if s == 1 or mass[s]]
            first = min(starts, key=lambda s: round(of_range(mass, (s, last), levels), 9))
        if turn > longer and before == (first, last):
            break
    return first, last


def brute_force(x: Floats, levels: int) -> tuple[Floats, Floats, Ends]:
    """The last grid, [fine bins and edges], and the best range on it."""
    lowest, highest = min(x.min(), 0.0), max(x.max(), 0.0)

    def within(most: float) -> tuple[float, float]:
        inside = x[np.abs(x) <= most]
        return max(lowest, min(inside.min(), 0.0)), min(highest, max(inside.max(), 0.0))

    most = 2 * reach(x, levels)
    while True:
        ends = within(most)
        mass, edges = histogram_on(x, ends, levels)
        first, last = best_on(mass, edges, levels)
        low, high = edges[first - 1], edges[last - 1]
        most = max(most, 2 * max(-low, high))
        shut = (low == ends[0] and mass[0]) or (high == ends[1] and mass[-1])
        if not shut or within(most) == ends:
            break
    while 3 * (last - first) < len(edges) - 1:
        mass, edges = histogram_on(x, (low, high), levels)
        first, last = best_on(mass, edges, levels)
        low, high = edges[first - 1], edges[last - 1]
    return mass, edges, (first, last)


def nearest(edges: Floats, ends: tuple[float, float]) -> Ends:
    """The edges that stand there, in bins with one more on either side."""
    return int(np.abs(edges - ends[0]).argmin()) + 1, int(np.abs(edges - ends[1]).argmin()) + 1
