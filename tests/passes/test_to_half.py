"""Floats of 16 bits: stored, or computed in, with casts where the two worlds meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from qtool import model as models
from qtool import workflow
from qtool.numeric.half import narrowed, outside
from qtool.recipe import Recipe, Rule
from qtool.runtime import Session
from qtool.target import load_target
from tests.models import Array, as_run, normal, operators, save, sqnr, weight

C: dict[str, Any] = {
    "w": weight(32, 64).T.copy(), "v": weight(32, 32, seed=2), "table": normal(16, 64),
}  # fmt: skip
MLP = "g (float[N,64] x) => (float[N,32] y) { a = MatMul(x, w) r = Relu(a) y = MatMul(r, v) }"
MASK = """g (float[N,64] x, float[N,32] m) => (float[N,32] y) {
    a = MatMul(x, w) o = Sub(one, m) p = Mul(o, least) s = Add(a, p) y = Softmax(s) }"""
NORM = "g (float[N,32] x) => (float[N,32] y) { s = Mul(x, x) t = Add(s, tiny) y = Div(x, t) }"
RESIZE = """g (float[1,2,8,8] x) => (float[1,2,16,16] y) {
    a = Conv(x, k) y = Resize<mode="nearest">(a, , scales) }"""


def made(
    path: Path, graph: str, scheme: str = "fp16", target: str = "cpu", **more: Any
) -> workflow.Quantized:
    options = {name: more.pop(name) for name in ("keep_io_types", "rules") if name in more}
    save(path, graph, **more)
    recipe = Recipe(scheme=scheme, **options).checked()
    return workflow.build(workflow.open_job(path, recipe, load_target(target)), None)


def graph_of(result: workflow.Quantized) -> onnx.GraphProto:
    models.check(result.data)
    return onnx.load_from_string(result.data).graph


def both(path: Path, result: workflow.Quantized, **feeds: Array) -> tuple[Array, Array]:
    return Session(path).run(feeds)["y"], Session(result.data).run(feeds)["y"]


@pytest.mark.parametrize(("scheme", "least"), [("fp16", 65), ("bf16", 45)])
def test_stored_in_half_the_bytes_and_folded_at_load(
    scheme: str, least: float, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    result = made(path, MLP, scheme, w=C["w"], v=C["v"])
    kinds = {onnx.TensorProto.DataType.Name(t.data_type) for t in graph_of(result).initializer}
    assert kinds == {"FLOAT16" if scheme == "fp16" else "BFLOAT16"}
    before, after = both(path, result, x=normal(9, 64))
    assert after.dtype == np.float32
    assert sqnr(before, after) > least
    assert operators(as_run(result.data, tmp_path)) == ["MatMul", "Relu", "MatMul"]


def test_a_small_constant_is_not_worth_a_cast(tmp_path: Path) -> None:
    result = made(tmp_path / "m.onnx", NORM, tiny=np.float32(1e-12))
    assert not result.plan.schemes
    assert set(result.plan.skipped.values()) == {"it has no large weights"}


def test_the_portable_target_computes_in_float16(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    result = made(path, MLP, target="portable", w=C["w"], v=C["v"])
    graph = graph_of(result)
    assert [n.op_type for n in graph.node] == ["Cast", "MatMul", "Relu", "MatMul", "Cast"]
    assert Session(result.data).signature == Session(path).signature
    assert sqnr(*both(path, result, x=normal(9, 64))) > 55


@pytest.mark.parametrize("target", ["cpu", "portable"])
def test_inputs_and_outputs_become_float16_on_demand(target: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    result = made(path, MLP, target=target, keep_io_types=False, w=C["w"], v=C["v"])
    session, x = Session(result.data), normal(9, 64)
    ends = (*session.signature.inputs, *session.signature.outputs)
    assert {spec.dtype for spec in ends} == {"float16"}
    assert [spec.name for spec in ends] == ["x", "y"]
    after = session.run({"x": x.astype(np.float16)})["y"]
    assert sqnr(Session(path).run({"x": x})["y"], after.astype(np.float32)) > 50
    if target == "portable":
        assert "Cast" not in [n.op_type for n in graph_of(result).node]


def test_a_mask_beyond_the_range_is_clamped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    result = made(
        path, MASK, target="portable", w=C["w"], one=np.float32(1), least=np.float32(-3.4e38)
    )
    assert sum(half.clamped for half in result.plan.halves.values()) == 1
    mask = (np.arange(32) < 20).astype(np.float32)[None].repeat(4, 0)
    before, after = both(path, result, x=normal(4, 64), m=mask)
    assert np.isfinite(after).all()
    assert (after[:, 20:] == 0).all()
    assert sqnr(before, after) > 45


def test_an_epsilon_does_not_vanish(tmp_path: Path) -> None:
    result = made(tmp_path / "m.onnx", NORM, target="portable", tiny=np.float32(1e-12))
    found = Session(result.data).run({"x": np.zeros((2, 32), np.float32)})["y"]
    assert (found == 0).all()  # and not NaN, which 0 / 0 is


def test_what_the_standard_wants_in_float32_stays_so(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    scales = np.array([1, 1, 2, 2], np.float32)
    result = made(path, RESIZE, target="portable", k=weight(2, 2, 3, 3), scales=scales)
    kinds = {t.name: t.data_type for t in graph_of(result).initializer}
    assert kinds["scales"] == onnx.TensorProto.FLOAT
    assert set(result.plan.schemes.values()) == {"fp16"}
    assert len(result.plan.schemes) == 2


def test_an_island_is_listed_and_computes_in_float32(tmp_path: Path) -> None:
    graph = """g (float[N,64] x, float stop) => (float[M] y) {
        a = MatMul(x, w) m = ReduceMean<keepdims=0>(a) e = Add(m, stop)
        y = Range(zero, e, step) }"""
    path = tmp_path / "m.onnx"
    result = made(
        path, graph, target="portable", w=C["w"], zero=np.float32(0), step=np.float32(0.5)
    )
    assert list(result.plan.skipped.values()) == ["the runtime does not take Range in float16"]
    before, after = both(path, result, x=normal(3, 64) / 100, stop=np.array(3.25, np.float32))
    np.testing.assert_array_equal(before, after)


def test_a_body_reads_what_it_read(tmp_path: Path) -> None:
    graph = """g (float[N,64] x, bool c) => (float[N,32] y) {
        a = MatMul(x, w)
        y = If(c) <then_branch = t () => (float[N,32] p) { p = Neg(a) },
                  else_branch = e () => (float[N,32] q) { q = Abs(a) }>
    }"""
    path = tmp_path / "m.onnx"
    result = made(path, graph, target="portable", w=C["w"])
    for choice in (True, False):
        before, after = both(path, result, x=normal(3, 64), c=np.array(choice))
        assert sqnr(before, after) > 55


def test_a_cast_to_float32_and_a_fill_turn_too(tmp_path: Path) -> None:
    graph = """g (int64[N,64] x) => (float[N,32] y) {
        f = Cast<to=1>(x) s = Shape(x) z = ConstantOfShape<value=float[1] {2.5}>(s)
        h = Mul(f, z) y = MatMul(h, w) }"""
    path = tmp_path / "m.onnx"
    result = made(path, graph, target="portable", w=C["w"])
    assert [n.op_type for n in graph_of(result).node].count("Cast") == 2  # its own, and the output
    before, after = both(path, result, x=np.arange(128).reshape(2, 64) % 7)
    assert sqnr(before, after) > 55


def test_beside_integers(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    rules = (Rule(match="op:Gather", scheme="w8"),)
    graph = "g (int64[N] i) => (float[N,32] y) { x = Gather(table, i) y = MatMul(x, w) }"
    for target in ("cpu", "portable"):
        result = made(path, graph, target=target, rules=rules, w=C["w"], table=C["table"])
        assert sorted(result.plan.schemes.values()) == ["fp16", "w8sc"]
        assert sqnr(*both(path, result, i=np.arange(16))) > 35


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("target", ["cpu", "portable"])
def test_a_value_that_is_two_outputs_keeps_its_name(
    keep: bool, target: str, tmp_path: Path
) -> None:
    graph = "g (float[4,32] x) => (float[4,32] y, float[4,32] y) { y = MatMul(x, v) }"
    result = made(tmp_path / "m.onnx", graph, target=target, keep_io_types=keep, v=C["v"])
    assert [out.name for out in graph_of(result).output] == ["y", "y"]


def test_a_constant_that_is_float_by_its_attribute_stays_so(tmp_path: Path) -> None:
    graph = """g (float[4,64] x) => (float[4,32] y, float k) {
        a = MatMul(x, w) k = Constant<value_float=2.5>() y = Relu(a) }"""
    path = tmp_path / "m.onnx"
    result = made(path, graph, target="portable", w=C["w"])
    onnx.checker.check_model(onnx.load_from_string(result.data), full_check=True)
    assert sqnr(*both(path, result, x=normal(4, 64))) > 55


def test_a_constant_of_two_nodes_is_stored_once(tmp_path: Path) -> None:
    graph = "g (float[N,32] x) => (float[N,32] y) { a = MatMul(x, v) y = MatMul(a, v) }"
    for target in ("cpu", "portable"):
        result = made(tmp_path / "m.onnx", graph, target=target, v=C["v"])
        assert len(graph_of(result).initializer) == 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrowing(dtype: str) -> None:
    x = np.array([0, -0.0, 1, 3.4e38, -3.4e38, np.inf, -np.inf, np.nan], np.float32)
    found = narrowed(x, dtype).astype(np.float32)
    assert (np.sign(found[:-1]) == np.sign(x[:-1])).all()
    assert np.isfinite(found[:5]).all()
    assert np.isinf(found[5:7]).all()
    assert np.isnan(found[7])
    for epsilon in (1e-44, -1e-44, 1e-12):  # alone, it is there to keep a division from zero
        assert np.sign(narrowed(np.array(epsilon, np.float32), dtype)) == np.sign(epsilon)
    assert outside(x, dtype) == 2
    normal_values = normal(1000)
    bits = 11 if dtype == "float16" else 8
    wrong = np.abs(narrowed(normal_values, dtype).astype(np.float32) - normal_values)
    assert (wrong <= np.abs(normal_values) * 2.0**-bits + 2.0**-25).all()
