"""The fastest choice of layers in integers, found by cuts and judged by the clock.

1. all in integers, and weights only: both are profiled, and timed in turns
2. the cut that is cheapest by what is known; its own profile corrects what is known, up to three
   times
3. moves of the best so far, the most promising first: a segment's border by a layer or two, a whole
   segment over to the other side
4. what is left is held against the model that was given. What is not faster there, by the
   harness's verdict, gives way to weights only, which take the time of float; not so where the
   model that was given was quantized, and float is slower than that

A choice replaces another only where the interval of their ratio says that it is faster: equal ones
leave more in integers. Time alone is judged; nothing here depends on values but the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from qtool.compare.result import Latency
from qtool.search.costs import Costs
from qtool.search.kernels import Kernel

SECONDS = 12.0
"""No other choice is tried after so long; the last judgement takes up to 5 seconds more."""
ROUND_SECONDS = 1.0
CUTS, MOVES, STEPS = 3, 10, (1, 2)
DOUBT = 1.05
"""What is expected to take longer than the best by more than this is not tried."""

Floats = frozenset[str]


class Bench(Protocol):
    """Makes models by the units that are float, and times them."""

    def make(self, floats: Floats) -> Floats | None:
        """The units that are float if these are meant to be; None if that cannot be made."""

    def kernels(self, *choices: Floats) -> Sequence[Sequence[Kernel]]:
        """The kernels of each choice, profiled in turns."""

    def ratio(self, before: Floats | None, after: Floats, seconds: float | None) -> Latency:
        """Time of the one over that of the other; None is the model that was given."""


@dataclass(frozen=True)
class Segment:
    """A run of layers of one kind: the first and the last, how many, and its share of the time."""

    first: str
    last: str
    layers: int
    integer: bool
    share: float


@dataclass(frozen=True)
class Outcome:
    """The units that are float, time against the model that was given, the segments, how many
    choices were timed, and whether nothing with integers was faster."""

    floats: Floats
    latency: Latency
    segments: tuple[Segment, ...]
    tried: int
    stored: bool


def search(
    costs: Costs,
    bench: Bench,
    *,
    say: Callable[[str], None] = lambda what: None,
    clock: Callable[[], float] = time.perf_counter,
    seconds: float = SECONDS,
) -> Outcome:
    """Try choices for so many seconds, and judge the best."""
    begin = clock()
    none, every = Floats(), Floats(costs.units)
    best, tried = none, {none, every}

    def better(candidate: Floats) -> Floats:
        say(f"timing choice {len(tried)}: {len(costs.units) - len(candidate)} nodes in integers")
        found = bench.ratio(best, candidate, ROUND_SECONDS)
        return candidate if found.interval.high < 1 else best

    def made(floats: Floats) -> Floats | None:
        """What comes of a choice, if it can be made and was not tried; it counts as tried then."""
        found = bench.make(floats)
        if found is None or found in tried or not floats:
            return None
        tried.add(found)
        return found

    for floats in (every, none):
        bench.make(floats)
    for floats, kernels in zip((every, none), bench.kernels(every, none), strict=True):
        costs.learn(kernels, floats)
    best = better(every)
    for _ in range(CUTS):
        candidate = made(costs.cheapest())
        if candidate is None or clock() - begin > seconds:
            break
        best = better(candidate)
        costs.learn(bench.kernels(candidate)[0], candidate)
    moves = 0
    while moves < MOVES and clock() - begin < seconds:
        candidate = next((c for c in map(made, _moves(costs, best)) if c is not None), None)
        if candidate is None:
            break
        best, moves = better(candidate), moves + 1
    say("judging the best against the model that was given")
    judged = bench.ratio(None, best, None)
    if best != every and judged.verdict != "faster":
        stored = bench.ratio(None, every, None)
        # Float is no way out where what was given is in integers already.
        if stored.verdict != "slower" or stored.ratio <= judged.ratio:
            best, judged = every, stored
    segments = _segments(costs, bench.kernels(best)[0], best)
    return Outcome(best, judged, segments, len(tried), best == every)


def _moves(costs: Costs, floats: Floats) -> list[Floats]:
    """Choices nearby that may be faster, the most promising first: a segment over to the other
    side, or the layer or two at one of its ends."""
    layers, found = costs.layers, dict[Floats, float]()
    outside, most = {n for n in layers if n in floats}, costs.time(floats) * DOUBT
    for start, stop in _runs([name in floats for name in layers]):
        spans = {(start, stop)}
        for step in STEPS:
            if step < stop - start:
                spans |= {(start, start + step), (stop - step, stop)}
        for span in sorted(spans):
            move = costs.cheapest(outside ^ set(layers[slice(*span)]))
            found[move] = costs.time(move)
    return sorted((move for move, t in found.items() if t <= most), key=lambda m: found[m])


def _runs(labels: Sequence[bool]) -> list[tuple[int, int]]:
    """(start, stop) of what is alike and side by side."""
    starts = [i for i in range(len(labels)) if i == 0 or labels[i] != labels[i - 1]]
    return list(zip(starts, [*starts[1:], len(labels)], strict=True))


def _segments(costs: Costs, kernels: Sequence[Kernel], floats: Floats) -> tuple[Segment, ...]:
    """Runs of layers; a kernel that is none of them counts for the layer before, or the first."""
    layers = {name: index for index, name in enumerate(costs.layers)}
    runs = _runs([name in floats for name in layers])
    taken, index = [0.0] * len(runs), 0
    for kernel in kernels:
        node = costs.node_of(kernel)
        place = layers.get(node.name or "") if node is not None else None
        if place is not None:
            index = next(i for i, (start, stop) in enumerate(runs) if start <= place < stop)
        if taken:
            taken[index] += kernel.time
    names, total = list(layers), sum(taken) or 1.0
    return tuple(
        Segment(names[start], names[stop - 1], stop - start, names[start] not in floats, t / total)
        for (start, stop), t in zip(runs, taken, strict=True)
    )
