"""Types behind operators that ONNX inference does not know, as the runtime tells them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from qtool.ops import OPS
from qtool.passes import prepare, transform
from qtool.plan.eligible import NO_ROW
from qtool.plan.sites import find_sites
from qtool.recipe import Recipe
from qtool.target import load_target
from qtool.typed import infer
from tests.models import assert_same_function, build, normal, weight

MICROSOFT = '"com.microsoft": 1'
# a node of the runtime's own between a Conv and a MatMul; what else it reads
OWN = {
    "Gelu": ("com.microsoft.Gelu(a)", {}),
    "FusedMatMul": ("com.microsoft.FusedMatMul<transB=1>(a, u)", {"u": weight(8, 8)}),
    "SkipLayerNormalization": (
        "com.microsoft.SkipLayerNormalization(a3, a3, g)", {"g": np.ones(8, np.float32)}
    ),
    "FusedConv": (
        'com.microsoft.FusedConv<activation="Relu">(a, u)', {"u": weight(8, 8, 1, 1)}
    ),
    "QuickGelu": ("com.microsoft.QuickGelu(a)", {}),
}  # fmt: skip


def around(node: str, opset: int = 21, **constants: object) -> ir.Model:
    """x -> Conv -> the node -> MatMul with a weight of 100 KB -> y"""
    rows = {"w": weight(8, 4, 1, 1), "v": weight(3200, 8).T.copy(), "r": np.array([-1, 8, 8])}
    return build(
        f"""g (float[N,4,8,8] x) => (float y) {{
            a = Conv(x, w) a3 = Reshape(a, r) k = {node} s = Mul(k, k) y = MatMul(s, v)
        }}""",
        opset=opset, extra=MICROSOFT, **rows, **constants,
    )  # fmt: skip


def test_types_come_from_the_runtime_where_inference_stops() -> None:
    found = infer(around("com.microsoft.Gelu(a)"))
    types = {v.name: v.dtype for node in found.graph for v in node.outputs}
    assert {types[name] for name in ("a", "k", "s", "y")} == {ir.DataType.FLOAT}
    [made] = [node for node in found.graph if node.op_type == "Mul"]
    assert made.outputs[0].shape is not None and list(made.outputs[0].shape)[1:] == [8, 8, 8]


@pytest.mark.parametrize("dtype", ["double", "float16"])
def test_types_other_than_float32(dtype: str) -> None:
    w = weight(4, 4).astype(np.float64 if dtype == "double" else np.float16)
    nodes = "k = com.microsoft.FusedMatMul(x, w) y = Neg(k)"
    graph = f"g ({dtype}[2,4] x) => ({dtype}[2,4] y) {{ {nodes} }}"
    model = build(graph, extra=MICROSOFT, w=w)
    model.graph.outputs[0].type = None
    found = {v.name: v.dtype for node in infer(model).graph for v in node.outputs}
    assert {each.name for each in found.values() if each} == {dtype.upper()}


def test_what_nobody_knows_stays_unknown() -> None:
    model = build(
        "g (float[2,4] x) => (float[2,4] y) { a = Relu(x) k = my.own.Blub(a) y = Neg(k) }",
        extra='"my.own": 1',
    )
    found = {v.name: v.dtype for node in infer(model).graph for v in node.outputs}
    assert found["a"] is ir.DataType.FLOAT
    assert found["k"] is None


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("opset", [9, 12, 21])
@pytest.mark.parametrize("operator", OWN)
def test_the_runtimes_own_operators_are_left_alone_and_their_neighbours_quantized(
    operator: str, opset: int
) -> None:
    node, constants = OWN[operator]
    model = around(node, opset, **constants)
    prepared = prepare(model)
    [kept] = [n for n in prepared.graph if n.domain == "com.microsoft"]
    assert kept.op_type == operator
    assert_same_function(model, prepared, x=normal(2, 4, 8, 8))
    for scheme in ("w8a8", "w8", "fp16"):
        recipe = Recipe(scheme=scheme)
        sites = find_sites(transform(prepared, recipe.algorithms), recipe, load_target("cpu"))
        assert sites.skipped[kept.name or ""] == NO_ROW
        quantized = {site.node for site in sites.weights}
        by_name = {n.name: n.op_type for n in prepared.graph}
        if scheme != "fp16":
            assert {by_name[name] for name in quantized} == {"Conv", "MatMul"}
        if scheme == "w8a8":
            assert {"x", "s"} <= set(sites.activations)


@pytest.mark.parametrize("operator", sorted(OPS))
def test_an_operator_of_the_same_name_is_another_one(operator: str) -> None:
    model = build(
        f"""g (float[2,4,8,8] x) => (float[2,4,8,8] y) {{
            a = Conv(x, w) b = my.own.{operator}(a, v, c) n = BatchNormalization(b, c, c, c, c)
            y = Add(n, c1)
        }}""",
        extra='"my.own": 1', w=weight(4, 4, 1, 1), v=weight(4, 4, 1, 1), c=np.ones(4, np.float32),
        c1=np.ones((4, 1, 1), np.float32),
    )  # fmt: skip
    for scheme in ("w8a8", "fp16"):
        recipe = Recipe(scheme=scheme, placement="all")
        found = transform(prepare(model), recipe.algorithms)
        [kept] = [node for node in found.graph if node.domain == "my.own"]
        assert kept.op_type == operator
        assert [value.name for value in kept.inputs if value] == ["a", "v", "c"]
        sites = find_sites(found, recipe, load_target("portable"))
        assert sites.skipped[kept.name or ""] == NO_ROW
