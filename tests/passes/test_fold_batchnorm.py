"""BatchNormalization folds into Conv, ConvTranspose and Gemm, and not where it must not."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from qtool.passes.edit import array
from qtool.passes.fold_batchnorm import FoldBatchNorm
from tests.float_models import TYPES
from tests.models import assert_same_function, build, normal, operators, run, weight

X = {"x": normal(2, 6, 5, 5, seed=9)}
NORM = "BatchNormalization<epsilon=0.01>(t, gamma, beta, mean, var)"


def norm(channels: int = 8) -> dict[str, Any]:
    """The four parameters of a normalization."""
    values = normal(4, channels, seed=4)
    return {"gamma": values[0], "beta": values[1], "mean": values[2], "var": values[3] ** 2 + 0.1}


POSITIVE = {
    "Conv": ("t = Conv(x, w)", {"w": weight(8, 6, 3, 3)}),
    "Conv with bias": ("t = Conv(x, w, b)", {"w": weight(8, 6, 3, 3), "b": normal(8)}),
    "grouped Conv": ("t = Conv<group=2>(x, w, b)", {"w": weight(8, 3, 3, 3), "b": normal(8)}),
    "ConvTranspose": ("t = ConvTranspose(x, w)", {"w": weight(6, 8, 3, 3)}),
    "ConvTranspose with groups": (
        "t = ConvTranspose<group=2>(x, w, b)",
        {"w": weight(6, 4, 3, 3), "b": normal(8)},
    ),
    "depthwise ConvTranspose": (
        "t = ConvTranspose<group=6>(x, w)",
        {"w": weight(6, 1, 3, 3), **norm(6)},
    ),
    "Gemm": ("f = Flatten(x) t = Gemm(f, w)", {"w": weight(150, 8)}),
    "Gemm transB, bias of one": (
        "f = Flatten(x) t = Gemm<transB=1>(f, w, b)",
        {"w": weight(8, 150), "b": normal(1)},
    ),
}


@pytest.mark.parametrize("name", POSITIVE)
def test_it_folds(name: str) -> None:
    nodes, constants = POSITIVE[name]
    graph = f"g (float[2,6,5,5] x) => (float[] y) {{ {nodes} y = {NORM} }}".replace("[]", "[N,C]")
    before = build(shaped(graph, name), **{**norm(), **constants})
    after = FoldBatchNorm()(before.clone()).model
    assert "BatchNormalization" not in operators(after)
    assert len(after.graph) == len(before.graph) - 1
    assert_same_function(before, after, **X)


def shaped(graph: str, name: str) -> str:
    """The output's rank: 2 behind a Gemm, else 4."""
    return graph if "Gemm" in name else graph.replace("[N,C]", "[N,C,H,W]")


CONV = "t = Conv(x, w)"
NEGATIVE = {
    "the value is read before the norm": f"{CONV} n = {NORM} y = Add(n, t)",
    "training mode": f"{CONV} y = BatchNormalization<training_mode=1>(t, gamma, beta, mean, var)",
    "gamma is computed": f"{CONV} s = ReduceMax<keepdims=0>(x, axes) y = BatchNormalization"
    "(t, s, beta, mean, var)",
    "the weight is computed": f"v = Mul(w, w) t = Conv(x, v) y = {NORM}",
    "another operator": f"t = Relu(x8) y = {NORM}",
    "a foreign operator": f"t = other.Conv(x, w) y = {NORM}",
    "alpha is set": f"f = Flatten(x) t = Gemm<alpha=0.5>(f, m8) y = {NORM}",
    "the bias is computed": "e = Mul(beta, beta) t = Conv(x, w, e) y = " + NORM,
}


@pytest.mark.parametrize("name", NEGATIVE)
def test_it_does_not_fold(name: str) -> None:
    graph = f"g (float[2,6,5,5] x, float[2,8,5,5] x8) => (float y) {{ {NEGATIVE[name]} }}"
    constants = {"w": weight(8, 6, 1, 1), "m8": weight(150, 8), "axes": np.array([0, 2, 3])}
    model = build(graph, extra='"other": 1', **constants, **norm())
    before = operators(model)
    result = FoldBatchNorm()(model)
    assert not result.modified
    assert operators(model) == before


def test_a_second_output_of_opset_13_means_training() -> None:
    graph = f"""g (float[2,6,5,5] x) => (float[2,8,5,5] y, float[8] m) {{
        {CONV} y, m, v, sm, sv = BatchNormalization(t, gamma, beta, mean, var)
    }}"""
    model = build(graph, opset=13, w=weight(8, 6, 1, 1), **norm())
    assert not FoldBatchNorm()(model).modified


def test_a_value_that_is_an_output_itself_does_not_fold() -> None:
    graph = f"g (float[2,6,5,5] x) => (float[2,8,5,5] t, float[2,8,5,5] y) {{ {CONV} y = {NORM} }}"
    model = build(graph, w=weight(8, 6, 1, 1), **norm())
    assert not FoldBatchNorm()(model).modified


def test_a_shared_weight_changes_for_one_reader_only() -> None:
    graph = f"""g (float[2,6,5,5] x) => (float[2,8,5,5] y, float[2,8,5,5] z) {{
        {CONV} y = {NORM} z = Conv(x, w)
    }}"""
    before = build(graph, w=weight(8, 6, 1, 1), **norm())
    after = FoldBatchNorm()(before.clone()).model
    assert operators(after) == ["Conv", "Conv"]
    assert_same_function(before, after, **X)


def test_the_output_keeps_its_name() -> None:
    before = build(
        f"g (float[2,6,5,5] x) => (float[2,8,5,5] y) {{ {CONV} y = {NORM} }}",
        w=weight(8, 6, 1, 1), **norm(),
    )  # fmt: skip
    after = FoldBatchNorm()(before.clone()).model
    assert list(run(after, **X)) == ["y"]


@pytest.mark.parametrize("dtype", ["float16", "double"])
@pytest.mark.parametrize("operator", ["Conv", "Gemm transB, bias of one"])
def test_other_floats_keep_their_type(operator: str, dtype: str) -> None:
    nodes, constants = POSITIVE[operator]
    kind = TYPES[dtype]
    if dtype == "double" and "Conv" in nodes:
        return  # the runtime has no such kernel
    graph = f"g ({dtype}[2,6,5,5] x) => ({dtype}[N,C] y) {{ {nodes} y = {NORM} }}"
    values: dict[str, Any] = {**norm(), **constants}
    values = {name: each.astype(kind) for name, each in values.items()}
    before = build(shaped(graph, operator), **values)
    after = FoldBatchNorm()(before.clone()).model
    assert "BatchNormalization" not in operators(after)
    assert {v.dtype for v in after.graph.initializers.values() if v.uses()} == {
        ir.DataType.from_numpy(np.dtype(kind))
    }
    assert_same_function(before, after, x=X["x"].astype(kind))


@pytest.mark.parametrize("name", ["gamma", "beta"])
def test_what_float16_cannot_hold_is_not_folded(name: str) -> None:
    values: dict[str, Any] = {**norm(), "w": weight(8, 6, 1, 1)}
    values = {key: each.astype(np.float16) for key, each in values.items()}
    values["var"][:] = np.float16(1e-4)
    values[name][:] = np.float16(6e4)
    nodes = NORM.replace("0.01", "0.0")
    graph = f"g (float16[2,6,5,5] x) => (float16[2,8,5,5] y) {{ {CONV} y = {nodes} }}"
    if name == "beta":
        values["mean"][:] = np.float16(-6e4)
    assert not FoldBatchNorm()(build(graph, **values)).modified


def test_bfloat16_folds_too() -> None:
    """No kernel runs it here; the arithmetic is the same."""
    values: dict[str, Any] = {**norm(), "w": weight(8, 6, 1, 1), "b": normal(8)}
    cast = {k: v.astype(ml_dtypes.bfloat16) for k, v in values.items()}
    graph = f"""g (bfloat16[2,6,5,5] x) => (bfloat16[2,8,5,5] y) {{
        t = Conv(x, w, b) y = {NORM} }}"""
    after = FoldBatchNorm()(build(graph, opset=22, **cast)).model
    wide = {k: v.astype(np.float32) for k, v in cast.items()}
    twin = FoldBatchNorm()(build(graph.replace("bfloat16", "float"), opset=22, **wide)).model
    for one, other in zip(
        after.graph.node(0).inputs[1:], twin.graph.node(0).inputs[1:], strict=True
    ):
        found = array(one)
        assert found.dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(found, array(other).astype(ml_dtypes.bfloat16))
