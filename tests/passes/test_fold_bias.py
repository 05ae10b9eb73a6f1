"""An added constant becomes a bias; what only looks like one stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qtool.passes.edit import array
from qtool.passes.fold_bias import FoldBias
from tests.models import assert_same_function, build, normal, operators, weight

# x has as many rows as columns as channels, so that nothing is refused by the shapes alone
CONV = {"w": weight(5, 5, 1, 1)}
GEMM = {"w": weight(5, 5)}
X4, X2, X3 = "float[2,5,5,5] x", "float[5,5] x", "float[2,5,5] x"

POSITIVE: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "Conv": (X4, "t = Conv(x, w)", "Conv", {**CONV, "c": normal(5, 1, 1)}),
    "Conv, 4 axes": (X4, "t = Conv(x, w)", "Conv", {**CONV, "c": normal(1, 5, 1, 1)}),
    "Conv that has one": (
        X4, "t = Conv(x, w, b)", "Conv", {**CONV, "c": normal(5, 1, 1), "b": normal(5)},
    ),
    "ConvTranspose with groups": (
        "float[2,6,5,5] x", "t = ConvTranspose<group=2>(x, w)", "ConvTranspose",
        {"w": weight(6, 4, 2, 2), "c": normal(8, 1, 1)},
    ),
    "Gemm": (X2, "t = Gemm(x, w)", "Gemm", {**GEMM, "c": normal(5)}),
    "Gemm with a bias of one": (
        X2, "t = Gemm<transB=1>(x, w, b)", "Gemm", {**GEMM, "c": normal(1, 5), "b": normal(1)},
    ),
    "MatMul of rank 2": (X2, "t = MatMul(x, w)", "Gemm", {**GEMM, "c": normal(5)}),
}  # fmt: skip


@pytest.mark.parametrize("order", ["Add(t, c)", "Add(c, t)"])
@pytest.mark.parametrize("name", POSITIVE)
def test_it_folds(name: str, order: str) -> None:
    given, node, operator, constants = POSITIVE[name]
    rank = "N,C,H,W" if given == X4 or "Transpose" in name else "N,C"
    before = build(f"g ({given}) => (float[{rank}] y) {{ {node} y = {order} }}", **constants)
    after = FoldBias()(before.clone()).model
    assert operators(after) == [operator]
    x = next(iter(before.graph.inputs))
    assert x.shape is not None
    assert_same_function(before, after, x=normal(*x.shape.numpy(), seed=5))


NEGATIVE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "(C,) on a Conv runs along its width": (X4, "Conv(x, w)", {**CONV, "c": normal(5)}),
    "(1, C) on a Conv too": (X4, "Conv(x, w)", {**CONV, "c": normal(1, 5)}),
    "(C, 1) runs along the height": (X4, "Conv(x, w)", {**CONV, "c": normal(5, 1)}),
    "a whole image": (X4, "Conv(x, w)", {**CONV, "c": normal(1, 5, 5, 5)}),
    "one per sample": (X4, "Conv(x, w)", {**CONV, "c": normal(2, 1, 1, 1)}),
    "a scalar": (X4, "Conv(x, w)", {**CONV, "c": np.float32(1)}),
    "an axis too many": (X4, "Conv(x, w)", {**CONV, "c": normal(1, 1, 5, 1, 1)}),
    "a column on a Gemm": (X2, "Gemm(x, w)", {**GEMM, "c": normal(5, 1)}),
    "a matrix on a Gemm": (X2, "Gemm(x, w)", {**GEMM, "c": normal(5, 5)}),
    "beta is set": (X2, "Gemm<beta=0.5>(x, w, b)", {**GEMM, "b": normal(5), "c": normal(5)}),
    "a bias that is a matrix": (X2, "Gemm(x, w, b)", {**GEMM, "b": normal(5, 5), "c": normal(5)}),
    "a MatMul of rank 3": (X3, "MatMul(x, w)", {**GEMM, "c": normal(5)}),
    "a weight of rank 3": (X2, "MatMul(x, w)", {"w": weight(2, 5, 5), "c": normal(5)}),
    "the constant on the left": (X2, "MatMul(w, x)", {**GEMM, "c": normal(5)}),
    "a foreign operator": (X2, "other.MatMul(x, w)", {**GEMM, "c": normal(5)}),
}


@pytest.mark.parametrize("name", NEGATIVE)
def test_it_does_not_fold(name: str) -> None:
    given, node, constants = NEGATIVE[name]
    graph = f"g ({given}) => (float y) {{ t = {node} y = Add(t, c) }}"
    model = build(graph, extra='"other": 1', **constants)
    assert not FoldBias()(model).modified
    assert operators(model)[-1] == "Add"


@pytest.mark.parametrize(
    "nodes",
    ["t = Conv(x, w) u = Add(t, c) y = Mul(u, t)", "t = Conv(x, w) y = Add(t, x)"],
    ids=["the value has another reader", "nothing is constant"],
)
def test_it_needs_one_reader_and_a_constant(nodes: str) -> None:
    model = build(f"g ({X4}) => (float y) {{ {nodes} }}", **CONV, c=normal(5, 1, 1))
    assert not FoldBias()(model).modified


def test_an_output_in_between_stays() -> None:
    graph = f"g ({X4}) => (float[2,5,5,5] t, float[2,5,5,5] y) {{ t = Conv(x, w) y = Add(t, c) }}"
    assert not FoldBias()(build(graph, **CONV, c=normal(5, 1, 1))).modified


def test_a_bias_that_two_nodes_share_changes_for_one() -> None:
    before = build(
        f"g ({X2}) => (float[5,5] y) {{ t = Gemm(x, w, b) u = Add(t, c) y = Gemm(u, w, b) }}",
        **GEMM, b=normal(5), c=normal(5, seed=2),
    )  # fmt: skip
    after = FoldBias()(before.clone()).model
    assert operators(after) == ["Gemm", "Gemm"]
    assert_same_function(before, after, x=normal(5, 5, seed=3))


@pytest.mark.parametrize("dtype", ["float16", "double"])
def test_other_floats_keep_their_type(dtype: str) -> None:
    kind = {"float16": np.float16, "double": np.float64}[dtype]
    graph = f"g ({dtype}[5,5] x) => ({dtype}[5,5] y) {{ t = Gemm(x, w, b) y = Add(t, c) }}"
    values = {"w": weight(5, 5), "b": normal(5), "c": normal(5, seed=2)}
    before = build(graph, **{name: each.astype(kind) for name, each in values.items()})
    after = FoldBias()(before.clone()).model
    assert operators(after) == ["Gemm"]
    assert array(after.graph.node(0).inputs[2]).dtype == kind
    assert_same_function(before, after, x=normal(5, 5, seed=5).astype(kind))


def test_a_sum_that_float16_cannot_hold_stays() -> None:
    graph = "g (float16[5,5] x) => (float16[5,5] y) { t = Gemm(x, w, b) y = Add(t, b) }"
    high = np.full(5, 6e4, np.float16)
    model = build(graph, w=weight(5, 5).astype(np.float16), b=high)
    assert not FoldBias()(model).modified
    assert operators(model) == ["Gemm", "Add"]
