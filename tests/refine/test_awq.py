"""AWQ keeps the function, gains where inputs are uneven and bits few, and else does nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from qtool.algorithms import Listed
from qtool.passes import prepare
from qtool.passes.edit import array
from qtool.passes.streams import apply, streams
from qtool.plan.sites import find_sites
from qtool.recipe import Recipe
from qtool.refine.awq import WORTHWHILE, _candidates, _case, _means, awq
from qtool.refine.cases import measure
from qtool.refine.judge import Judge
from qtool.refine.samples import Samples
from qtool.refine.trial import trial
from qtool.target import load_target
from tests.models import Array, assert_same_function, build, normal, weight

CPU = load_target("cpu")
PLAIN = Recipe(scheme="w4b32", algorithms=("awq",))


def loud(*channels: int, width: int = 64, by: float = 30.0) -> Array:
    found = np.ones(width, np.float32)
    found[list(channels)] = by
    return found


def model(scale: Array) -> ir.Model:
    """A normalization whose channels differ, as those of language models do, in front of two
    products, and the inner layer of a block."""
    constants: dict[str, Any] = {
        "g": scale, "s": normal(64, seed=5) / 8, "w1": weight(96, 64, seed=6).T.copy(),
        "b1": normal(96, seed=7) / 4, "w2": weight(64, 96, seed=8).T.copy(),
        "w3": weight(64, 64, seed=9).T.copy(),
    }  # fmt: skip
    made = build(
        """g (float[N,6,64] x) => (float[N,6,64] y) {
            n = LayerNormalization(x, g, s) a = MatMul(n, w1) h = Add(a, b1) r = Relu(h)
            u = MatMul(r, w2) v = MatMul(n, w3) y = Add(u, v) }""",
        **constants,
    )
    return prepare(made)


def samples(count: int = 18) -> Samples:
    feeds = tuple({"x": normal(1, 6, 64, seed=100 + i)} for i in range(count))
    return Samples(feeds[: count // 2], feeds[count // 2 :])


UNEVEN = loud(3, 17, 40)


@pytest.mark.parametrize("scheme", ["w4b32", "w4", "w3ub32", "w4a8"])
def test_uneven_inputs_gain_by_it_on_samples_that_it_has_not_seen(scheme: str) -> None:
    recipe = PLAIN.model_copy(update={"scheme": scheme, "placement": "all", "method": "minmax"})
    start, seen = model(UNEVEN), samples()
    found = awq(start, seen, recipe, CPU, 1)
    assert found is not start
    other = tuple({"x": normal(1, 6, 64, seed=900 + i)} for i in range(12))
    judge = Judge(start, other, 1)
    before, after = (trial(m, judge, seen, recipe, CPU, 1) for m in (start, found))
    assert np.mean(after - before) > 1
    assert_same_function(start, found, **other[0])


def test_even_inputs_and_many_bits_are_left_alone() -> None:
    even = model(loud())
    assert awq(even, samples(), PLAIN, CPU, 1) is even
    uneven = model(UNEVEN)
    for recipe in (
        PLAIN.model_copy(update={"scheme": "w8b32", "algorithms": ("awq<8",)}),
        PLAIN.model_copy(update={"algorithms": ("awq<4",)}),
        PLAIN.model_copy(update={"scheme": "fp16"}),
        PLAIN.model_copy(update={"scheme": "float"}),
    ):
        assert awq(uneven, samples(), recipe, CPU, 1) is uneven
    assert awq(uneven, Samples((), ()), PLAIN, CPU, 1) is uneven


def measured() -> Any:
    found = model(UNEVEN)
    sites = find_sites(found, PLAIN, CPU)
    [stream] = [s for s in streams(found.graph) if len(s.free) == 64 and s.free.all()]
    case = _case(stream, sites, Listed("awq"))
    assert case is not None
    measure(found, [case], samples(), 1)
    return found, case


def test_factors_are_powers_of_mean_sizes() -> None:
    """s_c = mean|X_c|^a, but for a common factor."""
    found, case = measured()
    assert len(case.readers) == 2
    [tensor] = case.tensors.values()
    sizes = np.abs(np.concatenate(tensor.kept["fit"])).mean(0)
    np.testing.assert_allclose(_means(case), sizes, rtol=1e-5)
    tried = list(_candidates(case))
    for power, factors in zip((0.05, 0.5, 1.0), (tried[0], tried[9], tried[19]), strict=True):
        np.testing.assert_allclose(factors / factors[0], (sizes / sizes[0]) ** power, rtol=1e-5)
        np.testing.assert_allclose(np.log(factors).mean(), 0, atol=1e-9)
    before = array(found.graph.initializers["g"])
    assert apply(case.stream, tried[9], "scaled")
    after = next(v for n, v in found.graph.initializers.items() if n.startswith("g"))
    np.testing.assert_allclose(array(after), before / tried[9], rtol=1e-5)


def test_what_does_not_help_in_the_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    module = sys.modules["qtool.refine.awq"]
    start = model(UNEVEN)
    monkeypatch.setattr(module, "WORTHWHILE", WORTHWHILE + 100)
    assert awq(start, samples(), PLAIN, CPU, 1) is start
