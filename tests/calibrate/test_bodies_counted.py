"""What is counted of tensors inside a Loop: a fair share of each turn, in flat memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qtool.calibrate.measuring import Measuring
from qtool.calibrate.stream import Stream
from qtool.numeric.tally import LOTS, seeds
from tests.calibrate.bodies import COUNTING, LOOP, NESTED, measured, prepared
from tests.models import normal


def test_each_turn_has_the_same_share_of_what_is_counted() -> None:
    """4096 values of 50 turns: 82 of each, give or take what chance does."""
    turns, most = 50, 4096
    feeds = {"x": np.zeros((1, 8), np.float32), "trips": np.array(turns)}
    found = measured(prepared(COUNTING), "next", feeds, most=most)["next"]
    assert found.on_grid
    values, counts = found.sorted
    assert list(values) == list(range(1, turns + 1))
    expected = most / turns
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert chi_squared < 85.4  # exceeded by chance once in 1,000 times at 49 degrees of freedom


def test_a_longer_turn_has_a_greater_share() -> None:
    """A tensor that grows by a row on each turn, filled with the row's number."""
    model = prepared("""g (float[A,8] x, int64 trips) => (float[B,8] y) {
        y = Loop(trips, , x) <body = b (int64 i, bool c, float[C,8] state)
            => (bool d, float[E,8] next) {
                d = Identity(c) filled = Add(state, one) grown = Concat<axis=0>(filled, filled)
                next = Identity(grown)
            }>
    }""")
    feeds = {"x": np.zeros((1, 8), np.float32), "trips": np.array(4)}
    found = measured(model, "filled", feeds, most=4096)["filled"]
    values, counts = found.sorted
    assert list(values) == [1, 2, 3, 4]
    np.testing.assert_allclose(counts / counts.sum(), np.array([1, 2, 4, 8]) / 15, atol=0.03)


def test_memory_does_not_grow_with_the_trips(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes out of the model, and what it carries from turn to turn, keeps its size."""
    sizes = []
    inner = Stream._with_choice

    def spy(self: Stream, graph: Measuring, *rest: Any) -> Any:
        fed = inner(self, graph, *rest)
        session = self._session
        assert session is not None
        sizes.append(sum(array.size for array in session.run(fed).values()))
        return fed

    monkeypatch.setattr(Stream, "_with_choice", spy)
    for trips in (1, 10, 1000):
        feeds = {"x": normal(1, 8), "trips": np.array(trips)}
        measured(prepared(COUNTING), "state next", feeds)
    assert len(sizes) == 3
    assert len(set(sizes)) == 1
    assert sizes[0] < 3 * 256


def test_samples_together_tell_what_they_tell_one_by_one() -> None:
    model, xs = prepared(LOOP), normal(4, 4, seed=5)
    alone = measured(model, "m", *({"x": x[None], "trips": np.array(3)} for x in xs))["m"]
    stream = Stream(model, ["m"], most=256)
    stream.see({"x": xs, "trips": np.array(3)}, (0, 1, 2, 3), 0)
    together = stream.histograms()["m"]
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high), rel=1e-6)
    assert together.total == alone.total


def test_slots_draw_lots_of_their_own() -> None:
    """Each sample's slots do so whichever samples are beside it."""
    drawn = seeds((3, 5), 4096)
    assert drawn.min() >= 1
    assert drawn.max() < LOTS
    assert len(set(drawn.tolist())) > 8100
    np.testing.assert_array_equal(drawn, np.concatenate([seeds((3,), 4096), seeds((5,), 4096)]))


def test_two_runs_tell_the_same() -> None:
    feeds = [{"x": normal(3, 4, seed=s) + np.float32(4)} for s in range(3)]
    one, two = (measured(prepared(NESTED), "state a k", *feeds) for _ in range(2))
    for name, found in one.items():
        assert found.bins.tobytes() == two[name].bins.tobytes()
        assert found.counts.tobytes() == two[name].counts.tobytes()
