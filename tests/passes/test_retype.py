"""Floats of other widths than float32: integers inside, Casts at the borders alone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from qtool.calibrate.stream import Stream
from qtool.cli.app import app
from qtool.inspect import running
from qtool.recipe import Recipe
from qtool.runtime import Session
from tests.float_models import FORMS, RUNS, TYPES, casts, made, samples, save_in, saved
from tests.models import build, normal, sqnr, weight


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize(("name", "dtype"), RUNS)
def test_the_same_integer_kernels_as_in_float32(name: str, dtype: str, tmp_path: Path) -> None:
    recipe = FORMS["w8a8"]
    found = made(saved(tmp_path, name, dtype), recipe, samples(name, dtype))
    twin = made(saved(tmp_path, name, "float"), recipe, samples(name, "float"))
    assert found.kernels() == twin.kernels() != {}
    assert found.result.plan.schemes == twin.result.plan.schemes
    assert list(found.result.plan.activations) == list(twin.result.plan.activations)
    assert sqnr(found.before, found.after) > 35
    assert found.ratio < {"cnn": 0.75, "attention": 0.6}[name] * (0.5 if dtype == "double" else 1)
    assert not casts(twin.graph)


@pytest.mark.usefixtures("any_size")
def test_an_island_has_a_cast_at_either_end(tmp_path: Path) -> None:
    found = made(saved(tmp_path, "cnn", "float16"), FORMS["w8a8"], samples("cnn", "float16"))
    assert [(c.input[0], c.output[0]) for c in casts(found.graph)] == [
        ("x", "x_as_float"),
        ("y_before_cast", "y"),
    ]
    kinds = {onnx.TensorProto.DataType.Name(t.data_type) for t in found.graph.initializer}
    assert kinds == {"INT8", "UINT8", "INT32", "FLOAT"}  # scales are float32
    assert len(found.result.plan.widened) == 9


def test_what_stays_float_keeps_its_type(tmp_path: Path) -> None:
    for dtype in ("float16", "double"):
        path = saved(tmp_path, "attention", dtype)
        found = made(path, FORMS["w8a8"], samples("attention", dtype))
        # x and n go in, q0, k0, v, u0 or what follows it, and the last product come out
        assert 6 <= len(casts(found.graph)) <= 8
        kinds = {t.name: t.data_type for t in found.graph.initializer}
        assert kinds["ln"] == onnx.helper.np_dtype_to_tensor_dtype(np.dtype(TYPES[dtype]))


@pytest.mark.parametrize("form", ["w8", "w4b32", "dynamic"])
@pytest.mark.parametrize(("name", "dtype"), RUNS)
def test_without_data(name: str, dtype: str, form: str, tmp_path: Path) -> None:
    found = made(saved(tmp_path, name, dtype), FORMS[form], samples(name, dtype))
    twin = made(saved(tmp_path, name, "float"), FORMS[form], samples(name, "float"))
    assert found.kernels() == twin.kernels()
    assert sqnr(found.before, found.after) > sqnr(twin.before, twin.after) - 0.5
    assert sqnr(found.before, found.after) > (18 if form == "w4b32" else 35)
    assert found.ratio < 0.65
    casts(found.graph)


def test_stored_weights_leave_float16_nodes_to_the_runtime(tmp_path: Path) -> None:
    """It widens them itself, and goes on joining Conv, Add and Relu."""
    path = saved(tmp_path, "cnn", "float16")
    found = made(path, FORMS["w8"], samples("cnn", "float16"))
    assert not found.result.plan.widened
    quantized = path.with_suffix(".int.onnx")
    assert running(quantized) == running(path)


def test_the_portable_target_packs_float16_too(tmp_path: Path) -> None:
    path = saved(tmp_path, "attention", "float16")
    found = made(path, FORMS["w8"], samples("attention", "float16"), "portable")
    assert found.kernels() == {"MatMulNBits": 5}
    assert {c.attribute[0].i for c in casts(found.graph)} == {onnx.TensorProto.FLOAT16}
    assert sqnr(found.before, found.after) > 35


def test_values_that_both_worlds_read(tmp_path: Path) -> None:
    """x, a and y are read by nodes of either type, or are outputs as well; so is a body."""
    graph = """g (T[N,24] x, bool c) => (T[N,16] a, T[N,8] y, T[N,8] z, T[N,24] e) {
        a = MatMul(x, v) y = MatMul(a, w) z = Softmax(y) e = Neg(x)
    }"""
    path = save_in(tmp_path / "m.onnx", graph.replace(", bool c", ""), "float16",
                   v=weight(16, 24).T, w=weight(8, 16).T)  # fmt: skip
    x = normal(32, 24).astype(np.float16)
    found = made(path, FORMS["w8a8"], x)
    casts(found.graph)
    before, after = (Session(model).run({"x": x}) for model in (path, found.result.data))
    for name in ("a", "y", "z"):
        assert sqnr(before[name].astype(np.float64), after[name].astype(np.float64)) > 30
    np.testing.assert_array_equal(before["e"], after["e"])


def test_a_body_reads_the_type_that_it_knows(tmp_path: Path) -> None:
    graph = """g (T[N,24] x) => (T[N,8] y) {
        a = MatMul(x, w) t = ReduceSum<keepdims=0>(x) k = Greater(t, zero)
        y = If(k) <then_branch = p () => (T[N,8] p) { p = Neg(a) },
                   else_branch = q () => (T[N,8] q) { q = Abs(a) }> }"""
    path = save_in(tmp_path / "m.onnx", graph, "float16", w=weight(8, 24).T, zero=np.array(0))
    x = normal(32, 24).astype(np.float16)
    found = made(path, FORMS["w8a8"], x)
    assert len(casts(found.graph)) == 2
    assert sqnr(found.before, found.after) > 35


BODIES = {
    "Loop": """g (T[N,24] x) => (T[N,8] y) {
        k = Constant<value = int64 {3}>() c = Constant<value = bool {1}>()
        z = Loop(k, c, x) <body = b (int64 i, bool go, T[N,24] a) => (bool on, T[N,24] o) {
            on = Identity(go) m = MatMul(a, s) o = Relu(m) }> y = MatMul(z, w) }""",
    "If": """g (T[N,24] x) => (T[N,8] y) {
        t = ReduceSum<keepdims=0>(x) k = Greater(t, zero)
        y = If(k) <then_branch = p () => (T[N,8] p) { p = MatMul(x, w) },
                   else_branch = q () => (T[N,8] q) { m = MatMul(x, w) q = Neg(m) }> }""",
}


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("mode", ["static", "dynamic"])
@pytest.mark.parametrize("body", BODIES)
def test_integers_in_a_body(body: str, mode: Literal["static", "dynamic"], tmp_path: Path) -> None:
    """What a body gives out keeps its type: the Cast is inside."""
    constants = {"s": weight(24, 24), "w": weight(8, 24).T, "zero": np.array(0)}
    used = {name: each for name, each in constants.items() if f"{name})" in BODIES[body]}
    path = save_in(tmp_path / "m.onnx", BODIES[body], "float16", **used)
    recipe = Recipe(scheme="w8a8", mode=mode)
    found = made(path, recipe, normal(64, 24).astype(np.float16))
    assert sum(found.kernels().values()) == 2
    assert sqnr(found.before, found.after) > 30


@pytest.mark.parametrize("dtype", ["float16", "double"])
def test_what_is_measured_does_not_depend_on_sizes(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = (
        f"g ({dtype}[N,64] x) => ({dtype}[N,64] y) {{ a = Mul(x, x) b = MatMul(a, w) y = Relu(b) }}"
    )
    x, w = normal(100, 64).astype(TYPES[dtype]), weight(64, 64).astype(TYPES[dtype])
    found = []
    for fetched in (0, 1 << 20):
        monkeypatch.setattr("qtool.calibrate.measuring.FETCHED", fetched)
        stream = Stream(build(graph, w=w), ["x", "a", "b"], most=1024, threads=1)
        stream.see({"x": x}, (3,), 0)
        found.append(stream.histograms())
    for name, values in (("x", x), ("a", x * x), ("b", (x * x) @ w)):
        one, other = (each[name] for each in found)
        assert one.bins.tobytes() == other.bins.tobytes()
        assert one.counts.tobytes() == other.counts.tobytes()
        assert (one.low, one.high) == (other.low, other.high)
        assert (one.low, one.high) == pytest.approx((values.min(), values.max()), rel=2e-3)


@pytest.mark.parametrize("dtype", ["float16", pytest.param("double", marks=pytest.mark.slow)])
def test_the_commands(dtype: str, tmp_path: Path) -> None:
    path, x = saved(tmp_path, "attention", dtype), samples("attention", dtype, 48)
    np.save(tmp_path / "x.npy", x)
    output, report = tmp_path / "out.onnx", tmp_path / "run.json"
    data: list[object] = ["--data", tmp_path / "x.npy"]

    def qtool(*arguments: object) -> None:
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exit_code == 0, result.stderr

    qtool("inspect", path)
    qtool("calibrate", path, *data, "-o", tmp_path / "a.calib")
    # What stays float is in the statistics too: one file serves many choices.
    qtool("quantize", path, "--calibration", tmp_path / "a.calib", "--exclude", "op:Add", "-o",
          tmp_path / "other.onnx")  # fmt: skip
    qtool("quantize", path, *data, "-o", output)
    qtool("compare", path, output, *data, "--gate", "sqnr >= 30dB", "--layers", "--json", report)
    assert Session(output).signature == Session(path).signature
