"""Any factors, for any stream: the function stays, and what carries channels is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from qtool.passes.edit import array
from qtool.passes.streams import Stream, apply, streams
from tests.models import assert_same_function, build, normal, weight

C8 = {
    "w": weight(8, 4, 1, 1), "b": normal(8), "v": weight(6, 8, 1, 1, seed=2),
    "u": weight(8, 8, 3, 3, seed=3), "dw": weight(8, 1, 3, 3, seed=4), "d": normal(8, seed=5),
}  # fmt: skip
IMAGE = "float[2,4,6,6] x"
TEXT = "float[2,5,12] x"
T12 = {
    "w": weight(12, 12), "b": normal(12), "v": weight(12, 12, seed=2), "g": normal(12, seed=3),
    "k": weight(12, 12, seed=4), "split": np.array([0, 0, 3, 4]), "join": np.array([0, 0, 12]),
}  # fmt: skip

# name -> (input, nodes, constants, channels that are free in each stream)
CASES: dict[str, tuple[str, str, dict[str, Any], list[int]]] = {
    "PRelu, a slope per channel": (IMAGE, "a = Conv(x, w, b) r = PRelu(a, s) y = Conv(r, v)",
        C8 | {"s": normal(8, 1, 1, seed=6)}, [8]),
    "depthwise joins two": (IMAGE, "a = Conv(x, w, b) r = Relu(a) e = Conv<group=8>(r, dw, d)"
        " f = Relu(e) y = Conv(f, v)", C8, [8, 8]),
    "depthwise with two outputs for each channel": (IMAGE,
        "a = Conv(x, w, b) e = Conv<group=8>(a, d2) y = Conv(e, v2)",
        C8 | {"d2": weight(16, 1, 3, 3), "v2": weight(3, 16, 1, 1)}, [8, 16]),
    "groups of two": (IMAGE, "a = Conv(x, w, b) y = Conv<group=4>(a, v2)",
        C8 | {"v2": weight(12, 2, 1, 1)}, [8]),
    "transposed": (IMAGE, "a = ConvTranspose(x, t, b) r = Relu(a) y = ConvTranspose(r, t2)",
        C8 | {"t": weight(4, 8, 2, 2), "t2": weight(8, 3, 2, 2)}, [8]),
    "residual": (IMAGE, "a = Conv(x, w, b) c = Conv<pads=[1,1,1,1]>(a, u) s = Add(a, c)"
        " r = Relu(s) y = Conv(r, v)", C8, [8]),
    "flattened after pooling": (IMAGE, "a = Conv(x, w, b) p = GlobalAveragePool(a)"
        " f = Flatten(p) y = Gemm(f, m)", C8 | {"m": weight(8, 3)}, [8]),
    "each channel covers places": (IMAGE, "a = Conv(x, w, b) r = Relu(a) f = Flatten(r)"
        " y = Gemm<transB=1>(f, m)", C8 | {"m": weight(3, 8 * 36)}, [8]),
    "mean over space": (IMAGE, "a = Conv(x, w, b) p = ReduceMean<keepdims=0>(a, over)"
        " y = MatMul(p, m)", C8 | {"m": weight(8, 3), "over": np.array([-1, 2])}, [8]),
    "channels last": (IMAGE, "a = Conv(x, w, b) t = Transpose<perm=[0,2,3,1]>(a)"
        " y = MatMul(t, m)", C8 | {"m": weight(8, 3)}, [8]),
    "padded with zeros": (IMAGE, "a = Conv(x, w, b) p = Pad(a, sides) y = Conv(p, v)",
        C8 | {"sides": np.array([0, 0, 1, 0, 0, 0, 2, 1])}, [8]),
    "side by side": (IMAGE, "a = Conv(x, w, b) c = Conv(x, w3) j = Concat<axis=1>(a, c)"
        " y = Conv(j, v2)",
        C8 | {"v2": weight(3, 16, 1, 1), "w3": weight(8, 4, 1, 1, seed=9)}, [16]),
    "one of two is fixed": (IMAGE, "a = Conv(x, w, b) c = Conv(x, w3) z = Sigmoid(c)"
        " j = Concat<axis=1>(a, c) y = Conv(j, v2)",
        C8 | {"v2": weight(3, 16, 1, 1), "w3": weight(8, 4, 1, 1, seed=9)}, [8]),
    "one matrix for two": (IMAGE, "a = Conv(x, w, b) r = Relu(a) y = Conv(r, v)"
        " n = Neg(x) c = Conv(n, w, b) s = Relu(c) z = Conv(s, v)", C8, [8]),
    "a constant is added": (IMAGE, "a = Conv(x, w) r = Add(a, k) s = Sub(half, r) y = Conv(s, v)",
        C8 | {"k": normal(8, 1, 1), "half": np.float32(0.5)}, [8]),
    "a number multiplies": (IMAGE, "a = Conv(x, w) r = Mul(half, a) s = Div(r, half)"
        " y = Conv(s, v)", C8 | {"half": np.float32(0.5)}, [8]),
    "a vector multiplies": (IMAGE, "a = Conv(x, w, b) r = Mul(a, k) y = Conv(r, v)",
        C8 | {"k": normal(8, 1, 1)}, [8, 8]),
    "squeeze and excitation": (IMAGE, "a = Conv(x, w, b) r = Relu(a) p = GlobalAveragePool(r)"
        " e = Conv(p, s1) f = Relu(e) h = Conv(f, s2) q = Sigmoid(h) m = Mul(r, q) y = Conv(m, v)",
        C8 | {"s1": weight(5, 8, 1, 1), "s2": weight(8, 5, 1, 1)}, [8, 5]),
    "MatMul and Add": (TEXT, "a = MatMul(x, w) h = Add(b, a) r = Relu(h) y = MatMul(r, v)",
        T12, [12]),
    "what a norm learned": (TEXT, "n = LayerNormalization(x, g, b) q = MatMul(n, w)"
        " k2 = MatMul(n, v) y = Mul(q, k2)", T12, [12]),
    "a norm in parts": (TEXT, "z = Softmax(x) n = Mul(z, g) h = Add(n, b) y = MatMul(h, w)",
        T12, [12]),
    "values of attention": (TEXT, """
        s = Softmax(x) p4 = Reshape(s, split) p = Transpose<perm=[0,2,1,3]>(p4)
        pt = Transpose<perm=[0,2,3,1]>(p4) pp = MatMul(p, pt)
        a = MatMul(x, w) h = Add(a, b) r = Reshape(h, split) t = Transpose<perm=[0,2,1,3]>(r)
        m = MatMul(pp, t) o = Transpose<perm=[0,2,1,3]>(m) f = Reshape(o, join)
        y = MatMul(f, v)""", T12, [12]),
    "a gated product": (TEXT, "a = MatMul(x, w) g1 = Sigmoid(a) i = Mul(a, g1) h = MatMul(x, k)"
        " m = Mul(i, h) y = MatMul(m, v)", T12, [12]),
}  # fmt: skip


def model_of(name: str) -> ir.Model:
    given, nodes, constants, _ = CASES[name]
    return build(f"g ({given}) => (float y) {{ {nodes} }}", **constants)


def feeds(name: str) -> dict[str, Any]:
    return {"x": normal(2, 4, 6, 6, seed=8) if CASES[name][0] == IMAGE else normal(2, 5, 12)}


def chance(stream: Stream, seed: int) -> Any:
    found = 10 ** np.random.default_rng(seed).uniform(-1, 1, len(stream.free))
    return np.where(stream.free, found, 1.0)


@pytest.mark.parametrize("name", CASES)
def test_any_factors_keep_the_function(name: str) -> None:
    before = model_of(name)
    after = before.clone()
    found = streams(after.graph)
    assert [int(s.free.sum()) for s in found] == CASES[name][3]
    for seed, stream in enumerate(found):
        old = {
            (e.node, e.position): array(e.node.inputs[e.position])
            for e in stream.ends
            if stream.free[e.labels].any()
        }
        assert apply(stream, chance(stream, seed), "scaled")
        for (node, position), values in old.items():
            assert not np.array_equal(values, array(node.inputs[position]))
    assert_same_function(before, after, **feeds(name))


@pytest.mark.parametrize("nodes", [
    "a = Conv(x, w, b) t = Reshape(a, mixed) y = Relu(t)",  # nobody takes the factor
    "a = Conv(x, w, b) p = Pad(a, sides) y = Conv(p, v2)",  # other channels
    "a = Conv(x, w, b) p = Pad(a, around, half) y = Conv(p, v)",  # not of zeros
    "a = Conv(x, w, b) p = ReduceMean(a, one) y = Conv(p, w1)",  # over channels
    "a = Conv(x, w, b) c = Conv(x, w) m = Mul(a, c) s = Sigmoid(a) t = Sigmoid(c) y = Conv(m, v)",
    "a = Conv(x, w, b) k = Max(a, half) y = Conv(k, v)",
    "a = Conv(x, w, b) k = Clip(a, zero, six) y = Conv(k, v)",
    "a = Conv(x, w, b) t = Transpose<perm=[0,2,1,3]>(a) y = Conv(t, v6)",  # rows are channels now
    "a = Conv(x, w, b) m = MatMul(a, a) y = Conv(m, v)",
])  # fmt: skip
def test_what_is_no_stream(nodes: str) -> None:
    found = build(
        f"g ({IMAGE}) => (float y) {{ {nodes} }}", **C8, v2=weight(3, 10, 1, 1),
        sides=np.array([0, 1, 0, 0, 0, 1, 0, 0]), around=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        half=np.float32(0.5), one=np.array([1]), w1=weight(3, 1, 1, 1), mixed=np.array([2, -1]),
        zero=np.float32(0), six=np.float32(6), v6=weight(3, 6, 1, 1),
    )  # fmt: skip
    assert not streams(found.graph)


def test_what_several_nodes_read_stays_one() -> None:
    nodes = "a = Conv(x, w, b) r = Relu(a) y = Conv(r, v) c = Conv(y, w, b) z = Conv(c, v)"
    shared = {"w": weight(8, 4, 1, 1), "b": normal(8), "v": weight(4, 8, 1, 1, seed=2)}
    model = build(f"g ({IMAGE}) => (float z) {{ {nodes} }}", **shared)
    (stream,) = [s for s in streams(model.graph) if len(s.free) == 8]
    assert apply(stream, chance(stream, 1), "scaled")
    assert len(model.graph.initializers) == len(shared)


def test_or_stays_as_it_is() -> None:
    """One of the two gives what the model gives."""
    nodes = "a = Conv(x, w, b) r = Relu(a) y = Conv(r, v) n = Neg(x) z = Conv(n, w, b)"
    model = build(f"g ({IMAGE}) => (float y, float z) {{ {nodes} }}", **C8)
    assert not streams(model.graph)


def test_a_vector_is_summed_over() -> None:
    nodes = "a = MatMul(x, w) v = Squeeze(a, zero) m = MatMul(q, v) y = MatMul(m, u)"
    model = build(
        f"g (float[1,4] x, float[8,8] q) => (float[8] y) {{ {nodes} }}",
        w=weight(4, 8), zero=np.array([0]), u=weight(8, 8),
    )  # fmt: skip
    assert not streams(model.graph)


def test_a_clip_without_an_upper_bound_is_a_relu() -> None:
    nodes = "a = Conv(x, w, b) k = Clip(a, zero) y = Conv(k, v)"
    model = build(f"g ({IMAGE}) => (float y) {{ {nodes} }}", **C8, zero=np.float32(0))
    (stream,) = streams(model.graph)
    assert not stream.clips


def test_a_table_that_is_looked_up_too_is_not_stored_twice() -> None:
    nodes = "e = Gather(w, i) a = MatMul(x, w) h = Add(a, b) y = MatMul(h, v) z = Sigmoid(e)"
    model = build(f"g ({TEXT}) => (float y, float z) {{ {nodes} }}", **T12, i=np.array([1, 2]))
    assert not streams(model.graph)
