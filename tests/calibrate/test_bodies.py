"""Statistics of tensors inside If, Loop and Scan: those of the unrolled model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qtool.errors import DataError
from qtool.numeric.histogram import Histogram
from qtool.passes import prepare
from tests.calibrate.bodies import COUNTING, LOOP, NESTED, SCAN, WITHIN, W, measured, prepared
from tests.models import Array, build, normal


def ends(*arrays: Array) -> tuple[float, float]:
    return min(float(a.min()) for a in arrays), max(float(a.max()) for a in arrays)


def assert_ends(found: dict[str, Histogram], **expected: list[Array]) -> None:
    """Low and high are exactly those of all that the tensors held."""
    for name, arrays in expected.items():
        low, high = ends(*arrays)
        # products are summed in another order here
        assert found[name].low == pytest.approx(low, rel=1e-5, abs=1e-6), name
        assert found[name].high == pytest.approx(high, rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize("opset", [13, 17, 21])
def test_a_loop_tells_what_the_unrolled_model_tells(opset: int) -> None:
    """Bit for bit, the trip count being data."""
    looped = prepared(LOOP, opset)
    unrolled = build(
        """g (float[N,4] x) => (float[N,4] n2) {
            m0 = MatMul(x, w) n0 = Tanh(m0) m1 = MatMul(n0, w) n1 = Tanh(m1)
            m2 = MatMul(n1, w) n2 = Tanh(m2)
        }""",
        w=W,
    )
    samples = [normal(5, 4, seed=seed) for seed in range(3)]
    found = measured(looped, "state m next row", *({"x": x, "trips": np.array(3)} for x in samples))
    flat = measured(unrolled, "x m0 m1 m2 n0 n1 n2", *({"x": x} for x in samples))
    for name, parts in {"state": "x n0 n1", "m": "m0 m1 m2", "next": "n0 n1 n2"}.items():
        each = [flat[part] for part in parts.split()]
        assert found[name].low == min(h.low for h in each)
        assert found[name].high == max(h.high for h in each)
    assert (found["row"].low, found["row"].high) == (-found["m"].high, -found["m"].low)


def test_an_if_in_a_loop_whose_trip_count_follows_from_the_data() -> None:
    x = normal(3, 4) + np.float32(4)
    states, taken, other = [x], [], []
    for turn in range(int(x.max())):
        if turn % 2 == 0:
            taken.append(states[-1] @ W)
            states.append(np.maximum(taken[-1], 0))
        else:
            other.append(states[-1] * np.float32(-2))
            states.append(other[-1] - 1)
    assert len(other) >= 2
    found = measured(prepared(NESTED), "state a p k q next", {"x": x})
    assert_ends(
        found, state=states[:-1], a=taken, k=other, q=[k - 1 for k in other], next=states[1:]
    )


def test_a_loop_in_an_if() -> None:
    x = normal(2, 4)
    feeds = {"x": x, "taken": np.array(True), "trips": np.array(2)}
    found = measured(prepared(WITHIN), "r s n p q", feeds)
    r = np.maximum(x, 0)
    assert_ends(found, r=[r], s=[r, r @ W], n=[r @ W, r @ W @ W], p=[r @ W @ W])
    assert found["q"].total == 0


def test_a_scan() -> None:
    first, xs = normal(2, 4), normal(6, 2, 4, seed=1)
    states, made, sums = [first], xs @ W, []
    for m in made:
        sums.append(states[-1] + m)
        states.append(np.tanh(sums[-1]))
    found = measured(prepared(SCAN), "state slice m a next out ys", {"first": first, "xs": xs})
    outs = [a * m for a, m in zip(sums, made, strict=True)]
    assert_ends(found, state=states[:-1], slice=[xs], m=[made], a=sums, next=states[1:], out=outs)
    assert (found["ys"].low, found["ys"].high) == (found["out"].low, found["out"].high)


def test_bodies_that_differ_in_what_they_tell() -> None:
    """A branch that tells nothing, and a Loop that carries nothing of its own."""
    model = prepared(
        """g (float[2,4] x, bool taken, int64 trips) => (float[2,4] y, float[T,2,4] z) {
            y = If(taken) <
                then_branch = t () => (float[2,4] p) { p = Relu(x) },
                else_branch = e () => (float[2,4] q) { k = Sub(x, one) q = Sub(k, one) }
            >
            z = Loop(trips, ) <body = b (int64 i, bool c) => (bool d, float[2,4] row) {
                d = Identity(c) f = Cast<to=1>(i) row = Add(x, f)
            }>
        }"""
    )
    x = normal(2, 4)
    feeds = [{"x": x, "taken": np.array(v), "trips": np.array(3)} for v in (True, False)]
    then, other = (measured(model, "k q row y z", each) for each in feeds)
    assert_ends(then, row=[x, x + 2], y=[np.maximum(x, 0)], z=[x, x + 2])
    assert [then[name].total for name in "kq"] == [0, 0]
    assert_ends(other, k=[x - 1], q=[x - 2], row=[x, x + 2], y=[x - 2])


@pytest.mark.parametrize(
    "feeds",
    [
        {"x": normal(2, 4), "taken": np.array(False), "trips": np.array(3)},
        {"x": normal(2, 4), "taken": np.array(True), "trips": np.array(0)},
    ],
    ids=["a branch that is not taken", "no turn"],
)
def test_what_does_not_run_tells_nothing(feeds: dict[str, Any]) -> None:
    found = measured(prepared(WITHIN), "s n", feeds)
    assert [found[name].total for name in ("s", "n")] == [0, 0]
    assert found["s"].low == np.inf


def test_an_empty_tensor_tells_nothing() -> None:
    empty = {"x": np.zeros((0, 4), np.float32), "trips": np.array(3)}
    full = {"x": normal(2, 4), "trips": np.array(3)}
    assert measured(prepared(LOOP), "m", empty)["m"].total == 0
    both, one = (measured(prepared(LOOP), "m", *s)["m"] for s in ((empty, full), (full,)))
    assert (both.low, both.high) == (one.low, one.high)


@pytest.mark.parametrize(
    ("bad", "what"), [(np.nan, "NaN"), (np.inf, "Inf"), (-np.inf, "Inf")], ids=str
)
def test_nan_and_infinity_within_are_named(bad: float, what: str) -> None:
    """Also where only the second turn makes them, and min and max would pass over NaN."""
    graph = """g (float[1,70] x, float bad, int64 trips) => (float[1,70] y) {
        y = Loop(trips, , x) <body = b (int64 i, bool c, float[1,70] state)
            => (bool d, float[1,70] next) {
                d = Identity(c) now = Equal(i, turn) here = And(now, mask)
                t = Where(here, bad, state) next = Neg(t)
            }>
    }"""
    mask = np.zeros((1, 70), bool)
    mask[0, 33] = True
    made = prepare(build(graph, turn=np.array(1), mask=mask))
    good = {"x": normal(1, 70), "bad": np.array(0, np.float32), "trips": np.array(3)}
    measured(made, "t", good)
    with pytest.raises(DataError, match=rf"{what} in tensor 't'") as error:
        measured(made, "t", good, {**good, "bad": np.array(bad, np.float32)})
    assert "in sample 1" in error.value.why


def test_a_mask_whose_sum_is_beyond_float32_is_no_infinity() -> None:
    x = np.full((1, 8), -3.0e38, np.float32)
    found = measured(prepared(COUNTING), "state", {"x": x, "trips": np.array(2)})
    assert found["state"].low == np.float32(-3.0e38)


def test_tensors_inside_and_outside_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large ones of the main graph are reduced too; outputs of the Loop itself are outside."""
    feeds = {"x": normal(5, 4), "trips": np.array(3)}
    fetched = measured(prepared(LOOP), "x m y rows", feeds)
    monkeypatch.setattr("qtool.calibrate.measuring.FETCHED", 0)
    reduced = measured(prepared(LOOP), "x m y rows", feeds)
    for name, found in fetched.items():
        assert (found.low, found.high) == (reduced[name].low, reduced[name].high)
        np.testing.assert_array_equal(found.bins, reduced[name].bins)
