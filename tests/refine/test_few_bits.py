"""Weights of few bits: scales are chosen with the codes, limits and memory are kept to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qtool import model as models
from qtool import workflow
from qtool.numeric.affine import dequantize
from qtool.numeric.granularity import PerBlock, PerChannel, PerTensor
from qtool.refine import REFINEMENTS, refine
from qtool.refine.layers import find_layers
from qtool.refine.state import State
from tests.models import Array, normal, weight
from tests.refine.test_rounding import CNN, WEIGHTS, state_of

GEMMS = """g (float[N,48] x) => (float[N,6] y) {
    a0 = MatMul(x, w0) a1 = Add(a0, b0) a = Relu(a1) c0 = Gemm<transB=1>(a, w1, b1) c = Relu(c0)
    y = Gemm(c, w2, b2) }"""
MATRICES: dict[str, Array] = {
    "w0": weight(48, 64), "b0": normal(64) / 4, "w1": weight(40, 64, seed=1),
    "b1": normal(40, seed=2) / 4, "w2": weight(40, 6, seed=3), "b2": normal(6, seed=4),
}  # fmt: skip
LSTM = """g (float[N,T,20] s) => (float[T,2,N,16] y) {
    x = Transpose<perm=[1,0,2]>(s) y = LSTM<hidden_size=16, direction="bidirectional">(x, w, r) }"""
GATES: dict[str, Array] = {"w": weight(2, 64, 20), "r": weight(2, 64, 16, seed=1)}
GRAPHS = {
    "CNN": (CNN, (3, 12, 12), WEIGHTS), "GEMMS": (GEMMS, (48,), MATRICES),
    "LSTM": (LSTM, (7, 20), GATES),
}  # fmt: skip


@pytest.fixture(scope="module")
def gemms(tmp_path_factory: pytest.TempPathFactory) -> State:
    return state_of(tmp_path_factory.mktemp("gemms"), GEMMS, (48,), "w4b16", **MATRICES)[1]


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("scheme", ["w4", "w4u", "w3t", "w4b16", "w2ub16", "w4a8"])
def test_each_grid_comes_back_as_it_went(graph: str, scheme: str, tmp_path: Path) -> None:
    """In whatever layout: rows, columns, groups, blocks, one scale; signs too."""
    text, shape, constants = GRAPHS[graph]
    _, state = state_of(tmp_path, text, shape, scheme, count=4, **constants)
    layers = find_layers(state.model, state.plan)
    assert len(layers) == {"CNN": 4, "GEMMS": 3, "LSTM": 2}[graph]
    for layer in layers:
        grid, codes = layer.grid(), state.plan.weights[layer.keys[0]].codes(layer.weight)
        found = layer.params_of(grid)
        np.testing.assert_array_equal(found.scale, layer.params.scale)
        np.testing.assert_array_equal(found.zero_point, layer.params.zero_point)
        matrices = layer.matrices(layer.weight).astype(np.float64)
        over = grid.over(layer.problem(matrices, np.zeros((1, 1, 1))))
        lost = (layer.matrices(codes) - over.zero_point) * over.steps
        np.testing.assert_allclose(
            layer.matrices(dequantize(codes, layer.params)), lost, rtol=1e-6, atol=1e-9
        )
        block = layer.params.granularity
        cells = -(-layer.width // block.size) if isinstance(block, PerBlock) else 1
        assert grid.scale.shape[2] == cells and grid.whole == isinstance(block, PerTensor)


@pytest.mark.parametrize("name", ["gptq", "adaround"])
def test_scales_move_and_are_those_in_the_file(name: str, gemms: State) -> None:
    found = REFINEMENTS[name](gemms)
    for key, before in gemms.plan.weights.items():
        after = found.plan.weights[key]
        assert after.rounded is not None and after.rounded.params is after.params
        assert (after.params.scale != before.params.scale).mean() > 0.3
        assert after.half == before.half  # as float16 holds them, where that is how they are stored
    graph = found.quantized().graph
    for plan in found.plan.weights.values():
        stored = [
            value.const_value.numpy().astype(np.float32)
            for value in graph.initializers.values()
            if value.const_value is not None and value.const_value.size == plan.params.scale.size
        ]
        wanted = plan.params.scale.reshape(-1)
        assert any(np.array_equal(np.sort(x.reshape(-1)), np.sort(wanted)) for x in stored)


def test_eight_bits_keep_their_scales(tmp_path: Path) -> None:
    _, state = state_of(tmp_path, GEMMS, (48,), "w8b16", count=12, **MATRICES)
    found = REFINEMENTS["gptq"](state)
    assert found.rounded
    for key, before in state.plan.weights.items():
        np.testing.assert_array_equal(found.plan.weights[key].params.scale, before.params.scale)


@pytest.mark.parametrize("asked", [{"scale": "pow2"}, {"range": (-0.5, 0.5)}])
def test_scales_that_were_asked_for_stay(asked: dict[str, object], tmp_path: Path) -> None:
    job, state = state_of(tmp_path, GEMMS, (48,), "w4", count=12, **MATRICES)
    recipe = job.recipe.model_copy(update=asked)
    again = workflow.open_job(job.path, recipe, job.target)
    decide, plan = workflow._decided(again, {})
    start = State(again.model, plan, state.samples, 1, decide)
    found = REFINEMENTS["gptq"](start)
    assert found.rounded
    for key, before in start.plan.weights.items():
        np.testing.assert_array_equal(found.plan.weights[key].params.scale, before.params.scale)


def test_a_large_bias_keeps_the_scale_that_holds_it(tmp_path: Path) -> None:
    """Its codes are int32, its scale that of the input times the weights'."""
    bias = np.where(np.arange(24) % 2, 3e7, 0.25).astype(np.float32)
    _, state = state_of(tmp_path, CNN, (3, 12, 12), "w4a8", 30, **{**WEIGHTS, "be": bias})
    [key] = [k for k, w in state.plan.weights.items() if w.tensor == "we" and w.form == "static"]
    found = REFINEMENTS["gptq"](state)
    stored = found.plan.biases[key[0], 2]
    codes = stored.codes(bias).astype(np.int64)
    scale = np.abs(stored.params.scale.astype(float))
    lost = np.abs(np.abs(codes * scale) - bias)
    assert (lost <= 0.51 * scale + 1e-6 * bias).all()
    assert np.abs(codes).max() < 2**31 - 1
    moved = found.plan.weights[key].params.scale != state.plan.weights[key].params.scale
    assert moved.reshape(-1)[::2].mean() > 0.3


def test_a_limit_leaves_weights_of_more_bits_alone(tmp_path: Path) -> None:
    job, state = state_of(tmp_path, GEMMS, (48,), "w4", count=12, **MATRICES)
    rules = [{"match": "op:MatMul", "scheme": "w8"}]
    recipe = type(job.recipe).model_validate({"scheme": "w4", "algorithms": [], "rules": rules})
    again = workflow.open_job(job.path, recipe, job.target)
    decide, plan = workflow._decided(again, {})
    start = State(again.model, plan, state.samples, 1, decide)
    rounded = {entry: refine(start, (entry,))[0].rounded for entry in ("gptq<8", "gptq<4", "gptq")}
    bits = {key: weight.params.type.bits for key, weight in plan.weights.items()}
    assert sorted(bits.values()) == [4, 4, 8]
    assert [bits[key] for key in rounded["gptq<8"]] == [4, 4]
    assert not rounded["gptq<4"] and len(rounded["gptq"]) == 3
    assert refine(start, ("gptq<4",)) == (start, ())


def test_memory_changes_nothing_but_for_layers_that_are_too_wide(gemms: State) -> None:
    widths = {layer.keys[0]: layer.bytes for layer in find_layers(gemms.model, gemms.plan)}
    most = max(widths.values())
    whole, _ = refine(gemms, ("gptq",))
    enough, done = refine(replace(gemms, memory=most), ("gptq",))
    assert models.serialize(enough.quantized()) == models.serialize(whole.quantized())
    assert done[0].left == ()
    some, done = refine(replace(gemms, memory=most - 1), ("gptq",))
    left = [key for key, size in widths.items() if size == most]
    assert list(done[0].left) == [key[0] for key in left] and 0 < len(left) < 3
    for key, before in gemms.plan.weights.items():
        assert (some.plan.weights[key].rounded is None) == (key in left)
        if key in left:
            np.testing.assert_array_equal(some.plan.weights[key].params.scale, before.params.scale)
    none, done = refine(replace(gemms, memory=1), ("gptq",))
    assert not none.rounded and len(done[0].left) == 3 and none.left == ()


def test_one_scale_for_all_is_fitted_too(tmp_path: Path) -> None:
    _, state = state_of(tmp_path, GEMMS, (48,), "w4t", **MATRICES)
    found = REFINEMENTS["gptq"](state)
    for key, before in state.plan.weights.items():
        after = found.plan.weights[key].params
        assert after.scale.shape == () and after.scale.dtype == np.float32
        assert after.granularity == before.params.granularity != PerChannel(0)
