"""Equalization keeps the function, evens the channels, and stops where it cannot be done."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from qtool.passes.edit import array
from qtool.passes.equalize import Equalize
from qtool.passes.streams import streams
from tests.models import assert_same_function, build, normal, weight

X = {"x": normal(2, 4, 6, 6, seed=8)}
SPREAD = np.float32(10) ** np.linspace(-2, 2, 8, dtype=np.float32)  # what one scale cannot fit


def uneven(out: int, into: int, k: int = 1, *, by: str = "rows", seed: int = 1) -> NDArray[Any]:
    """Conv weights whose channels differ by 10^4."""
    w = weight(out, into, k, k, seed=seed)
    factors = SPREAD[:, None, None, None] if by == "rows" else 1 / SPREAD[None, :, None, None]
    return np.asarray(w * factors, np.float32)


W8 = {"w": uneven(8, 4), "b": normal(8), "v": uneven(8, 8, by="columns", seed=2)}


def graph(nodes: str, outputs: str = "float[N,C,H,W] y") -> str:
    return f"g (float[2,4,6,6] x) => ({outputs}) {{ {nodes} }}"


STREAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "Relu": ("a = Conv(x, w, b) r = Relu(a) y = Conv(r, v)", W8),
    "nothing between": ("a = Conv(x, w, b) y = Conv(a, v)", W8),
    "LeakyRelu and pooling": (
        "a = Conv(x, w, b) r = LeakyRelu(a) p = MaxPool<kernel_shape=[2,2]>(r)"
        "q = AveragePool<kernel_shape=[2,2], count_include_pad=1, pads=[1,1,1,1]>(p)"
        "g = GlobalAveragePool(q) y = Conv(g, v)",
        W8,
    ),
    "residual": (
        "a = Conv(x, w, b) r = Relu(a) c = Conv(r, u) s = Add(c, r) t = Relu(s) y = Conv(t, v)",
        {**W8, "u": uneven(8, 8, by="columns", seed=3) / 8},
    ),
    "two readers": ("a = Conv(x, w, b) c = Conv(a, v) d = Conv(a, v) y = Mul(c, d)", W8),
    "depthwise reader": (
        "a = Conv(x, w, b) r = Relu(a) d = Conv<group=8>(r, dw) e = Relu(d) y = Conv(e, v)",
        {**W8, "dw": uneven(8, 1, 3, seed=4) ** -1},
    ),
    "depthwise writer": (
        "d = Conv<group=4>(x, dw) r = PRelu(d, s) y = Conv(r, v)",
        {"dw": uneven(8, 1, 3, seed=4), "s": normal(8, 1, 1, seed=5), "v": W8["v"]},
    ),
    "an added constant": (
        "a = Conv(x, w, b) r = Add(a, k) y = Conv(r, v)",
        {**W8, "k": normal(8, 1, 1) * SPREAD[:, None, None]},
    ),
    "a grouped reader": (
        "a = Conv(x, w, b) y = Conv<group=2>(a, v2)",
        {
            **W8,
            "v2": weight(8, 4, 1, 1)
            / SPREAD.reshape(2, 1, 4, 1, 1).repeat(4, 1).reshape(8, 4, 1, 1),
        },
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_the_function_stays(name: str) -> None:
    nodes, constants = STREAMS[name]
    before = build(graph(nodes), **constants)
    result = Equalize()(before.clone())
    assert result.modified
    assert_same_function(before, result.model, **X)


def test_gemm_streams_too() -> None:
    before = build(
        "g (float[5,4] x) => (float[5,3] y) { a = Gemm<transB=1>(x, w, b) r = Relu(a)"
        " y = Gemm(r, v) }",
        w=uneven(8, 4)[:, :, 0, 0], b=normal(1), v=uneven(8, 8, by="columns")[:3, :, 0, 0].T.copy(),
    )  # fmt: skip
    result = Equalize()(before.clone())
    assert result.modified
    assert_same_function(before, result.model, x=normal(5, 4))


def spread_of(model: ir.Model, index: int, axis: int) -> float:
    """Largest over smallest channel of the index-th node's weight."""
    w = np.moveaxis(array(model.graph.node(index).inputs[1]), axis, 0)
    largest = np.abs(w.reshape(len(w), -1)).max(axis=1)
    return float(largest.max() / largest.min())


def test_the_channels_become_even() -> None:
    before = build(graph("a = Conv(x, w, b) r = Relu(a) y = Conv(r, v)"), **W8)
    after = Equalize()(before.clone()).model
    # r1 = r2 = sqrt(r1 r2): what is written and what is read differ by the same factors
    assert spread_of(after, 0, 0) == pytest.approx(spread_of(after, 2, 1), rel=1e-5)
    assert spread_of(after, 0, 0) < spread_of(before, 0, 0) / 1000


def test_a_second_time_changes_nothing() -> None:
    model = build(graph("a = Conv(x, w, b) r = Relu(a) y = Conv(r, v)"), **W8)
    once = Equalize()(model).model
    assert not Equalize()(once).modified


def test_dead_channels_are_left_as_they_are() -> None:
    w, v, b = W8["w"].copy(), W8["v"].copy(), normal(8)
    w[2] = 0
    v[:, 5] = 1e-30
    before = build(graph("a = Conv(x, w, b) r = Relu(a) y = Conv(r, v)"), w=w, b=b, v=v)
    result = Equalize()(before.clone())
    assert result.modified
    assert_same_function(before, result.model, **X)
    first, second = result.model.graph.node(0), result.model.graph.node(2)
    assert (array(first.inputs[2])[[2, 5]] == b[[2, 5]]).all()
    assert (array(second.inputs[1])[:, [2, 5]] == v[:, [2, 5]]).all()


def test_all_zero_weights() -> None:
    model = build(graph("a = Conv(x, w) y = Conv(a, v)"), w=W8["w"] * 0, v=W8["v"] * 0)
    assert not Equalize()(model).modified


def test_even_layers_are_not_touched() -> None:
    model = build(
        graph("a = Conv(x, w) y = Conv(a, v)"), w=weight(8, 4, 1, 1), v=weight(8, 8, 1, 1)
    )
    assert len(streams(model.graph)) == 1
    assert not Equalize()(model).modified


CLOSED = {
    "a reader that is no layer": "a = Conv(x, w, b) s = Sigmoid(a) c = Conv(a, v) y = Mul(s, c)",
    "a writer that is no layer": "s = Sigmoid(x8) a = Conv(x, w, b) r = Add(a, s) y = Conv(r, v)",
    "a graph input": "a = Conv(x, w, b) r = Add(a, x8) y = Conv(r, v)",
    "a computed weight": "k2 = Mul(v, v) a = Conv(x, w, b) y = Conv(a, k2)",
    "a computed bias": "k1 = Mul(b, b) a = Conv(x, w, k1) y = Conv(a, v)",
    "read as a weight": "a = Conv(x, w, b) c = Conv(a, v) d = Conv(x8, a) y = Mul(c, d)",
    "a bound": "a = Conv(x, w, b) r = Clip(a, zero, six) y = Conv(r, v)",
    "a foreign reader": "a = Conv(x, w, b) c = Conv(a, v) d = other.Relu(a) y = Mul(c, d)",
    "a foreign operator between": "a = Conv(x, w, b) r = other.Relu(a) y = Conv(r, v)",
    "a foreign writer": "a = other.Relu(x8) c = Conv(x, w, b) r = Add(a, c) y = Conv(r, v)",
    "channels against one": "a = Conv(x, w, b) d = Conv(x, w1) r = Add(a, d) y = Conv(r, v)",
    "indices of the pooling": "a = Conv(x, w, b) p, i = MaxPool<kernel_shape=[1,1]>(a)"
    " y = Conv(p, v)",
}


@pytest.mark.parametrize("name", CLOSED)
def test_a_stream_with_another_end_stays(name: str) -> None:
    model = build(
        f"g (float[2,4,6,6] x, float[2,8,6,6] x8) => (float y) {{ {CLOSED[name]} }}",
        extra='"other": 1', zero=np.float32(0), six=np.float32(6), w1=weight(1, 4, 1, 1), **W8,
    )  # fmt: skip
    assert not Equalize()(model).modified


def test_an_output_in_the_stream_stays() -> None:
    nodes = "a = Conv(x, w, b) r = Relu(a) y = Conv(r, v)"
    model = build(graph(nodes, "float[2,8,6,6] r, float[2,8,6,6] y"), **W8)
    assert not Equalize()(model).modified


def test_a_reader_in_a_body_stays() -> None:
    nodes = """a = Conv(x, w, b)
        z = If(c) <then_branch = t () => (float[2,8,6,6] p) { p = Conv(a, v) },
                   else_branch = e () => (float[2,8,6,6] q) { q = Conv(a, v) }>
        u = Conv(a, v) y = Add(u, z)"""
    model = build(graph(nodes), c=np.array(True), **W8)
    assert not Equalize()(model).modified


def test_channels_of_layers_that_differ_in_rank_do_not_line_up() -> None:
    before = build(
        """g (float[2,4,6,8] x, float[6,4] f) => (float[2,8,6,8] y) {
            a = Conv(x, w, b) d = Gemm<transB=1>(f, m) r = Add(a, d) y = Conv(r, v)
        }""",
        m=uneven(8, 4, seed=6)[:, :, 0, 0].copy(), **W8,
    )  # fmt: skip
    after = Equalize()(before.clone()).model
    assert_same_function(before, after, x=normal(2, 4, 6, 8), f=normal(6, 4))


def test_shared_weights_get_values_of_their_own() -> None:
    nodes = "a = Conv(x, w, b) r = Relu(a) c = Conv(r, v) d = Relu(c) y = Conv(d, v)"
    before = build(graph(nodes), **W8)
    assert_same_function(before, Equalize()(before.clone()).model, **X)


def test_float16_keeps_its_type_and_its_range() -> None:
    text = graph("a = Conv(x, w, b) r = Relu(a) y = Conv(r, v)").replace("float[", "float16[")
    values = {name: each.astype(np.float16) for name, each in W8.items()}
    before = build(text, **values)
    result = Equalize()(before.clone())
    assert result.modified
    scaled = result.model.graph.node(0).inputs[1:]
    assert {array(each).dtype for each in scaled} == {np.dtype("float16")}
    x = X["x"].astype(np.float16)
    assert_same_function(before, result.model, x=x)
    # A bias that leaves the range: nothing is changed at all.
    values["b"][:] = np.float16(6e4)
    before = build(text, **values)
    after = before.clone()
    assert not Equalize()(after).modified
    for index in (0, 2):
        one, other = (array(model.graph.node(index).inputs[1]) for model in (before, after))
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("first", ["c", "a = Sub(x, m) c", "a = Concat<axis=-1>(x, m) c"])
def test_units_of_what_a_model_is_given_stay_where_they_are(first: str) -> None:
    # A scaler divides the columns that are large: what it gives is even whatever it divides by.
    name, twice = "a" if "a =" in first else "x", 2 if "Concat" in first else 1
    spread = np.tile(SPREAD, twice)
    model = build(
        f"g (float[1,8] x) => (float[1,N] y) {{ {first} = Mul({name}, s) y = MatMul(c, w) }}",
        m=normal(1, 8), s=spread, w=weight(8 * twice, 3) / spread[:, None],
    )  # fmt: skip
    assert not Equalize()(model).modified


def test_what_a_layer_gives_is_evened_with_its_scale() -> None:
    before = build(
        "g (float[1,8] x) => (float[1,N] y) { a = MatMul(x, v) r = Tanh(a) c = Mul(r, s)"
        " y = MatMul(c, w) }",
        v=weight(8, 8), s=SPREAD, w=weight(8, 3, seed=2) / SPREAD[:, None],
    )  # fmt: skip
    result = Equalize()(before.clone())
    assert result.modified
    assert_same_function(before, result.model, x=normal(1, 8))
