"""A layer that is meant to be float stays float between integers, in the runtime too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from qtool import model as models
from qtool import workflow
from qtool.passes import rewritten
from qtool.passes.dequantize import dequantize
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.cases import KERNELS, quantized
from tests.models import Array, as_run, normal, save, sqnr, weight

IMAGES, ROWS = normal(24, 4, 8, 8, seed=20), normal(64, 16, seed=21)


def uneven(*shape: int, axis: int, seed: int) -> Array:
    """A weight of which one scale makes zeros of most channels."""
    w, first = weight(*shape, seed=seed), [slice(None)] * len(shape)
    first[axis] = slice(1)
    w[tuple(first)] *= 60
    return w


CONSTANTS: dict[str, Array] = {
    "w": weight(8, 4, 3, 3, seed=1), "v": weight(6, 8, 1, 1, seed=2),
    "conv": uneven(8, 8, 3, 3, axis=0, seed=3), "turned": uneven(8, 8, 2, 2, axis=1, seed=4),
    "m": weight(16, 24, seed=5) / 2, "n": weight(32, 16, seed=6) / 4,
    "gemm": uneven(32, 24, axis=0, seed=7),
    "b8": normal(8, seed=8) / 4, "b32": normal(32, seed=9) / 4,
    "low": np.float32(0), "high": np.float32(3),
}  # fmt: skip
# operator -> before it, itself, behind it, its weight, its bias
PARTS = {
    "Conv": ("a = Conv<pads=[1,1,1,1]>(x, w)", "Conv<pads=[1,1,1,1]>", "y = Conv({}, v)",
             "conv", "b8"),
    "ConvTranspose": ("a = Conv<pads=[1,1,1,1]>(x, w)", "ConvTranspose<strides=[2,2]>",
                      "y = Conv({}, v)", "turned", "b8"),
    "Gemm": ("p = Gemm(x, m) a = Relu(p)", "Gemm<transB=1>", "q = Gemm({}, n) y = Relu(q)",
             "gemm", "b32"),
}  # fmt: skip
BEHIND = {"": "t", "Relu": "c", "Clip": "c"}
CLAMPS = {"": "", "Relu": "c = Relu(t)", "Clip": "c = Clip(t, low, high)"}
INTEGER, FLOAT = {"QLinearConv", "QGemm"}, {*PARTS, "MatMul"}


def model(
    path: Path, operator: str, behind: str = "", bias: bool = False, opset: int = 13
) -> tuple[Path, Array]:
    """integer layer -> [middle] -> clamp -> integer layer, and samples for it."""
    before, own, then, large, added = PARTS[operator]
    inputs = f"a, {large}, {added}" if bias else f"a, {large}"
    nodes = f"{before} [middle] t = {own}({inputs}) {CLAMPS[behind]} {then.format(BEHIND[behind])}"
    words = set(nodes.replace(",", " ").replace(")", " ").replace("(", " ").split())
    used = {name: values for name, values in CONSTANTS.items() if name in words}
    ends = ("N,16", "N,16") if operator == "Gemm" else ("N,4,8,8", "N,6,H,K")
    graph = f"g (float[{ends[0]}] x) => (float[{ends[1]}] y) {{ {nodes} }}"
    return save(path, graph, opset=opset, **used), ROWS if operator == "Gemm" else IMAGES


def recipe(scheme: str, **more: Any) -> Recipe:
    rules = [{"match": "middle", "scheme": scheme}] if scheme else []
    return Recipe.model_validate({"rules": rules, "algorithms": [], **more})


def constants_restored(made: onnx.ModelProto) -> int:
    """How many constants are dequantized on every run."""
    fixed = {each.name for each in made.graph.initializer}
    return sum(n.op_type == "DequantizeLinear" and n.input[0] in fixed for n in made.graph.node)


def kernels(made: onnx.ModelProto) -> tuple[int, int]:
    """(integer layers, float layers)"""
    found = [node.op_type.removeprefix("Fused") for node in made.graph.node]
    return sum(op in INTEGER for op in found), sum(op in FLOAT for op in found)


def closeness(data: bytes, samples: Array) -> float:
    """What the runtime makes of the graph beside the graph as it is written, in dB."""
    found, written = (
        Session(data, threads=1, optimize=o).run({"x": samples}) for o in (True, False)
    )
    return sqnr(written["y"], found["y"])


@pytest.mark.parametrize("scheme", ["float", pytest.param("w8", marks=pytest.mark.slow)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("behind", CLAMPS)
@pytest.mark.parametrize("operator", PARTS)
def test_the_layer_is_float_and_its_neighbours_are_not(
    operator: str, behind: str, bias: bool, scheme: str, tmp_path: Path
) -> None:
    path, samples = model(tmp_path / "m.onnx", operator, behind, bias)
    made = quantized(path, recipe(scheme), samples)
    models.check(made.data)
    assert models.opset(models.parse(made.data)) == 13
    length = 24 if operator == "Gemm" else 8
    product = operator == "Gemm" and not bias  # becomes MatMul, which is left alone
    assert made.plan.guarded == ({} if product else {("middle", 0): (1, length)})
    run = as_run(made.data, tmp_path)
    assert kernels(run) == (2, 1)
    assert constants_restored(run) == 0
    assert closeness(made.data, samples) > 45
    if product:
        return
    # The law that it obeys: unguarded, the runtime quantizes the weights, by one scale.
    job = workflow.open_job(path, recipe(scheme), KERNELS, threads=1)
    bare = models.serialize(rewritten(job.model, replace(made.plan, guarded={})))
    run = as_run(bare, tmp_path)
    assert kernels(run) == (3, 0) or constants_restored(run) == (2 if bias else 1)
    assert closeness(bare, samples) < 35


@pytest.mark.parametrize(("target", "scheme"), [("portable", "float"), ("cpu", "fp16")])
def test_portable_and_weights_of_16_bits(target: str, scheme: str, tmp_path: Path) -> None:
    path, samples = model(tmp_path / "m.onnx", "Conv", "Relu", bias=True)
    rules = recipe(scheme, placement="all")
    made = quantized(path, rules, samples, load_target(target))
    assert made.plan.guarded == {("middle", 0): (1, 8)}
    assert closeness(made.data, samples) > 45


def test_weights_behind_dequantize_linear_are_what_the_plan_says(tmp_path: Path) -> None:
    """In integers as well: two roundings of one step of its result."""
    path, samples = model(tmp_path / "m.onnx", "Conv")
    made = quantized(path, recipe("w8", placement="all"), samples, load_target("portable"))
    assert not made.plan.guarded
    assert closeness(made.data, samples) > 45


W: dict[str, Array] = {"w": CONSTANTS["w"], "v": weight(8, 8, 1, 1), "u": weight(8, 8, 1, 1)}
NOT_NEEDED = {
    "all in integers": ("a = Conv(x, w) [middle] t = Conv(a, v) y = Conv(t, u)", ""),
    "it reads what is float": ("[middle] a = Conv(x, w) y = Conv(a, v)", "float"),
    "its result is float": ("a = Conv(x, w) [middle] y = Conv(a, v)", "float"),
    "others read its result": (
        "a = Conv(x, w) [middle] t = Conv(a, v) s = Sin(t) c = Conv(t, u) y = Add(c, s)", "float"),
    "a float operator behind": (
        "a = Conv(x, w) [middle] t = Conv(a, v) s = Sin(t) y = Conv(s, u)", "float"),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_NEEDED)
def test_nothing_is_added_where_nothing_is_lost(case: str, tmp_path: Path) -> None:
    nodes, scheme = NOT_NEEDED[case]
    graph = f"g (float[N,4,8,8] x) => (float[N,8,H,K] y) {{ {nodes} }}"
    made = quantized(save(tmp_path / "m.onnx", graph, **W), recipe(scheme), IMAGES)
    assert made.plan.activations
    assert not made.plan.guarded
    names = [i.name for i in models.parse(made.data).graph.initializers.values()]
    assert not [name for name in names if "_along" in (name or "")]


ONE = {"w": weight(1, 4, 1, 1), "v": uneven(8, 1, 1, 1, axis=0, seed=3), "u": weight(6, 8, 1, 1)}
ODD: dict[str, tuple[str, dict[str, Array], dict[tuple[str, int], tuple[int, int]]]] = {
    "one channel": ("a = Conv(x, w) [middle] t = Conv(a, v) y = Conv(t, u)", ONE,
                    {("middle", 0): (2, 8)}),
    "groups": ("a = Conv(x, w) [middle] t = Conv<group=4>(a, v) y = Conv(t, u)",
               {**W, "v": uneven(8, 2, 1, 1, axis=0, seed=3)}, {("middle", 0): (1, 8)}),
    "moved between": (
        "a = Conv(x, w) [moved] m = Transpose<perm=[0,1,3,2]>(a) [middle] t = Conv(m, v)"
        "y = Conv(t, u)", {**W, "v": uneven(8, 8, 1, 1, axis=0, seed=3)}, {("moved", 0): (1, 8)}),
    "moved behind": (
        "a = Conv(x, w) [middle] t = Conv(a, v) [moved] m = Transpose<perm=[0,1,3,2]>(t)"
        "y = Conv(m, u)", {**W, "v": uneven(8, 8, 1, 1, axis=0, seed=3)}, {("middle", 0): (1, 8)}),
    "beside an integer layer": (
        "a = Conv(x, w) [middle] t = Conv(a, v) c = Conv(a, u) s = Add(t, c) y = Conv(s, u)",
        {**W, "v": uneven(8, 8, 1, 1, axis=0, seed=3)}, {("middle", 0): (1, 8)}),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_odd_places(case: str, tmp_path: Path) -> None:
    nodes, constants, expected = ODD[case]
    graph = f"g (float[N,4,8,8] x) => (float[N,C,H,K] y) {{ {nodes} }}"
    rules = [{"match": name, "scheme": "float"} for name in ("middle", "moved") if name in nodes]
    path = save(tmp_path / "m.onnx", graph, **constants)
    made = quantized(path, recipe("", rules=rules, placement="all"), IMAGES)
    assert made.plan.guarded == expected
    run = as_run(made.data, tmp_path)
    assert kernels(run) == (nodes.count("Conv") - 1, 1)
    assert closeness(made.data, IMAGES) > 40


def test_where_the_result_is_an_output_too(tmp_path: Path) -> None:
    """The runtime restores the weights on every run then."""
    graph = """g (float[N,4,8,8] x) => (float[N,8,H,K] t, float[N,8,H,K] y) {
        a = Conv(x, w) [middle] t = Conv(a, v) y = Conv(t, u) }"""
    constants = {**W, "v": uneven(8, 8, 1, 1, axis=0, seed=3)}
    made = quantized(save(tmp_path / "m.onnx", graph, **constants), recipe("float"), IMAGES)
    assert made.plan.guarded == {("middle", 0): (1, 8)}
    run = as_run(made.data, tmp_path)
    assert (kernels(run), constants_restored(run)) == ((2, 1), 0)


def test_in_a_body(tmp_path: Path) -> None:
    graph = """g (float[1,4,8,8] x, bool c) => (float[1,8,H,K] y) {
        a = Conv(x, w)
        y = If(c) <then_branch = t () => (float[1,8,H,K] p)
                       { [middle] m = Conv(a, v) p = Conv(m, u) },
                   else_branch = e () => (float[1,8,H,K] q) { q = Conv(a, u) }> }"""
    constants = {**W, "v": uneven(8, 8, 1, 1, axis=0, seed=3)}
    job = workflow.open_job(save(tmp_path / "m.onnx", graph, **constants), recipe("float"), KERNELS)
    made = workflow.dry_run(job)
    assert made.plan.guarded == {("middle", 0): (1, 8)}
    feeds = {"x": IMAGES[:1], "c": np.array(True)}
    written, found = (
        Session(made.data, threads=1, optimize=each).run(feeds)["y"] for each in (False, True)
    )
    assert sqnr(written, found) > 40


def test_quantized_again_it_is_float_first(tmp_path: Path) -> None:
    path, samples = model(tmp_path / "m.onnx", "Conv", "Relu", bias=True)
    made = quantized(path, recipe("float"), samples)
    real = dequantize(models.parse(made.data))
    ops = {node.op_type for node in real.graph}
    assert not {"QuantizeLinear", "DequantizeLinear"} & ops
    written = Session(made.data, threads=1).run({"x": samples})["y"]
    assert sqnr(written, Session(models.serialize(real)).run({"x": samples})["y"]) > 30


def test_a_float16_model(tmp_path: Path) -> None:
    """Its layer in float32 is guarded in front of the Cast, which nothing looks through."""
    path, samples = model(tmp_path / "m.onnx", "Conv", "Relu", bias=True)
    proto = onnx.load(path)
    for each in proto.graph.initializer:
        each.CopyFrom(onnx.numpy_helper.from_array(
            onnx.numpy_helper.to_array(each).astype(np.float16), each.name))  # fmt: skip
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    onnx.save(proto, path)
    made = quantized(path, recipe("w8"), samples.astype(np.float16))
    assert made.plan.guarded == {("middle", 0): (1, 8)}
    assert kernels(as_run(made.data, tmp_path)) == (2, 1)
    assert closeness(made.data, samples.astype(np.float16)) > 40
