"""Constants beside activations, and integers wherever there is a kernel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qtool.passes import prepare
from qtool.plan.delicate import POWERS, delicate
from qtool.plan.sites import Sites, find_sites
from qtool.recipe import Recipe, Rule
from qtool.runtime import Session
from qtool.target import load_target
from tests.cases import quantized
from tests.models import Array, as_run, build, normal, operators, save, sqnr, weight

CPU = load_target("cpu")
ALL = Recipe(placement="all")
X = "float[N,8,6,6] x"


def sites(graph: str, recipe: Recipe, **constants: Array) -> Sites:
    model = build(graph, **constants)
    for node in model.graph:
        node.name = f"n_{node.outputs[0].name}"
    return find_sites(prepare(model), recipe, CPU)


@pytest.mark.parametrize("operator", ["Add", "Mul"])
def test_a_constant_between_integers_becomes_one_too(operator: str, tmp_path: Path) -> None:
    graph = f"""g ({X}) => (float[N,8,6,6] y) {{
        a = Conv(x, w) r = Relu(a) s = {operator}(r, c) t = MaxPool<kernel_shape=[1,1]>(s)
        y = Conv(t, v) }}"""
    constants = {"w": weight(8, 8, 1, 1), "v": weight(8, 8, 1, 1, seed=2), "c": normal(8, 1, 1)}
    found = sites(graph, Recipe(), **constants)
    assert [(each.node, each.position) for each in found.operands] == [("n_s", 1)]
    path = save(tmp_path / "m.onnx", graph, **constants)
    samples = normal(64, 8, 6, 6)
    made = quantized(path, Recipe(), samples)
    kernels = operators(as_run(made.data, tmp_path))
    assert f"QLinear{operator}" in kernels
    assert kernels.count("QuantizeLinear") == kernels.count("DequantizeLinear") == 1
    before, after = Session(path), Session(made.data)
    assert sqnr(before.run({"x": samples})["y"], after.run({"x": samples})["y"]) > 30


# nodes -> what is seen in the optimized graph
ALONE = {
    "Add": ("y = Add(x, z)", "QLinearAdd"),
    "Add of a constant": ("y = Add(x, c)", "QLinearAdd"),
    "Softmax": ("y = Softmax(x)", "QLinearSoftmax"),
    "Where": ("m = Greater(z, x) y = Where(m, x, z)", "QLinearWhere"),
    "MatMul": ("y = MatMul(x, z)", "MatMulIntegerToFloat"),
    "MatMul, then more": ("a = MatMul(x, z) y = Sigmoid(a)", "QLinearMatMul"),
    "Conv of computed weights": ("k = Transpose<perm=[1,0,2,3]>(z) y = Conv(x, k)", "QLinearConv"),
    "a move": ("y = Transpose(x)", "Transpose"),
    "a clamp": ("y = Relu(x)", ""),
    "ArgMax": ("i = ArgMax(x) y = Cast<to=1>(i)", "ArgMax"),
}


@pytest.mark.parametrize("name", ALONE)
def test_everywhere(name: str, tmp_path: Path) -> None:
    nodes, kernel = ALONE[name]
    shape = "float[8,8,6,6]"
    graph = f"g ({shape} x) => ({shape} y) {{ z = Transpose<perm=[1,0,2,3]>(x) {nodes} }}"
    if name.startswith("MatMul"):
        graph = graph.replace("[1,0,2,3]", "[0,1,3,2]")
    graph = graph.replace("(float[8,8,6,6] y)", "(float y)")
    path = save(tmp_path / "m.onnx", graph, c=normal(8, 1, 1))
    samples = normal(8, 8, 6, 6)
    assert not quantized(path, Recipe(), samples).plan.activations
    made = quantized(path, ALL, samples)
    kernels = operators(as_run(made.data, tmp_path))
    assert kernel in [*kernels, ""]
    assert not {"Add", "Softmax", "Where", "MatMul", "Conv", "Relu"} & set(kernels)
    before, after = Session(path), Session(made.data)
    if name != "ArgMax":  # of two that are nearly equal, either may be found
        assert sqnr(before.run({"x": samples})["y"], after.run({"x": samples})["y"]) > 30


def test_everywhere_leaves_a_computed_bias_float() -> None:
    found = sites(f"g ({X}, float[8] b) => (float y) {{ y = Conv(x, w, b) }}", ALL,
                  w=weight(8, 8, 1, 1))  # fmt: skip
    assert not found.activations
    assert found.notes == {"n_y": "its bias is no constant vector"}


def test_a_mask_of_inf_stays_float(tmp_path: Path) -> None:
    graph = """g (float[N,3,4,8] x) => (float[N,3,4,4] y) {
        t = Transpose<perm=[0,1,3,2]>(x) s = MatMul(x, t) m = Add(s, mask) y = Softmax(m) }"""
    mask = np.where(np.tri(4), 0, -np.inf).astype(np.float32)
    path = save(tmp_path / "m.onnx", graph, mask=mask)
    made = quantized(path, ALL, normal(32, 3, 4, 8))
    assert "it holds Inf, as a mask does" in made.plan.skipped.values()
    assert "m" not in made.plan.activations
    kernels = operators(as_run(made.data, tmp_path))
    assert "MatMulIntegerToFloat" in kernels


@pytest.mark.parametrize("sharp", [0.01, 1, 100])
def test_softmax_of_flat_and_of_sharp_values(sharp: float, tmp_path: Path) -> None:
    # the runtime's kernel overflows where its scale is below 1 / 512
    path = save(tmp_path / "m.onnx", "g (float[N,8] x) => (float[N,8] y) { y = Softmax(x) }")
    samples = normal(64, 8) * np.float32(sharp)
    made = quantized(path, ALL, samples)
    assert "QLinearSoftmax" in operators(as_run(made.data, tmp_path))
    scale = float(made.plan.activations["y"].params.scale)
    assert scale in (1 / 256, 1 / 512)
    before, after = Session(path), Session(made.data)
    lost = np.abs(before.run({"x": samples})["y"] - after.run({"x": samples})["y"])
    assert lost.max() < {0.01: 0.6 * scale, 1: 0.02, 100: 0.3}[sharp]


def test_a_softmax_of_many_small_values_stays_float(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", "g (float[N,400] x) => (float[N,400] y) { y = Softmax(x) }")
    made = quantized(path, ALL, normal(64, 400) / 10)
    assert not made.plan.activations
    (reason,) = made.plan.skipped.values()
    assert reason.startswith("its values are too small")


@pytest.mark.parametrize(
    ("shape", "step"), [("N,1", 128), ("N,2", 256), ("N,3", 256), ("N,4", 512), ("N,K", 128)]
)
def test_a_softmax_over_a_short_axis(shape: str, step: int, tmp_path: Path) -> None:
    # the runtime's kernel overflows where 1 / scale is more than 128 times the length
    path = save(
        tmp_path / "m.onnx", f"g (float[{shape}] x) => (float[{shape}] y) {{ y = Softmax(x) }}"
    )
    samples = normal(64, 4 if shape[2] == "K" else int(shape[2])) / 100
    made = quantized(path, ALL, samples)
    assert "QLinearSoftmax" in operators(as_run(made.data, tmp_path))
    assert float(made.plan.activations["y"].params.scale) >= 1 / step
    before, after = Session(path), Session(made.data)
    lost = np.abs(before.run({"x": samples})["y"] - after.run({"x": samples})["y"])
    assert lost.max() < 1 / step


def test_a_softmax_kept_float_is_right_between_integers(tmp_path: Path) -> None:
    # The runtime fuses it all the same, so the scale must be one that its kernel computes with.
    graph = f"""g ({X}) => (float[N,8,6,6] y) {{
        a = Conv(x, w) p = Softmax<axis=1>(a) y = Conv(p, v) }}"""
    path = save(tmp_path / "m.onnx", graph, w=weight(8, 8, 1, 1) / 50, v=weight(8, 8, 1, 1, seed=2))
    samples = normal(64, 8, 6, 6)
    recipe = Recipe(rules=(Rule(match="op:Softmax", scheme="float"),))
    made = quantized(path, recipe, samples)
    before, after = Session(path), Session(made.data)
    assert sqnr(before.run({"x": samples})["y"], after.run({"x": samples})["y"]) > 30


@pytest.mark.parametrize("recipe", [Recipe(), ALL])
def test_no_integers_behind_what_would_be_fused_wrongly(recipe: Recipe, tmp_path: Path) -> None:
    graph = f"""g ({X}) => (float[N,8,4,4] y) {{ a = Conv(x, w)
        p = AveragePool<kernel_shape=[2,2], dilations=[2,2]>(a) y = Conv(p, v) }}"""
    path = save(tmp_path / "m.onnx", graph, w=weight(8, 8, 1, 1), v=weight(8, 8, 1, 1, seed=2))
    samples = normal(64, 8, 6, 6)
    made = quantized(path, recipe, samples)
    assert "QLinearConv" in operators(as_run(made.data, tmp_path))
    before, after = Session(path), Session(made.data)
    assert sqnr(before.run({"x": samples})["y"], after.run({"x": samples})["y"]) > 30


@pytest.mark.parametrize("bounds", [(-1, 1), (-1, 2), (-0.3, 0.7), (0, 6), (-1, np.inf)])
def test_a_swallowed_clip_is_gone(bounds: tuple[float, float], tmp_path: Path) -> None:
    graph = (
        f"g ({X}) => (float[N,8,6,6] y) {{ a = Conv(x, w) c = Clip(a, low, high) y = Conv(c, v) }}"
    )
    low, high = map(np.float32, bounds)
    path = save(tmp_path / "m.onnx", graph, low=low, high=high, w=weight(8, 8, 1, 1) * 9,
                v=weight(8, 8, 1, 1, seed=2))  # fmt: skip
    samples = normal(64, 8, 6, 6)
    made = quantized(path, Recipe(), samples)
    assert "Clip" not in operators(as_run(made.data, tmp_path))
    before, after = Session(path), Session(made.data)
    assert sqnr(before.run({"x": samples})["y"], after.run({"x": samples})["y"]) > 28


@pytest.mark.parametrize(("low", "high", "clamps"), [(-1, 1, True), (1, -1, False)])
def test_a_clip_the_wrong_way_round_stays_float(low: float, high: float, clamps: bool) -> None:
    graph = f"g ({X}) => (float[N,8,6,6] y) {{ a = Conv(x, w) y = Clip(a, low, high) }}"
    found = sites(graph, Recipe(), w=weight(8, 8, 1, 1), low=np.float32(low), high=np.float32(high))
    assert ("n_y" not in found.skipped) == clamps


def test_integers_that_are_floats_for_a_while_stay_whole(tmp_path: Path) -> None:
    graph = """g (float[N,8] x) => (int64[N,1] y) {
        m = MatMul(x, w) r = Relu(m) a = ArgMax<axis=1, keepdims=0>(r) f = Cast<to=1>(a)
        s = Reshape(f, shape) t = Transpose(s) u = Transpose(t) y = Cast<to=7>(u) }"""
    path = save(tmp_path / "m.onnx", graph, w=np.eye(8, dtype=np.float32), shape=np.array([-1, 1]))
    rows = np.eye(8, dtype=np.float32)
    made = quantized(path, ALL, rows)
    assert made.plan.activations
    assert Session(made.data).run({"x": rows})["y"].ravel().tolist() == list(range(8))


def two_products(path: Path, graph: str, **constants: Array) -> Path:
    return save(path, graph, v=weight(16, 64), w=weight(64, 8, seed=2), **constants)


@pytest.mark.parametrize("square", ["Mul(r, r)", "Pow(r, two)"])
def test_a_squared_relu_is_an_activation(square: str, tmp_path: Path) -> None:
    graph = f"""g (float[N,16] x) => (float[N,8] y) {{
        m = MatMul(x, v) r = Relu(m) p = {square} y = MatMul(p, w) }}"""
    path = two_products(tmp_path / "m.onnx", graph, two=np.array([2], np.float32))
    x = normal(64, 16)
    made = quantized(path, ALL, x)
    assert "p" in made.plan.activations
    assert sqnr(Session(path).run({"x": x})["y"], Session(made.data).run({"x": x})["y"]) > 30


@pytest.mark.parametrize("power", ["Mul(m, m)", "Pow(m, three)"])
def test_no_step_of_a_power_is_quantized(power: str, tmp_path: Path) -> None:
    graph = f"""g (float[N,16] x) => (float[N,8] y) {{
        m = MatMul(x, v) p = {power} q = Mul(p, m) y = MatMul(q, w) }}"""
    path = two_products(tmp_path / "m.onnx", graph, three=np.array([3], np.float32))
    activations = quantized(path, ALL, normal(64, 16)).plan.activations
    assert "x" in activations
    assert not {"p", "q"} & set(activations)


def test_a_long_row_of_products_takes_no_time() -> None:
    steps = " ".join(f"x{i + 1} = Mul(x{i}, x{i})" for i in range(60))
    model = build(
        f"g (float[N,8] x0) => (float[N,8] y) {{ {steps} y = MatMul(x60, w) }}", w=weight(8, 8)
    )
    found = delicate(model.graph)
    assert found[model.graph[-1]] == POWERS
