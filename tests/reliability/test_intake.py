"""Rows of "Models" in RELIABILITY.md that work: quantized, and about as good as ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest

from qtool import workflow
from qtool.data import open_dataset
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.models import Array, normal, proto, sqnr, weight

W, V, K = weight(24, 8), weight(8, 8, seed=4), weight(6, 6, 1, seed=7)
TABLE = weight(30, 16, seed=5) * np.float32(4)
ROWS = np.random.default_rng(0).integers(0, 30, (40, 5))


@dataclass(frozen=True)
class Case:
    """A model, how many of its nodes have quantized weights, and what it is fed."""

    build: Callable[[], onnx.ModelProto]
    layers: int
    x: Array = field(default_factory=lambda: normal(40, 24, seed=3))


def dense(nodes: str, output: str = "float[N,8] y", **constants: Array) -> onnx.ModelProto:
    return proto(f"g (float[N,24] x) => ({output}) {{ {nodes} }}", **constants)


def embedded(nodes: str, **constants: Array) -> onnx.ModelProto:
    """A table that is looked up, and read as a matrix by `nodes`."""
    return proto(
        f"""g (int64[N,5] x) => (float[N,5,30] y) {{ e = Gather(t, x) h = MatMul(e, w)
            r = Relu(h) {nodes} }}""",
        t=TABLE, w=weight(16, 16), **constants,
    )  # fmt: skip


def named(made: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    for node, name in zip(made.graph.node, names, strict=True):
        node.name = name
    return made


def ir_3() -> onnx.ModelProto:
    made = proto(
        "g (float[N,24] x) => (float[N,8] y) { a = MatMul(x, w) y = MatMul(a, v) }",
        opset=8, w=W, v=V,
    )  # fmt: skip
    made.ir_version = 3
    for each in made.graph.initializer:
        made.graph.input.append(onnx.helper.make_tensor_value_info(each.name, 1, each.dims))
    return made


def constant_nodes() -> onnx.ModelProto:
    made = dense("y = Gemm(x, w, b)")
    for name, values in (("w", W), ("b", normal(8))):
        tensor = onnx.numpy_helper.from_array(values)
        made.graph.node.insert(0, onnx.helper.make_node("Constant", [], [name], value=tensor))
    return made


def equal_names() -> onnx.ModelProto:
    made = dense("y = MatMul(x, w)", w=W)
    made.graph.initializer.append(onnx.numpy_helper.from_array(W, "w"))
    return made


CHAIN = "a = MatMul(x, w) y = MatMul(a, v)"
CASES: dict[str, Case] = {
    "IR 3 with initializers as inputs": Case(ir_3, 2),
    "nodes without names": Case(lambda: named(dense(CHAIN, w=W, v=V), "", ""), 2),
    "nodes named as values": Case(lambda: named(dense(CHAIN, w=W, v=V), "w", "a"), 2),
    "names that are ours": Case(
        lambda: dense(
            """x_q = Relu(x) x_dq = MatMul(x_q, w) w_q = Relu(x_dq) w_dq = MatMul(w_q, w_scale)
               y = MatMul(w_dq, w_zero_point)""",
            w=W, w_scale=V, w_zero_point=V.T.copy(),
        ), 3,
    ),
    "equal initializers": Case(
        lambda: dense("a = MatMul(x, w) b = MatMul(x, u) y = Add(a, b)", w=W, u=W), 2
    ),
    "equal initializers of one name": Case(equal_names, 1),
    "one weight of several layers": Case(
        lambda: dense("a = MatMul(x, w) n = Neg(x) b = MatMul(n, w) r = Relu(b) y = Add(a, r)",
                      w=W), 2,
    ),
    "one kernel of several layers": Case(
        lambda: dense("""r = Reshape(x, s) a = Conv(r, k) b = Conv(a, k) c = Relu(b)
                         d = Conv(c, k) y = Reshape(d, t)""", "float[N,24] y",
                      k=K, s=np.array([-1, 6, 4]), t=np.array([-1, 24])), 3,
    ),
    "one weight both ways round": Case(
        lambda: dense("a = MatMul(x, w) b = Gemm<transB=1>(a, w) y = MatMul(b, w)", w=W), 3
    ),
    "an embedding that projects, by Transpose": Case(
        lambda: embedded("u = Transpose<perm=[1,0]>(t) y = MatMul(r, u)"), 3, ROWS
    ),
    "an embedding that projects, by Gemm": Case(
        lambda: embedded("f = Reshape(r, s) p = Gemm<transB=1>(f, t) y = Reshape(p, back)",
                         s=np.array([-1, 16]), back=np.array([-1, 5, 30])), 3, ROWS,
    ),
    "an embedding that is a weight": Case(
        lambda: proto("""g (int64[N,5] x) => (float[N,5,16] y) { e = Gather(t, x)
                         y = MatMul(e, t) }""", t=weight(16, 16, seed=5)), 2, ROWS % 16,
    ),
    "a weight that is an output": Case(
        lambda: dense("y = MatMul(x, w)", "float[N,8] y, float[24,8] w", w=W), 1
    ),
    "an input that is an output": Case(
        lambda: dense("y = MatMul(x, w)", "float[N,8] y, float[N,24] x", w=W), 1
    ),
    "inputs left out": Case(
        lambda: dense("""c = Clip(x, , top) r = Reshape(c, s) u = Resize<mode="nearest">(r, , by)
                         l, h = LSTM<hidden_size=8>(u, lw, lr, , , , ) y = Squeeze(h, first)""",
                      top=np.float32(1), s=np.array([1, -1, 24]), by=np.ones(3, np.float32),
                      lw=weight(1, 32, 24), lr=weight(1, 32, 8), first=np.array([0])), 1,
    ),
    "weights of zeros": Case(
        lambda: dense("a = MatMul(x, w) b = MatMul(x, u) y = Add(a, b)", w=W * 0, u=W), 2
    ),
    "weights without columns": Case(
        lambda: dense("a = MatMul(x, w) b = MatMul(x, u) y = Concat<axis=1>(a, b)",
                      w=W[:, :0], u=W), 1,
    ),
    "weights in Constant nodes": Case(constant_nodes, 1),
    "shapes that only a run tells": Case(
        lambda: dense("""p = ReduceMax(x, one) k = Greater(p, zero) f = Squeeze(k, one)
                         a = MatMul(x, w) c = Compress<axis=0>(a, f) y = MatMul(c, v)""",
                      "float[M,8] y", w=W, v=V, one=np.array([1]), zero=np.float32(-1)), 2,
    ),
    "no axis known": Case(
        lambda: proto("""g (float[A,B] x) => (float[C,D] y) { a = MatMul(x, w) b = Relu(a)
                         y = MatMul(b, v) }""", w=W, v=V), 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("scheme", ["w8a8", "w8"])
@pytest.mark.parametrize("name", CASES)
def test_it_is_quantized_as_well_as_any(name: str, scheme: str, tmp_path: Path) -> None:
    case, path, output = CASES[name], tmp_path / "m.onnx", tmp_path / "o.onnx"
    path.write_bytes(case.build().SerializeToString())
    job = workflow.open_job(path, Recipe(scheme=scheme), load_target("cpu"), threads=1)
    np.save(tmp_path / "x.npy", case.x)
    data = open_dataset(tmp_path / "x.npy", job.signature)
    feeds = next(data.batches(8))
    workflow.check_preparation(job, feeds)
    sources = bool(job.sites.sources)
    found = workflow.measure(job, data, batch_size=8) if sources else None
    made = workflow.build(job, found)
    assert len({node for node, _ in made.plan.weights}) == case.layers
    workflow.write(job, made, output, feeds, allow_larger=True)
    before, after = (Session(p, threads=1).run({"x": case.x}) for p in (path, output))
    assert list(after) == list(before)
    for key, value in before.items():
        assert after[key].shape == value.shape
        assert sqnr(value, after[key]) > (33 if scheme == "w8a8" else 40)
