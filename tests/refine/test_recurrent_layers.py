"""Recurrent layers: columns are what W and R are multiplied with, and outputs gain by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from qtool import workflow
from qtool.data import open_dataset
from qtool.passes import prepare
from qtool.plan.decide import decide
from qtool.plan.sites import find_sites
from qtool.recipe import Recipe
from qtool.refine import REFINEMENTS
from qtool.refine.judge import Judge
from qtool.refine.layers import Layer, find_layers
from qtool.refine.moments import moments_of
from qtool.refine.reads import Reads
from qtool.refine.rounding import _DAMPING, _FEW, _codes, _unfed
from qtool.refine.samples import drawn
from qtool.refine.state import State
from qtool.rounding.gptq import gptq
from qtool.target import load_target
from tests.models import Array, build, normal, save, weight

STEPS, BATCH, INPUTS, HIDDEN = 7, 3, 5, 4
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}


def layers_of(model: ir.Model) -> tuple[ir.Model, list[Layer]]:
    prepared, target = prepare(model), load_target("cpu")
    sites = find_sites(prepared, Recipe(scheme="w8"), target)
    return prepared, find_layers(prepared, decide(prepared, sites, {}, target))


def told(y: Array, start: Array, lengths: list[int], backwards: bool) -> Array:
    """What each step of one direction starts from, told step by step: (hidden, places)."""
    found = {}
    for n, length in enumerate(lengths):
        state = start[n]
        for t in reversed(range(length)) if backwards else range(length):
            found[t, n] = state
            state = y[t, n]
    return np.stack([found[place] for place in sorted(found)], axis=1)


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("told_of", ["", "lengths", "start", "lengths start"])
def test_columns_are_inputs_and_states_of_the_step_before(
    op: str, direction: str, told_of: str
) -> None:
    count = DIRECTIONS[direction]
    x, start = normal(STEPS, BATCH, INPUTS), normal(count, BATCH, HIDDEN, seed=3)
    lengths = np.array([4, 7, 1], np.int32)
    given = {
        "w": weight(count, GATES[op] * HIDDEN, INPUTS),
        "r": weight(count, GATES[op] * HIDDEN, HIDDEN, seed=2),
    }
    if "start" in told_of:
        given["h0"] = start
    names = (
        f"x, w, r, , {'n' if 'lengths' in told_of else ''}, {'h0' if 'start' in told_of else ''}"
    )
    shapes = f"float[{STEPS},{BATCH},{INPUTS}] x, int32[{BATCH}] n"
    outputs = f"float[{STEPS},{count},{BATCH},{HIDDEN}] y, float[{count},{BATCH},{HIDDEN}] h"
    node = f'y, h = {op}<hidden_size={HIDDEN}, direction="{direction}">({names})'
    model, layers = layers_of(build(f"g ({shapes}) => ({outputs}) {{ {node} }}", **given))
    assert [layer.keys[0][1] for layer in layers] == [1, 2]
    assert [layer.groups for layer in layers] == [1, count]
    feeds = {"x": x, "n": lengths}
    reads = Reads(model, model, layers, 1).run(feeds)
    assert layers[1].keys[0] in reads
    inputs, states = (
        form.columns(reads[key][0], 10**6) for layer in layers for key, form in layer.uses
    )
    steps = lengths.tolist() if "lengths" in told_of else [STEPS] * BATCH
    places = [(t, n) for t in range(STEPS) for n in range(BATCH) if t < steps[n]]
    np.testing.assert_array_equal(inputs[0].T, np.stack([x[place] for place in places]))
    y = reads[layers[1].keys[0]][0][0]
    zero = start if "start" in told_of else np.zeros_like(start)
    for i in range(count):
        backwards = direction == "reverse" or i == 1
        np.testing.assert_array_equal(states[i], told(y[:, i], zero[i], steps, backwards))
    if op == "RNN":  # and so they give what the layer gives
        for i in range(count):
            sums = given["w"][i] @ inputs[0] + given["r"][i] @ states[i]
            exact = np.stack([y[t, i, n] for t, n in places], axis=1)
            np.testing.assert_allclose(np.tanh(sums), exact, atol=1e-5)
    some = [form.columns(reads[key][0], 5) for layer in layers for key, form in layer.uses]
    assert [each.shape[2] for each in some] == [5, 5]
    for layer in layers:
        whole = np.arange(layer.weight.size).reshape(layer.weight.shape)
        np.testing.assert_array_equal(layer.restored(layer.matrices(whole)), whole)


def test_layers_with_the_batch_first_are_left_out() -> None:
    given = {"w": weight(1, HIDDEN, INPUTS), "r": weight(1, HIDDEN, HIDDEN)}
    node = f"y = RNN<hidden_size={HIDDEN}, layout=1>(x, w, r)"
    model = build(f"g (float[N,T,{INPUTS}] x) => (float[N,T,1,{HIDDEN}] y) {{ {node} }}", **given)
    assert layers_of(model)[1] == []


# Only the last states are an output; the others are observed all the same.
LAST = "x = Transpose<perm=[1,0,2]>(s) , h = {}(x, w, r, b) y = Squeeze(h, first)"
NETS = {
    "RNN": LAST.format("RNN<hidden_size=16>"),
    "GRU": LAST.format("GRU<hidden_size=16>"),
    "GRU after": LAST.format("GRU<hidden_size=16, linear_before_reset=1>"),
    "LSTM": """x = Transpose<perm=[1,0,2]>(s)
        a = LSTM<hidden_size=16, direction="bidirectional">(x, w, r, b)
        t = Transpose<perm=[1,3,0,2]>(a) y = ReduceMean<keepdims=0>(t, last)""",
}


def net(folder: Path, name: str, scheme: str, target: str = "cpu", **options: Any) -> State:
    """As `workflow.build` starts to refine it, on sequences whose steps have much in common."""
    folder.mkdir(exist_ok=True)
    op, both = name.split()[0], 2 if name == "LSTM" else 1
    given = {
        "w": weight(both, GATES[op] * 16, 20) * 4, "first": np.array([0]),
        "r": weight(both, GATES[op] * 16, 16, seed=2) * 4, "last": np.array([3]),
        "b": normal(both, GATES[op] * 32, seed=3) / 4,
    }  # fmt: skip
    shape = "N,16,2" if both == 2 else "N,16"
    path = save(
        folder / "m.onnx", f"g (float[N,T,20] s) => (float[{shape}] y) {{ {NETS[name]} }}", **given
    )
    (folder / "data").mkdir()
    mixed = normal(4, 20, seed=6)
    for i in range(90):
        drift = np.cumsum(normal(10, 4, seed=100 + i), axis=0) / 2
        np.save(folder / "data" / f"{i:03}.npy", drift @ mixed / 2 + normal(10, 20, seed=i) / 4)
    recipe = Recipe(scheme=scheme, samples=90, algorithms=(), **options)
    job = workflow.open_job(path, recipe, load_target(target), threads=1)
    decided, plan = workflow._decided(job, {})
    data = open_dataset(folder / "data", job.signature)
    return State(job.model, plan, drawn(data), 1, decided)


def gain(state: State, found: State) -> float:
    """In dB, on samples that were not learned from."""
    judge = Judge(state.model, state.samples.check, 1)
    return float(np.mean(judge.sqnr_db(found.quantized()) - judge.sqnr_db(state.quantized())))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("scheme", ["w4", "w3", "w4ub16"])
def test_outputs_gain_by_it(name: str, scheme: str, tmp_path: Path) -> None:
    state = net(tmp_path, name, scheme)
    found = REFINEMENTS["gptq"](state)
    assert [key[1] for key in found.rounded] == [1, 2]
    assert gain(state, found) > 4
    made = found.quantized()
    assert [value.name for value in made.graph.outputs] == ["y"]
    assert [v.name for v in _node(made).outputs] == [v.name for v in _node(state.model).outputs]


@pytest.mark.parametrize("by", ["adaround", "levels"])
def test_outputs_gain_by_other_algorithms(by: str, tmp_path: Path) -> None:
    state = net(tmp_path, "LSTM", "w4k" if by == "levels" else "w4")
    found = REFINEMENTS[by](state)
    assert {each.by for each in found.rounded.values()} == {by}
    assert gain(state, found) > 4


def _node(model: ir.Model) -> ir.Node:
    [node] = [node for node in model.graph if node.op_type in GATES]
    return node


@pytest.mark.parametrize(
    ("scheme", "target", "options", "apart"),
    [
        ("w4t", "cpu", {}, True),
        ("w4", "portable", {}, False),  # a scale for both directions
        ("w4a8", "cpu", {"mode": "dynamic", "contrib": True}, True),
    ],
)
def test_outputs_gain_by_it_whatever_shares_a_scale(
    scheme: str, target: str, options: dict[str, Any], apart: bool, tmp_path: Path
) -> None:
    state = net(tmp_path, "LSTM", scheme, target, **options)
    layers = find_layers(state.model, state.plan)
    assert [layer.apart for layer in layers] == [apart, apart]
    found = REFINEMENTS["gptq"](state)
    for key, each in found.rounded.items():
        same = np.array_equal(each.params.scale, state.plan.weights[key].params.scale)
        assert same is not apart
    assert gain(state, found) > 4


def test_no_layer_costs_more_than_nearest(tmp_path: Path) -> None:
    state = net(tmp_path, "LSTM", "w3")
    layers = find_layers(state.model, state.plan)
    quantized = state.quantized()
    chosen = _codes(state, quantized, layers, gptq)
    for layer, moments in zip(layers, moments_of(state, quantized, layers), strict=True):
        target = moments.target(layer.matrices(layer.weight), *_FEW)
        problem = layer.problem(target, moments.second(_DAMPING))
        codes, params = chosen[layer.keys[0]]
        asked = replace(layer, params=params).problem(target, problem.moments)
        before = problem.costs(problem.nearest())
        after = asked.costs(layer.matrices(codes))
        assert (after <= before * (1 + 1e-6)).all() and after.sum() < before.sum() / 2


def test_what_states_are_is_measured_without_the_codes_to_be_chosen(tmp_path: Path) -> None:
    state = net(tmp_path, "GRU", "w2")
    [inputs, states] = find_layers(state.model, state.plan)
    assert _unfed(state.plan, [inputs]).weights == state.plan.weights
    assert list(_unfed(state.plan, [states]).weights) == list(inputs.keys)
    kernel = net(tmp_path / "kernel", "LSTM", "w4a8", mode="dynamic", contrib=True)
    # DynamicQuantizeLSTM takes integers for both
    assert _unfed(kernel.plan, find_layers(kernel.model, kernel.plan)) == kernel.plan


def test_one_weight_of_both_courses_has_codes_for_both() -> None:
    given = {"w": weight(1, 4 * HIDDEN, INPUTS), "r": weight(1, 4 * HIDDEN, HIDDEN, seed=2)}
    node = f"LSTM<hidden_size={HIDDEN}, direction=%s>(x, w, r)"
    shapes = f"float[{STEPS},{BATCH},{INPUTS}] x"
    outputs = f"float[{STEPS},1,{BATCH},{HIDDEN}] a, float[{STEPS},1,{BATCH},{HIDDEN}] b"
    nodes = " ".join(
        f"{name} = {node % way}" for name, way in (("a", '"forward"'), ("b", '"reverse"'))
    )
    model, layers = layers_of(build(f"g ({shapes}) => ({outputs}) {{ {nodes} }}", **given))
    assert [len(layer.keys) for layer in layers] == [2, 2]
    reads = Reads(model, model, layers, 1).run({"x": normal(STEPS, BATCH, INPUTS)})
    start = np.zeros((BATCH, HIDDEN), np.float32)
    for (key, form), backwards in zip(layers[1].uses, (False, True), strict=True):
        y = reads[key][0][0][:, 0]
        expected = told(y, start, [STEPS] * BATCH, backwards)
        np.testing.assert_array_equal(form.columns(reads[key][0], 100)[0], expected)


def test_runs_of_other_lengths_are_not_compared() -> None:
    given = {"w": weight(1, HIDDEN, INPUTS), "r": weight(1, HIDDEN, HIDDEN)}
    shapes = f"float[{STEPS},{BATCH},{INPUTS}] x"
    text = f"g ({shapes}) => (float[1,{BATCH},{HIDDEN}] h) {{ , h = RNN<hidden_size=4>(x,w,r,,n) }}"
    models = [
        layers_of(build(text, n=np.array(lengths, np.int32), **given))
        for lengths in ([4, 7, 1], [7, 2, 1])
    ]
    (model, layers), (other, _) = models
    for x, y in Reads(model, other, layers, 1).run({"x": normal(STEPS, BATCH, INPUTS)}).values():
        assert x is y and y[1].tolist() == [7, 2, 1]
