"""The rewrite carries out a plan: names, sharing, storage of small types."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from qtool import model as models
from qtool.numeric.affine import dequantize, from_range, quantize
from qtool.numeric.granularity import PER_TENSOR, Granularity, PerBlock, PerChannel, reduce
from qtool.numeric.types import INT8, UINT8, IntType
from qtool.passes import rewritten
from qtool.passes.edit import array
from qtool.passes.insert_qdq import InsertQDQ
from qtool.plan.plan import Plan, TensorPlan, WeightPlan
from tests.models import Array, assert_same_function, build, normal, operators, run, weight

X = normal(3, 64, seed=5)


def covering(
    x: Array, kind: IntType, symmetric: bool = True, where: Granularity = PER_TENSOR
) -> Any:
    low, high = reduce(x, where, np.min), reduce(x, where, np.max)
    if where == PER_TENSOR:
        low, high = low.reshape(()), high.reshape(())
    return from_range(low, high, kind, symmetric=symmetric, granularity=where)


def named(graph: str, opset: int = 21, **constants: Array) -> ir.Model:
    """A model whose nodes are called after their outputs."""
    model = build(graph, opset=opset, **constants)
    for node in model.graph.all_nodes():
        node.name = f"{node.outputs[0].name}_node"
    return model


def rewrite(model: ir.Model, plan: Plan) -> ir.Model:
    """The rewritten model, which the checker accepts."""
    made = InsertQDQ(plan)(model.clone()).model
    models.stamp(made)
    models.check(models.serialize(made))
    return made


ONE = "g (float[N,64] x) => (float[N,8] y) { y = MatMul(x, w) }"
STORAGES = [
    (bits, signed, where)
    for bits in (2, 3, 4, 8, 16)
    for signed in (True, False)
    for where in (PER_TENSOR, PerChannel(1), PerBlock(0, 16), PerBlock(0, 24))
]


@pytest.mark.parametrize(("bits", "signed", "where"), STORAGES, ids=str)
def test_a_weight_is_what_the_plan_says(bits: int, signed: bool, where: Granularity) -> None:
    w = weight(64, 8)
    model = named(ONE, opset=25 if bits == 2 else 21, w=w)
    params = covering(w, IntType(bits, signed), signed, where)
    made = rewrite(model, Plan(weights={("y_node", 1): WeightPlan("w", params)}))
    assert operators(made) == ["DequantizeLinear", "MatMul"]
    assert "w" not in made.graph.initializers
    expected = X @ dequantize(quantize(w, params), params)
    np.testing.assert_allclose(run(made, x=X)["y"], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("where", [PER_TENSOR, PerChannel(1)], ids=str)
def test_cast_mul_is_the_same_product(signed: bool, where: Granularity) -> None:
    w = weight(64, 8)
    params = covering(w, IntType(8, signed), signed, where)
    plan = Plan(weights={("y_node", 1): WeightPlan("w", params, "cast-mul")})
    made = rewrite(named(ONE, w=w), plan)
    assert operators(made) == ["Cast", *([] if signed else ["Sub"]), "Mul", "MatMul"]
    expected = X @ dequantize(quantize(w, params), params)
    np.testing.assert_allclose(run(made, x=X)["y"], expected, rtol=0, atol=1e-5)


def u8(low: float, high: float) -> Any:
    return from_range(np.array(low), np.array(high), UINT8, symmetric=False)


CHAIN = "g (float[N,64] x) => (float[N,64] y) { a = Relu(x) y = Neg(a) }"


def test_readers_named_and_all() -> None:
    graph = "g (float[N,64] x) => (float[N,64] y, float[N,64] z) { y = Neg(x) z = Abs(x) }"
    model = named(graph)
    some = rewrite(model, Plan(activations={"x": TensorPlan(u8(-3, 3), (("y_node", 0),))}))
    everybody = rewrite(model, Plan(activations={"x": TensorPlan(u8(-3, 3), None)}))
    restored = dequantize(quantize(X, u8(-3, 3)), u8(-3, 3))
    assert (run(some, x=X)["z"] == np.abs(X)).all()
    for made, name, value in (
        (some, "y", -restored), (everybody, "y", -restored), (everybody, "z", np.abs(restored)),
    ):  # fmt: skip
        assert (run(made, x=X)[name] == value).all()


def test_an_output_keeps_its_name_and_is_the_dequantized_value() -> None:
    model = named("g (float[N,64] x) => (float[N,64] a, float[N,64] y) { a = Relu(x) y = Neg(a) }")
    made = rewrite(model, Plan(activations={"a": TensorPlan(u8(0, 3), None)}))
    assert models.signature(made) == models.signature(model)
    found = run(made, x=X)
    restored = dequantize(quantize(np.maximum(X, 0), u8(0, 3)), u8(0, 3))
    assert (found["a"] == restored).all()
    assert (found["y"] == -restored).all()


def test_an_output_stays_float_where_readers_are_named() -> None:
    model = named("g (float[N,64] x) => (float[N,64] a, float[N,64] y) { a = Relu(x) y = Neg(a) }")
    made = rewrite(model, Plan(activations={"a": TensorPlan(u8(0, 3), (("y_node", 0),))}))
    assert (run(made, x=X)["a"] == np.maximum(X, 0)).all()


def test_names_that_are_taken() -> None:
    graph = """g (float[N,64] a_q) => (float[N,64] a_dq) {
        a = Relu(a_q) a_scale = Neg(a) a_zero_point = Abs(a_scale) a_dq = Add(a_zero_point, a)
    }"""
    model = named(graph)
    made = rewrite(model, Plan(activations={"a": TensorPlan(u8(0, 3), None)}))
    assert models.signature(made) == models.signature(model)
    value_names = [v.name for node in made.graph for v in node.outputs]
    assert len(set(value_names)) == len(value_names)
    restored = dequantize(quantize(np.maximum(X, 0), u8(0, 3)), u8(0, 3))
    assert (run(made, a_q=X)["a_dq"] == 2 * restored).all()


def test_node_names_that_are_taken() -> None:
    model = named(CHAIN)
    for node, name in zip(model.graph, ("a_q", "a_dq"), strict=True):
        node.name = name
    made = rewrite(model, Plan(activations={"a": TensorPlan(u8(0, 3), None)}))
    restored = dequantize(quantize(np.maximum(X, 0), u8(0, 3)), u8(0, 3))
    assert (run(made, x=X)["y"] == -restored).all()


def test_what_is_added_to_long_names_is_named_by_their_ends() -> None:
    long = ";".join(f"model/block_{i}/conv2d/BiasAdd" for i in range(9)) + ":0"
    model = named(CHAIN)
    model.graph.node(0).outputs[0].name = long
    made = rewrite(model, Plan(activations={long: TensorPlan(u8(-3, 3), None)}))
    names = [value.name or "" for node in made.graph for value in node.outputs]
    assert long in names
    added = [name for name in names if name not in (long, "y")]
    assert all(len(name) <= 44 and "block_8/conv2d/BiasAdd:0_" in name for name in added)


def test_types_of_what_is_added_are_left_to_be_inferred() -> None:
    plan = Plan(activations={"a": TensorPlan(u8(-3, 3), None)})
    made = onnx.load_from_string(models.serialize(rewritten(named(CHAIN), plan)))
    assert {value.name for value in made.graph.value_info} == {"a"}
    assert {value.name for value in made.graph.initializer} == {"a_scale", "a_zero_point"}


def test_a_weight_of_two_nodes_is_stored_once() -> None:
    w = weight(64, 64)
    model = named("g (float[N,64] x) => (float[N,64] y) { a = MatMul(x, w) y = MatMul(a, w) }", w=w)
    params = covering(w, INT8, True, PerChannel(1))
    both = {(f"{n}_node", 1): WeightPlan("w", params) for n in "ay"}
    made = rewrite(model, Plan(weights=both))
    assert sorted(made.graph.initializers) == ["w_q", "w_scale"]
    w2 = dequantize(quantize(w, params), params)
    np.testing.assert_allclose(run(made, x=X)["y"], X @ w2 @ w2, rtol=0, atol=1e-4)


def test_a_weight_that_stays_float_for_one_reader() -> None:
    w = weight(64, 64)
    model = named("g (float[N,64] x) => (float[N,64] y) { a = MatMul(x, w) y = Add(a, w) }", w=w)
    params = covering(w, INT8)
    made = rewrite(model, Plan(weights={("a_node", 1): WeightPlan("w", params)}))
    assert (array(made.graph.initializers["w"]) == w).all()


def test_equal_scales_and_zero_points_exist_once() -> None:
    model = named(CHAIN)
    same = Plan(activations={n: TensorPlan(u8(0, 3), None) for n in ("x", "a")})
    assert sorted(rewrite(model, same).graph.initializers) == ["x_scale", "x_zero_point"]
    other = Plan(activations={"x": TensorPlan(u8(-3, 3), None), "a": TensorPlan(u8(0, 3), None)})
    assert len(rewrite(model, other).graph.initializers) == 4


@pytest.mark.parametrize("written", [True, False])
def test_a_zero_point_of_zero_is_written_only_on_demand(written: bool) -> None:
    w = weight(64, 8)
    plan = WeightPlan("w", covering(w, INT8), zero_point=written)
    made = rewrite(named(ONE, w=w), Plan(weights={("y_node", 1): plan}))
    assert ("w_zero_point" in made.graph.initializers) == written


def test_a_body_reads_the_quantized_value_too() -> None:
    graph = """g (float[N,64] x, bool c) => (float[N,64] y) {
        a = Relu(x)
        y = If(c) <then_branch = t () => (float[N,64] p) { p = Neg(a) },
                   else_branch = e () => (float[N,64] q) { q = Abs(a) }>
    }"""
    made = rewrite(named(graph), Plan(activations={"a": TensorPlan(u8(0, 3), None)}))
    restored = dequantize(quantize(np.maximum(X, 0), u8(0, 3)), u8(0, 3))
    assert (run(made, x=X, c=np.array(True))["y"] == -restored).all()


def test_an_empty_plan_changes_nothing() -> None:
    model = named(CHAIN)
    assert_same_function(model, rewrite(model, Plan()), x=X)


def test_node_names_must_be_unique() -> None:
    model = build(CHAIN)
    with pytest.raises(ir.passes.PreconditionError):
        InsertQDQ(Plan())(model)


def test_a_value_that_is_two_outputs_keeps_its_name() -> None:
    graph = "g (float[N,64] x) => (float[N,64] y, float[N,64] y) { y = Relu(x) }"
    made = rewrite(named(graph), Plan(activations={"y": TensorPlan(u8(0, 3), None)}))
    assert [value.name for value in made.graph.outputs] == ["y", "y"]
