"""Constant Gemm weights are turned, and biases spread, once, here."""

from __future__ import annotations

import pytest

from qtool.passes.gemm_layout import GemmLayout
from tests.models import assert_same_function, build, normal, weight

X = normal(3, 6, seed=7)


def test_a_weight_is_turned() -> None:
    before = build(
        "g (float[3,6] x) => (float[3,4] y) { y = Gemm<transB=1>(x, w, b) }",
        w=weight(4, 6), b=normal(4),
    )  # fmt: skip
    after = GemmLayout()(before.clone()).model
    node = after.graph.node(0)
    assert "transB" not in node.attributes
    shape = node.inputs[1]
    assert shape is not None and shape.shape is not None
    assert shape.shape.numpy() == (6, 4)
    assert_same_function(before, after, x=X)


def test_a_weight_that_two_nodes_share() -> None:
    before = build(
        """g (float[3,6] x) => (float[3,4] y) {
            a = Gemm<transB=1>(x, w) b = Gemm<transB=1>(x, w) y = Add(a, b)
        }""",
        w=weight(4, 6),
    )
    after = GemmLayout()(before.clone()).model
    assert_same_function(before, after, x=X)
    first, second, _ = after.graph
    assert first.inputs[1] is second.inputs[1]  # or a file that shares would grow


def test_a_weight_that_is_read_as_it_lies_too() -> None:
    before = build(
        """g (float[3,6] x) => (float[3,6] y, float[4,6] w2) {
            a = Gemm<transB=1>(x, w) w2 = Relu(w) y = Gemm(a, w)
        }""",
        w=weight(4, 6),
    )
    assert_same_function(before, GemmLayout()(before.clone()).model, x=X)


@pytest.mark.parametrize(
    "node",
    ["Gemm(x, w)", "Gemm<transB=0>(x, w)", "Gemm<transB=1>(x, x)", "other.Gemm<transB=1>(x, w)"],
)
def test_what_stays(node: str) -> None:
    model = build(
        f"g (float[6,6] x) => (float y) {{ y = {node} }}", extra='"other": 1', w=weight(6, 6)
    )
    assert not GemmLayout()(model).modified


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 4)])
def test_a_bias_becomes_a_row(shape: tuple[int, ...]) -> None:
    graph = "g (float[3,6] x) => (float[3,4] y) { y = Gemm(x, w, b) }"
    before = build(graph, w=weight(6, 4), b=normal(*shape))
    after = GemmLayout()(before.clone()).model
    bias = after.graph.node(0).inputs[2]
    assert bias is not None and bias.shape is not None
    assert bias.shape.numpy() == (4,)
    assert_same_function(before, after, x=X)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (3, 1)])
def test_a_bias_that_stays(shape: tuple[int, ...]) -> None:
    graph = "g (float[3,6] x) => (float[3,4] y) { y = Gemm(x, w, b) }"
    assert not GemmLayout()(build(graph, w=weight(6, 4), b=normal(*shape))).modified


def test_a_square_column_is_no_row() -> None:
    graph = "g (float[4,6] x) => (float[4,4] y) { y = Gemm(x, w, b) }"
    assert not GemmLayout()(build(graph, w=weight(6, 4), b=normal(4, 1))).modified
