"""A model run in stages gives what it gives in one, and what is changed on the way is read."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import qtool.refine.walk as module
from qtool.refine.taps import Taps
from qtool.refine.walk import can_walk, walk
from tests.models import Array, build, normal, weight

# one stop behind another, one beside it, a residual over both, and a tail that no stop needs
GRAPH = """g (float[N,4,H,W] x, bool k) => (float[N,4,H,W] z) {
    a = Conv(x, w) r = Relu(a) b = Conv(r, v) s = Conv(x, u) t = Add(b, s)
    c = If(k) < then_branch = yes () => (float[N,4,H,W] m) { m = Add(r, t) },
                else_branch = no () => (float[N,4,H,W] m) { m = Identity(t) } >
    d = Conv(c, w) z = Sigmoid(d) }"""
STAGES = [["a", "s"], ["b"], ["d"]]


def model() -> ir.Model:
    return build(GRAPH, **{n: weight(4, 4, 1, 1, seed=i) for i, n in enumerate("wvu")})


def feeds(count: int = 3) -> list[dict[str, Array]]:
    return [{"x": normal(1, 4, 6, 6, seed=i), "k": np.array(i % 2 == 0)} for i in range(count)]


def test_stages_follow_one_another_and_give_the_same() -> None:
    stops = [name for stage in STAGES for name in stage]
    taps = Taps(model(), stops)
    wanted = [taps.run(each) for each in feeds()]
    seen = []
    for given in walk(model(), stops, feeds()):
        seen.append(sorted(given[0]))
        for found, expected in zip(given, wanted, strict=True):
            for name, values in found.items():
                np.testing.assert_array_equal(values, expected[name])
    assert seen == STAGES


def test_what_is_changed_is_read_by_all_behind() -> None:
    taps = Taps(model(), ["a", "b", "d"])
    (each,) = feeds(1)
    for given in walk(model(), ["a", "b", "d"], [each]):
        if "a" in given[0]:
            given[0]["a"] = given[0]["a"] * 0
        if "b" in given[0]:
            assert not given[0]["b"].any()
            given[0]["b"] = given[0]["b"] + 1
        if "d" in given[0]:
            assert not np.allclose(given[0]["d"], taps.run(each)["d"])


def test_sizes_may_differ_between_samples() -> None:
    several = [{"x": normal(1, 4, n, n), "k": np.array(True)} for n in (6, 3, 9)]
    sizes = [[v["d"].shape[-1] for v in given] for given in walk(model(), ["d"], several)]
    assert sizes == [[6, 3, 9]]


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first stage `a` and `s` of each sample, and `k`, which is a byte."""
    counts = {}
    for tensors in (100, 36, 10):
        monkeypatch.setattr(module, "BYTES", tensors * 4 * 4 * 36)
        counts[tensors] = [len(given) for given in walk(model(), ["a", "b", "d"], feeds(20))]
    assert counts[100] == [20, 20, 20]
    assert counts[36][0] == 18  # the one that was too much stays
    assert counts[10] == [8, 8, 8]


def test_what_weights_are_made_of_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sample would hold them anew."""
    wide = build("g (float[N,8] x) => (float[N,900] z) { a = Mul(x, x) k = Abs(w) b = MatMul(a, k)"
                 " z = Abs(b) }", w=weight(8, 900))  # fmt: skip
    fed = [{"x": normal(1, 8, seed=i)} for i in range(12)]
    monkeypatch.setattr(module, "BYTES", 12 * 4 * (8 + 900))
    assert [len(given) for given in walk(wide, ["a", "b"], fed)] == [12, 12]


def test_sequences_are_not_carried() -> None:
    made = build("g (float[4] x) => (float[4] y) { s = SequenceConstruct(x) i = SequenceLength(s)"
                 " f = Cast<to=1>(i) y = Add(x, f) }")  # fmt: skip
    assert not can_walk(made)
    assert can_walk(model())
