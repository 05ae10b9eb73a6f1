"""Which of two models is faster: both timed in turns on the same samples.

Round i runs each model twice on sample i and times the second run: the first one pays for the
caches and spinning threads that the other model left behind. Every other round starts with the
other model. Two copies of one model so come out within 1 %, where plain alternation is 30 % off.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qtool.compare.result import Latency
from qtool.numeric.bootstrap import Interval, ratio_of_medians

Feeds = Mapping[str, NDArray[Any]]
Clock = Callable[[], float]

WARM_UP = 5
FEWEST_ROUNDS = 20
MOST_ROUNDS = 500
SECONDS = 3.0
"""Rounds are added until this much time is spent."""

NOISE = 0.02
"""A ratio closer to 1 than this is no difference, however narrow the interval."""


class Runnable(Protocol):
    """What is timed: a runtime session."""

    def run(self, feeds: Feeds) -> Any:
        """Run once."""


def measure(
    reference: Runnable,
    candidate: Runnable,
    feeds: Sequence[Feeds],
    others: Sequence[Feeds] | None = None,
    *,
    batch_size: int,
    threads: int,
    clock: Clock = time.perf_counter,
) -> Latency:
    """Time both on the feeds, over and over; `clock` gives seconds.

    `others` are the same samples as the candidate takes them, where that is another way.
    """
    others = feeds if others is None else others
    for i in range(WARM_UP):
        reference.run(feeds[i % len(feeds)])
        candidate.run(others[i % len(feeds)])
    times: list[tuple[float, float]] = []
    start = clock()
    while len(times) < FEWEST_ROUNDS or (len(times) < MOST_ROUNDS and clock() - start < SECONDS):
        feed, other = feeds[len(times) % len(feeds)], others[len(times) % len(feeds)]
        if len(times) % 2 == 0:
            first = _timed(reference, feed, clock)
            times.append((first, _timed(candidate, other, clock)))
        else:
            first = _timed(candidate, other, clock)
            times.append((_timed(reference, feed, clock), first))
    of_reference, of_candidate = np.array(times).T * 1e3
    ratio = float(np.median(of_candidate) / np.median(of_reference))
    interval = ratio_of_medians(of_reference, of_candidate)
    return Latency(
        reference_median_ms=float(np.median(of_reference)),
        reference_p90_ms=float(np.quantile(of_reference, 0.9)),
        candidate_median_ms=float(np.median(of_candidate)),
        candidate_p90_ms=float(np.quantile(of_candidate, 0.9)),
        ratio=ratio,
        interval=interval,
        verdict=verdict(interval),
        rounds=len(times),
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


def _timed(session: Runnable, feeds: Feeds, clock: Clock) -> float:
    session.run(feeds)
    start = clock()
    session.run(feeds)
    return clock() - start
