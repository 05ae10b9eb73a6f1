"""Models with If, Loop and Scan, quantized: integer kernels inside bodies, and what it costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from qtool import model as models
from qtool import workflow
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.cases import quantized
from tests.models import Array, as_run, normal, save, sqnr, weight

ROWS = normal(64, 16, seed=21)
ROWS[:, 0] = np.arange(64) // 8 % 4 + 1.5  # the number of turns, the same for a batch
IMAGES = normal(24, 4, 9, 9, seed=22)
W, V, B = weight(16, 16), weight(16, 16, seed=2), normal(16) / np.float32(8)

# The trip count follows from the data, and the branch.
CORNER = "none = Constant<value_int=0>() head = Gather(x, none) top = Gather(head, none)"
LOOP = """g (float[N,16] x) => (float[N,16] y, float[T,N,16] rows) {
    CORNER trips = Cast<to=7>(top) outside = Relu(x)
    y, rows = Loop(trips, , x) <body = b (int64 i, bool c, float[N,16] state)
        => (bool d, float[N,16] next, float[N,16] row) {
            d = Identity(c) m = MatMul(state, w) a = Add(m, b) n = MatMul(outside, v) t = Sub(a, n)
            next = Tanh(t) row = MatMul(next, v)
    }>
}""".replace("CORNER", CORNER)
IF = """g (float[N,16] x) => (float[N,16] y) {
    CORNER two = Constant<value_float=2.0>() c = Greater(top, two)
    m = MatMul(x, w) r = Relu(m)
    z = If(c) <
        then_branch = t () => (float[N,16] p) { a = MatMul(r, v) k = Add(a, b) p = Tanh(k) },
        else_branch = e () => (float[N,16] q) { a = MatMul(r, w) k = Relu(a) q = MatMul(k, v) }
    >
    y = MatMul(z, w)
}""".replace("CORNER", CORNER)
SCAN = """g (float[N,4,9,9] x) => (float[4,9,9] last, float[N,4,9,9] ys) {
    start = ReduceMean<keepdims=0>(x, axis)
    last, ys = Scan(start, x) <num_scan_inputs = 1,
        body = b (float[4,9,9] state, float[4,9,9] slice) => (float[4,9,9] next, float[4,9,9] out) {
            s = Unsqueeze(slice, axis) c = Conv<pads=[1,1,1,1]>(s, k, kb) r = Relu(c)
            c2 = Conv<pads=[1,1,1,1]>(r, k2) e = Add(c2, r) f = Squeeze(e, axis)
            g = Add(f, state) next = Tanh(g) out = Neg(f)
        }>
}"""
# Each turn takes one of two branches.
NESTED = """g (float[N,16] x) => (float[N,16] y) {
    trips = Constant<value_int=4>() two = Constant<value_int=2>() none = Constant<value_int=0>()
    y = Loop(trips, , x) <body = b (int64 i, bool c, float[N,16] state) => (bool d, float[N,16] n) {
        d = Identity(c) half = Mod(i, two) even = Equal(half, none)
        z = If(even) <
            then_branch = t () => (float[N,16] p) { p = MatMul(state, w) },
            else_branch = e () => (float[N,16] q) { a = Gemm(state, v, b) q = Relu(a) }
        >
        n = Add(z, x)
    }>
}"""
# What the Loop gives, the Scan around it knows no shape of.
WITHIN = """g (float[N,16] x) => (float[N,16] ys) {
    zeros = Constant<value_float=0.0>() first = ReduceMean<keepdims=0>(x, axis)
    start = Mul(first, zeros)
    last, ys = Scan(start, x) <num_scan_inputs = 1,
        body = b (float[16] state, float[16] slice) => (float[16] next, float[16] out) {
            trips = Constant<value_int=2>() row = Unsqueeze(slice, axis)
            turned = Loop(trips, , row) <body = l (int64 i, bool c, float[1,16] s)
                => (bool d, float[1,16] n) {
                    d = Identity(c) m = MatMul(s, w) r = Relu(m) k = MatMul(r, v) n = Add(k, row)
            }>
            flat = Squeeze(turned, axis) sum = Add(flat, state) next = Tanh(sum) out = Neg(sum)
        }>
}"""
DENSE: dict[str, Array] = {"w": W, "v": V, "b": B}
KERNELS: dict[str, Array] = {
    "k": weight(4, 4, 3, 3),
    "k2": weight(4, 4, 3, 3, seed=5),
    "kb": normal(4) / np.float32(4),
}
MODELS: dict[str, tuple[str, dict[str, Array], Array]] = {
    "Loop": (LOOP, DENSE, ROWS),
    "If": (IF, DENSE, ROWS),
    "Scan": (SCAN, {**KERNELS, "axis": np.array([0])}, IMAGES),
    "If in Loop": (NESTED, DENSE, ROWS),
    "Loop in Scan": (WITHIN, {"w": W, "v": V, "axis": np.array([0])}, ROWS),
}
INTEGER = {"QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat", "QLinearAdd"}
FLOAT = {"MatMul", "Gemm", "FusedGemm", "Conv", "FusedConv"}


def stored(name: str, folder: Path) -> tuple[Path, Array]:
    graph, constants, samples = MODELS[name]
    return save(folder / "model.onnx", graph, **constants), samples


def bodies(graph: onnx.GraphProto) -> list[list[str]]:
    """The operators of each body, at any depth."""
    found = []
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found += [[n.op_type for n in attribute.g.node], *bodies(attribute.g)]
    return found


def noise(path: Path, data: bytes, batches: list[Array]) -> dict[str, float]:
    """SQNR of each output over all batches."""
    before, after = Session(path, threads=1), Session(data, threads=1)
    runs = [(before.run({"x": x}), after.run({"x": x})) for x in batches]
    return {
        name: sqnr(*(np.concatenate([r[i][name].ravel() for r in runs]) for i in (0, 1)))
        for name in runs[0][0]
    }


@pytest.mark.parametrize("name", MODELS)
def test_bodies_run_in_integers(name: str, tmp_path: Path) -> None:
    """Every product in a body has an integer kernel, and 8 bits cost what they cost outside."""
    path, samples = stored(name, tmp_path)
    result = quantized(path, Recipe(), samples)
    models.check(result.data)
    inside = [op for body in bodies(as_run(result.data, tmp_path).graph) for op in body]
    assert not FLOAT & set(inside)
    products = sum(op in INTEGER - {"QLinearAdd"} for op in inside)
    written = [op for body in bodies(onnx.load(path).graph) for op in body]
    assert products == sum(op in FLOAT for op in written) > 0
    batches = [samples[i : i + 1] for i in range(len(samples))]
    if name == "Scan":
        batches = [samples[:6], samples[6:12]]
    found = noise(path, result.data, batches)
    assert min(found.values()) > 30, found


@pytest.mark.parametrize("name", MODELS)
def test_the_same_bytes_each_time(name: str, tmp_path: Path) -> None:
    path, samples = stored(name, tmp_path)
    first = quantized(path, Recipe(), samples).data
    assert quantized(path, Recipe(), samples).data == first


def test_what_bodies_read_from_outside_is_quantized_outside(tmp_path: Path) -> None:
    """Once, and not on each turn or in each branch."""
    path, samples = stored("If", tmp_path)
    run = as_run(quantized(path, Recipe(), samples).data, tmp_path)
    # r goes on as the integers that the product outside gives
    assert all("QuantizeLinear" not in body for body in bodies(run.graph)[1:])
    path, samples = stored("Loop", tmp_path)
    (body,) = bodies(as_run(quantized(path, Recipe(), samples).data, tmp_path).graph)
    assert body.count("QuantizeLinear") == 2  # of the state, and of what the turn makes


def test_a_weight_of_several_bodies_is_stored_once(tmp_path: Path) -> None:
    path, samples = stored("If", tmp_path)
    proto = onnx.load_from_string(quantized(path, Recipe(), samples).data)
    codes = [t for t in proto.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert sorted(list(t.dims) for t in codes if len(t.dims) == 2) == [[16, 16], [16, 16]]


WEIGHTS = {
    "w8": "weights only",
    "w4b16": "weights only, in blocks",
    "fp16": "16-bit floats",
}


@pytest.mark.parametrize("scheme", WEIGHTS)
@pytest.mark.parametrize("name", MODELS)
def test_weights_of_bodies_are_unpacked_when_loaded(name: str, scheme: str, tmp_path: Path) -> None:
    """Not on each turn: nothing that unpacks is left in the graph that runs."""
    path, samples = stored(name, tmp_path)
    result = quantized(path, Recipe(scheme=scheme), None)
    inside = {op for body in bodies(as_run(result.data, tmp_path).graph) for op in body}
    assert not inside & {"DequantizeLinear", "Cast"}
    found = noise(path, result.data, [samples[:6]])
    assert min(found.values()) > (15 if scheme == "w4b16" else 30), found


LARGE = """g (float[N,512] x) => (float[N,512] y) {
    trips = Constant<value_int=2>() SHARED
    y = Loop(trips, , o) <body = b (int64 i, bool c, float[N,512] s) => (bool d, float[N,512] n) {
        d = Identity(c) a = MatMul(s, w) r = Tanh(a) n = MatMul(r, v)
    }>
}"""


@pytest.mark.parametrize("target", ["cpu", "portable"])
@pytest.mark.parametrize("scheme", ["w8", "w4b32"])
@pytest.mark.parametrize(("first", "packed"), [("o = Relu(x)", 2), ("o = MatMul(x, v)", 1)])
def test_large_weights_of_bodies_are_packed(
    first: str, packed: int, scheme: str, target: str, tmp_path: Path
) -> None:
    """By the body that holds them; what the main graph reads too is stored once, and restored."""
    constants: dict[str, Array] = {"w": weight(512, 512), "v": weight(512, 512, seed=2)}
    path = save(tmp_path / "m.onnx", LARGE.replace("SHARED", first), **constants)
    job = workflow.open_job(path, Recipe(scheme=scheme), load_target(target), threads=1)
    result = workflow.build(job, None)
    models.check(result.data)
    (body,) = bodies(as_run(result.data, tmp_path).graph)
    assert body.count("MatMulNBits") == packed
    assert len(result.data) < (0.6 if scheme == "w8" else 0.4) * path.stat().st_size
    found = noise(path, result.data, [normal(4, 512, seed=3)])
    assert found["y"] > (30 if scheme == "w8" else 12), found


def test_dynamic_products_inside_bodies(tmp_path: Path) -> None:
    path, samples = stored("Loop", tmp_path)
    result = quantized(path, Recipe(mode="dynamic"), None)
    (body,) = bodies(as_run(result.data, tmp_path).graph)
    assert not FLOAT & set(body)
    # what is read from outside is measured outside
    assert sorted(op for op in body if "MatMul" in op) == [
        "DynamicQuantizeMatMul", "DynamicQuantizeMatMul", "MatMulIntegerToFloat",
    ]  # fmt: skip
    found = noise(path, result.data, [samples[i : i + 1] for i in range(len(samples))])
    assert min(found.values()) > 25, found


def corner(value: float) -> Array:
    """The samples with one number of turns for all."""
    samples = ROWS.copy()
    samples[:, 0] = value
    return samples


def test_a_branch_that_no_sample_takes_keeps_float_arithmetic(tmp_path: Path) -> None:
    """Its weights are stored all the same; what it reads from outside was measured there."""
    path, _ = stored("If", tmp_path)
    result = quantized(path, Recipe(), corner(1.5))
    assert set(result.plan.notes.values()) == {"no sample reached it"}
    assert len(result.plan.notes) == 1
    other, taken = bodies(as_run(result.data, tmp_path).graph)
    if "Tanh" in other:
        other, taken = taken, other
    assert "FusedGemm" in taken  # its output, behind which the activation is fused, has no range
    assert not FLOAT & set(other)
    for value in (1.5, 3.5):
        found = noise(path, result.data, [corner(value)])
        assert found["y"] > 30


def test_a_loop_that_never_turns(tmp_path: Path) -> None:
    """Nothing inside was measured: there the weights alone are quantized, and the plan says why."""
    path, _ = stored("Loop", tmp_path)
    result = quantized(path, Recipe(), corner(0.5))
    assert set(result.plan.notes.values()) == {"no sample reached it"}
    found = noise(path, result.data, [corner(3.5)])
    assert min(found.values()) > 30, found
