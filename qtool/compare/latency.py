"""Which of two models is faster: both timed in turns on the same samples.

A round gives each a turn on one sample, in random order. A turn runs the model untimed first (for
about 1 ms: caches, and threads of the other that still spin), then times runs for as long. What
counts is the ratio within a round: what slows the machine for longer than that slows both.

Rounds come in blocks, and both models are opened anew before each block: where the allocator puts
the weights makes two copies of one file differ by up to 3 % for as long as they stay open, however
often they are timed. Neighbouring rounds are not independent, blocks are: the estimate and its
interval rank the blocks' medians (`qtool.numeric.hodges_lehmann`). Blocks are added until the
interval is narrow or the time is spent.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from statistics import median
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qtool.compare.result import Latency
from qtool.numeric.bootstrap import Interval
from qtool.numeric.hodges_lehmann import hodges_lehmann

Feeds = Mapping[str, NDArray[Any]]
Clock = Callable[[], float]
Block = list[tuple[int, float, float]]  # a round: which sample, seconds of reference, of candidate

SECONDS = 5.0
"""Blocks are added until this much time is spent, or …"""
NARROW = 0.01
"""… until the interval reaches no further than this from the ratio, in parts of it."""
FEWEST_BLOCKS, MOST_BLOCKS = 8, 40  # of fewer than six ranks no 95 % interval can be had
BLOCK_SECONDS = 0.2

TURN_SECONDS = 0.001
LONG_SECONDS = 0.05
"""What one run lasts for which nothing that the other left behind matters."""
WARM_UP = 3
_TICK = 1e-6  # below this a clock may show nothing

NOISE = 0.02
"""A ratio closer to 1 than this is no difference, however narrow the interval."""


class Runnable(Protocol):
    """What is timed: a runtime session."""

    def run(self, feeds: Feeds) -> Any:
        """Run once."""

    def close(self) -> None:
        """Let go of what the next run will load again, if it can be."""


def measure(
    reference: Runnable,
    candidate: Runnable,
    feeds: Sequence[Feeds],
    others: Sequence[Feeds] | None = None,
    *,
    batch_size: int,
    threads: int,
    seconds: float | None = None,
    clock: Clock = time.perf_counter,
) -> Latency:
    """Time both on the feeds, over and over; `clock` gives seconds. Both are left open.

    `others` are the same samples as the candidate takes them, where that is another way. `seconds`
    is about the most that it takes (`SECONDS`), but for models of which eight rounds take longer.
    """
    left = _Model(reference, feeds, clock)
    right = _Model(candidate, feeds if others is None else others, clock)
    with _no_collection():
        blocks = _blocks(left, right, SECONDS if seconds is None else seconds, clock)
    logarithm, low, high = hodges_lehmann(blocks)
    interval = Interval(math.exp(low), math.exp(high))
    of_reference, of_candidate = np.array(left.times) * 1e3, np.array(right.times) * 1e3
    return Latency(
        reference_median_ms=float(np.median(of_reference)),
        reference_p90_ms=float(np.quantile(of_reference, 0.9)),
        candidate_median_ms=float(np.median(of_candidate)),
        candidate_p90_ms=float(np.quantile(of_candidate, 0.9)),
        ratio=math.exp(logarithm),
        interval=interval,
        verdict=verdict(interval),
        rounds=left.turns,
        batch_size=batch_size,
        threads=threads,
    )


def verdict(interval: Interval) -> str:
    """ "faster" or "slower" if all of the interval says so by more than noise."""
    if interval.high < 1 - NOISE:
        return "faster"
    if interval.low > 1 + NOISE:
        return "slower"
    return "no clear difference"


class _Model:
    """One of the two: how its turns go, and the time in seconds of each timed run."""

    def __init__(self, session: Runnable, feeds: Sequence[Feeds], clock: Clock) -> None:
        self.session, self.feeds, self.clock = session, feeds, clock
        self.times: list[float] = []
        self.turns = 0
        self._untimed, self._timed = 0, 1

    def warm_up(self) -> None:
        """Load it if it is closed, and see how many of its runs make a turn."""
        seconds = []
        for i in range(WARM_UP):
            start = self.clock()
            self.session.run(self.feeds[i % len(self.feeds)])
            seconds.append(self.clock() - start)
        shortest = max(min(seconds), _TICK)
        self._timed = math.ceil(TURN_SECONDS / shortest)
        self._untimed = 0 if shortest > LONG_SECONDS else self._timed

    @property
    def sample(self) -> int:
        """Whose turn it is next."""
        return self.turns % len(self.feeds)

    def turn(self) -> float:
        """The median of its runs on the next sample."""
        feed = self.feeds[self.sample]
        for _ in range(self._untimed):
            self.session.run(feed)
        found = []
        for _ in range(self._timed):
            start = self.clock()
            self.session.run(feed)
            found.append(self.clock() - start)
        self.turns += 1
        self.times += found
        return max(median(found), _TICK)


def _blocks(left: _Model, right: _Model, seconds: float, clock: Clock) -> NDArray[np.float64]:
    """The logarithm of candidate over reference, one for each block."""
    order, begin = random.Random(0), clock()
    models, blocks = [left, right], list[Block]()
    found: NDArray[np.float64] = np.empty(0)
    opening = longest = 0.0
    length = min(BLOCK_SECONDS, seconds / FEWEST_BLOCKS)
    while not _enough(found, clock() - begin, seconds):
        start = clock()
        # Openings take no more than half of the time: of large models few can be had.
        if blocks and 2 * (opening + longest) <= start - begin:
            for model in models:
                model.session.close()
        order.shuffle(models)
        for model in models:
            model.warm_up()
        if blocks:
            longest = max(longest, clock() - start)
            opening += clock() - start
        blocks.append(_block(left, right, order, clock, length))
        found = _logarithms(blocks)
    return found


def _block(
    left: _Model, right: _Model, order: random.Random, clock: Clock, seconds: float
) -> Block:
    start, rounds = clock(), Block()
    while not rounds or clock() - start < seconds:
        sample = left.sample
        if order.random() < 0.5:
            before = left.turn()
            after = right.turn()
        else:
            after = right.turn()
            before = left.turn()
        rounds.append((sample, before, after))
    return rounds


def _logarithms(blocks: Sequence[Block]) -> NDArray[np.float64]:
    """The median of log(candidate / reference) over the quieter half of each block's rounds.

    A round is quiet if both together took little longer than ever on that sample, which favours
    neither: where another process takes a core, most of what it does to a round is left out.
    """
    shortest: dict[int, float] = {}
    for sample, before, after in chain(*blocks):
        shortest[sample] = min(before + after, shortest.get(sample, math.inf))
    found = []
    for rounds in blocks:
        ratios = np.array([math.log(after / before) for _, before, after in rounds])
        excess = np.array([(before + after) / shortest[s] for s, before, after in rounds])
        found.append(np.median(ratios[excess <= np.median(excess)]))
    return np.array(found)


def _enough(found: NDArray[np.float64], spent: float, seconds: float) -> bool:
    if len(found) < FEWEST_BLOCKS:
        return False
    middle, low, high = hodges_lehmann(found)
    narrow = max(high - middle, middle - low) <= NARROW
    return narrow or spent >= seconds or len(found) >= MOST_BLOCKS


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python looks for garbage before, and not while runs are timed."""
    before = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
