"""Timing with a clock that the models themselves turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pytest

from qtool.compare import latency
from qtool.compare.judge import compare
from qtool.compare.latency import measure, verdict
from qtool.numeric.bootstrap import Interval


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def __call__(self) -> float:
        return self.now

    def model(self, name: str, seconds: Sequence[float]) -> Any:
        """Something to run: it takes these times in turn, once for each two runs."""
        turns, clock = cycle([s for s in seconds for _ in range(2)]), self

        class Model:
            def run(self, feeds: Any) -> None:
                clock.now += next(turns)
                clock.log.append(f"{name}{feeds['i']}")

        return Model()


FEEDS: Any = [{"i": 0}, {"i": 1}, {"i": 2}]


def timed(reference: Sequence[float], candidate: Sequence[float]) -> tuple[Any, Clock]:
    clock = Clock()
    pair = clock.model("r", reference), clock.model("c", candidate)
    return measure(*pair, FEEDS, batch_size=4, threads=1, clock=clock), clock


@pytest.mark.parametrize(
    ("factor", "expected"), [(0.5, "faster"), (2.0, "slower"), (1.01, "no clear difference")]
)
def test_verdicts(factor: float, expected: str) -> None:
    times = [0.010, 0.011, 0.012]
    found, _ = timed(times, [factor * t for t in times])
    assert found.verdict == expected
    assert found.ratio == pytest.approx(factor)
    assert found.ratio in found.interval
    assert (found.batch_size, found.threads) == (4, 1)


def test_noise_is_no_difference() -> None:
    rng = np.random.default_rng(0)
    found, _ = timed(rng.uniform(0.01, 0.03, 500).tolist(), rng.uniform(0.01, 0.03, 500).tolist())
    assert found.verdict == "no clear difference"
    assert 1 in found.interval


def test_medians_and_p90_are_milliseconds_of_one_run() -> None:
    found, _ = timed([0.001] * 8 + [0.005] * 2, [0.002])
    assert found.reference_median_ms == pytest.approx(1)
    assert found.reference_p90_ms == pytest.approx(5, rel=0.2)
    assert found.candidate_median_ms == pytest.approx(2)


def test_rounds_take_turns_on_the_same_samples_after_a_warm_up() -> None:
    _, clock = timed([0.1], [0.1])
    warm = 2 * latency.WARM_UP
    assert clock.log[:4] == ["r0", "c0", "r1", "c1"]
    assert " ".join(clock.log[warm : warm + 12]) == "r0 r0 c0 c0 c1 c1 r1 r1 r2 r2 c2 c2"


@pytest.mark.parametrize(
    ("seconds", "rounds"),
    [(1.0, latency.FEWEST_ROUNDS), (1e-6, latency.MOST_ROUNDS), (0.01, 75)],
)
def test_how_long_it_takes_is_bounded(seconds: float, rounds: int) -> None:
    found, _ = timed([seconds], [seconds])
    assert found.rounds == pytest.approx(rounds, abs=1)


def test_a_wide_interval_is_no_verdict() -> None:
    assert verdict(Interval(0.5, 0.99)) == "no clear difference"
    assert verdict(Interval(1.01, 3)) == "no clear difference"


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
