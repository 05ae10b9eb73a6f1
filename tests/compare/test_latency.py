"""Timing with a clock that the models themselves turn."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtool.compare import latency
from qtool.compare.judge import compare
from qtool.compare.latency import measure, verdict
from qtool.numeric.bootstrap import Interval
from qtool.runtime import Session

Slowed = Callable[[float, int, int], float]  # (seconds, when opened last, run) -> seconds


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def __call__(self) -> float:
        return self.now

    def model(self, name: str, seconds: Sequence[float], slowed: Slowed | None = None) -> Any:
        """Something to run: it takes these times, one for each sample; opening takes `opens`."""
        clock = self

        class Model:
            opened, runs, opens = 0, 0, 0.0

            def run(self, feeds: Any) -> None:
                taken = seconds[feeds["i"] % len(seconds)]
                clock.now += taken if slowed is None else slowed(taken, self.opened, self.runs)
                self.runs += 1
                clock.log.append(f"{name}{feeds['i']}")

            def close(self) -> None:
                self.opened += 1
                clock.now += self.opens
                clock.log.append(f"{name} closed")

        return Model()


FEEDS: Any = [{"i": 0}, {"i": 1}, {"i": 2}]


def timed(
    reference: Sequence[float],
    candidate: Sequence[float],
    slowed: tuple[Slowed | None, Slowed | None] = (None, None),
    opens: float = 0.0,
) -> tuple[Any, Clock]:
    clock = Clock()
    pair = clock.model("r", reference, slowed[0]), clock.model("c", candidate, slowed[1])
    pair[0].opens = pair[1].opens = opens
    return measure(*pair, FEEDS, batch_size=4, threads=1, clock=clock), clock


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(0.5, "faster"), (0.9, "faster"), (1.1, "slower"), (2.0, "slower"),
     (1.01, "no clear difference"), (0.99, "no clear difference")],
)  # fmt: skip
def test_verdicts(factor: float, expected: str) -> None:
    times = [0.010, 0.011, 0.012]
    found, _ = timed(times, [factor * t for t in times])
    assert found.verdict == expected
    assert found.ratio == pytest.approx(factor)
    assert found.ratio in found.interval
    assert (found.batch_size, found.threads) == (4, 1)


def jitter(seed: int, spread: float) -> Slowed:
    rng = np.random.default_rng(seed)
    return lambda seconds, opened, run: float(seconds * rng.uniform(1, 1 + spread))


def test_noise_is_no_difference() -> None:
    found, _ = timed([0.01], [0.01], (jitter(0, 2), jitter(1, 2)))
    assert found.verdict == "no clear difference"
    assert 1 in found.interval


def test_a_difference_shows_through_noise() -> None:
    found, _ = timed([0.010], [0.011], (jitter(0, 0.3), jitter(1, 0.3)))
    assert found.verdict == "slower"
    assert 1.1 in found.interval


def placed(seed: int, spread: float) -> Slowed:
    """Each opening makes all its runs faster or slower."""
    factors = np.exp(np.random.default_rng(seed).normal(0, spread, 1000))
    return lambda seconds, opened, run: float(seconds * factors[opened])


@pytest.mark.slow
def test_what_an_opening_does_is_no_difference() -> None:
    """However exactly each is timed: equal models that lie differently are equal."""
    wrong = 0
    for seed in range(20):
        found, _ = timed([0.01], [0.01], (placed(seed, 0.03), placed(100 + seed, 0.03)))
        wrong += found.verdict != "no clear difference"
    assert wrong <= 1
    found, _ = timed([0.01], [0.011], (placed(0, 0.02), placed(100, 0.02)))
    assert found.verdict == "slower"


def test_what_slows_the_machine_for_a_while_slows_both() -> None:
    """Half of the time it is half as fast: medians over all would lie anywhere between."""
    clock = Clock()

    def slowed(seconds: float, opened: int, run: int) -> float:
        return seconds * (2 if clock.now % 0.3 < 0.15 else 1)

    pair = clock.model("r", [0.002], slowed), clock.model("c", [0.0021], slowed)
    found = measure(*pair, FEEDS, batch_size=1, threads=1, clock=clock)
    assert found.ratio == pytest.approx(1.05, abs=0.003)
    assert found.verdict == "slower"


def test_what_hits_single_runs_of_one_is_left_out() -> None:
    """Every third run of the candidate is cut in two by another process."""
    found, _ = timed([0.002], [0.002], (None, lambda s, opened, run: s + 0.01 * (run % 3 == 0)))
    assert found.verdict == "no clear difference"
    assert found.ratio == pytest.approx(1)
    assert found.candidate_p90_ms == pytest.approx(12), "but not hidden"


def test_medians_and_p90_are_milliseconds_of_one_run() -> None:
    slow = cycle([False] * 8 + [True] * 2)
    found, _ = timed([0.001], [0.002], (lambda s, o, r: 5 * s if next(slow) else s, None))
    assert found.reference_median_ms == pytest.approx(1)
    assert found.reference_p90_ms == pytest.approx(5, rel=0.2)
    assert found.candidate_median_ms == pytest.approx(2)


def test_rounds_take_turns_on_the_same_samples_after_a_warm_up() -> None:
    _, clock = timed([0.1], [0.1])
    first = next(i for i, line in enumerate(clock.log) if "closed" in line)
    warm = 2 * latency.WARM_UP
    assert sorted(clock.log[:warm]) == ["c0", "c1", "c2", "r0", "r1", "r2"]
    # A block of 0.2 s. Long runs need no untimed one before.
    assert sorted(clock.log[warm : warm + 2]) == ["c0", "r0"]
    assert sorted(clock.log[warm + 2 : first]) in ([], ["c1", "r1"])


def test_short_runs_are_many_in_a_turn_and_the_order_is_random() -> None:
    _, clock = timed([0.0003], [0.0003])
    first = next(i for i, line in enumerate(clock.log) if "closed" in line)
    turns = clock.log[2 * latency.WARM_UP : first]
    each = 8  # four untimed, four timed: a millisecond of both
    turns = ["".join(turns[i]) for i in range(0, len(turns), each)]
    assert len(turns) % 2 == 0
    pairs = list(zip(turns[::2], turns[1::2], strict=True))
    assert all(a[0] != b[0] and a[1] == b[1] for a, b in pairs)
    assert {a[0] for a, _ in pairs} == {"r", "c"}
    assert {a[1] for a, _ in pairs} == {"0", "1", "2"}


def test_both_are_opened_anew_for_each_block() -> None:
    _, clock = timed([0.01], [0.01])
    assert clock.log.count("r closed") == clock.log.count("c closed") == latency.FEWEST_BLOCKS - 1


def test_a_large_model_is_not_opened_for_more_than_half_of_the_time() -> None:
    _, clock = timed([0.01], [0.01], (jitter(0, 2), jitter(1, 2)), opens=0.4)
    assert 1 <= clock.log.count("r closed") < latency.FEWEST_BLOCKS - 1
    assert clock.log.count("r closed") * 0.8 <= 0.5 * clock.now + 0.8


@pytest.mark.parametrize("seconds", [1.0, 0.2])
def test_slow_models_are_timed_at_least_eight_times(seconds: float) -> None:
    found, _ = timed([seconds], [2 * seconds])
    assert found.rounds == pytest.approx(latency.FEWEST_BLOCKS, abs=1)
    assert found.verdict == "slower"


@pytest.mark.parametrize(("spread", "least", "most"), [(0.0, 1.5, 2.0), (2.0, 5.0, 5.5)])
def test_how_long_it_takes_is_bounded(spread: float, least: float, most: float) -> None:
    """Until the interval is narrow, and at most about five seconds."""
    _, clock = timed([0.003], [0.003], (jitter(0, spread), jitter(1, spread)))
    assert least <= clock.now <= most


def test_less_time_is_shared_by_as_many_blocks() -> None:
    clock = Clock()
    pair = clock.model("r", [0.001]), clock.model("c", [0.001])
    measure(*pair, FEEDS, batch_size=1, threads=1, seconds=0.4, clock=clock)
    assert 0.4 <= clock.now <= 0.55
    assert clock.log.count("r closed") >= 3


def test_a_wide_interval_is_no_verdict() -> None:
    assert verdict(Interval(0.5, 0.99)) == "no clear difference"
    assert verdict(Interval(1.01, 3)) == "no clear difference"


def test_garbage_is_not_collected_meanwhile_but_is_afterwards() -> None:
    clock = Clock()

    def collecting(seconds: float, opened: int, run: int) -> float:
        assert not gc.isenabled()
        return seconds

    pair = clock.model("r", [0.01], collecting), clock.model("c", [0.01], collecting)
    measure(*pair, FEEDS, batch_size=1, threads=1, clock=clock)
    assert gc.isenabled()


@pytest.mark.slow
def test_two_real_models(build: Callable[..., Any], feed: Callable[..., Any]) -> None:
    small = "m (float[N,64] x) => (float[N,64] y) { y = Relu(x) }"
    chain = "\n".join(f"x{i + 1} = Erf(x{i})" for i in range(60))
    large = f"m (float[N,64] x) => (float[N,64] y) {{ x0 = Relu(x)\n{chain}\ny = Relu(x60) }}"
    reference, candidate = build("large", large), build("small", small)
    data = feed(reference, np.ones((3, 64), np.float32))
    found = compare(reference, candidate, data, latency=True, threads=1).latency
    assert found is not None
    assert found.verdict == "faster"
    assert 0 < found.candidate_median_ms <= found.candidate_p90_ms


def test_sessions_of_bytes_stay_open(build: Callable[..., Path]) -> None:
    path = build("m", "m (float[N,4] x) => (float[N,4] y) { y = Relu(x) }")
    pair = Session(path.read_bytes(), threads=1), Session(path, threads=1)
    feeds = [{"x": np.ones((1, 4), np.float32)}]
    assert measure(*pair, feeds, batch_size=1, threads=1, seconds=0).rounds >= 8
