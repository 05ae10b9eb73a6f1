"""Double, bfloat16 and float16 models: what does not fit, has 16 bits already, or cannot run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qtool import workflow
from qtool.errors import ModelError
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.float_models import FORMS, made, samples, save_in, saved
from tests.models import normal, save, sqnr, weight


@pytest.mark.usefixtures("any_size")
def test_values_beyond_float32_stay_double(tmp_path: Path) -> None:
    graph = """g (T[N,24] x) => (T[N,8] y) {
        h = MatMul(x, huge) t = Tanh(h) c = Clip(t, , most) y = MatMul(c, w) }"""
    huge = weight(16, 24).T.astype(np.float64)
    huge[3, 2] = 1e300
    path = save_in(tmp_path / "m.onnx", graph, "double", huge=huge, w=weight(8, 16).T,
                   most=np.float64(1.7e308))  # fmt: skip
    found = made(path, FORMS["w8a8"], normal(32, 24).astype(np.float64))
    reasons = found.result.plan.skipped.values()
    assert "huge holds values beyond float32" in reasons
    assert "QuantizeLinear" in [n.op_type for n in found.graph.node]
    assert sqnr(found.before, found.after) > 30


@pytest.mark.usefixtures("any_size")
def test_activations_beyond_float32_saturate(tmp_path: Path) -> None:
    graph = "g (T[N,24] x) => (T[N,8] y) { h = Mul(x, k) y = MatMul(h, w) }"
    path = save_in(tmp_path / "m.onnx", graph, "double", k=np.array(1e38), w=weight(8, 24).T)
    x = np.clip(normal(32, 24), -9, 9).astype(np.float64)
    found = made(path, FORMS["w8a8"], x)
    assert np.isfinite(found.after).all()


def test_nan_in_a_float16_weight(tmp_path: Path) -> None:
    w = weight(8, 24).T.copy()
    w[1, 1] = np.nan
    path = save_in(tmp_path / "m.onnx", "g (T[N,24] x) => (T[N,8] y) { y = MatMul(x, w) }",
                   "float16", w=w)  # fmt: skip
    job = workflow.open_job(path, FORMS["w8a8"].checked(), load_target("cpu"))
    assert list(job.sites.skipped.values()) == ["w holds NaN or Inf"]


@pytest.mark.parametrize("target", ["cpu", "portable"])
def test_fp16_of_a_double_model_is_a_quarter_of_it(target: str, tmp_path: Path) -> None:
    path = saved(tmp_path, "attention", "double")
    found = made(path, Recipe(scheme="fp16"), samples("attention", "double"), target)
    assert sqnr(found.before, found.after) > 60
    assert found.ratio < 0.28
    assert not found.result.plan.widened


@pytest.mark.parametrize("target", ["cpu", "portable"])
@pytest.mark.parametrize("scheme", ["fp16", "bf16"])
def test_a_float16_model_has_16_bits_already(scheme: str, target: str, tmp_path: Path) -> None:
    path = saved(tmp_path, "cnn", "float16")
    with pytest.raises(ModelError, match="nothing to quantize"):
        made(path, Recipe(scheme=scheme), samples("cnn", "float16"), target)
    job = workflow.open_job(path, Recipe(scheme=scheme).checked(), load_target(target))
    assert set(job.sites.skipped.values()) == {"it is in float16 already"}


@pytest.mark.usefixtures("any_size")
def test_bfloat16_weights_behind_casts(tmp_path: Path) -> None:
    """The usual export: stored in bfloat16, computed in float32."""
    graph = """g (float[N,64] x) => (float[N,32] y) {
        w32 = Cast<to=1>(w) b32 = Cast<to=1>(b) y = Gemm(x, w32, b32) }"""
    path = save_in(tmp_path / "m.onnx", graph, "bfloat16", w=weight(32, 64).T, b=normal(32))
    found = made(path, FORMS["w8a8"], normal(32, 64))
    assert found.kernels() == {"QGemm": 1}
    assert found.ratio < 0.8
    assert sqnr(found.before, found.after) > 35


@pytest.mark.parametrize("target", ["cpu", "portable"])
def test_a_bfloat16_table_stays_so_between_its_lookup_and_a_cast(
    target: str, tmp_path: Path
) -> None:
    graph = """g (int64[N] x) => (float[N,64] y) {
        e = Gather(table, x) n = LayerNormalization(e, ln) y = Cast<to=1>(n) }"""
    table, ln = normal(100, 64), np.abs(normal(64, seed=3)) + 0.5
    path = save_in(tmp_path / "m.onnx", graph, "bfloat16", table=table, ln=ln)
    found = made(path, FORMS["w8"], np.arange(100), target)
    assert sqnr(found.before, found.after) > 35
    assert found.ratio < 0.65
    assert [n.op_type for n in found.graph.node][-2:] == ["LayerNormalization", "Cast"]


@pytest.mark.parametrize(
    ("name", "dtype", "operator"),
    [("cnn", "double", "Conv"), ("cnn", "bfloat16", "Conv"), ("attention", "bfloat16", "MatMul")],
)
def test_what_the_runtime_cannot_run_is_said(
    name: str, dtype: str, operator: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, name, dtype)
    with pytest.raises(ModelError, match=f"no CPU kernel for {operator} as") as error:
        workflow.open_job(path, FORMS["w8"].checked(), load_target("cpu"))
    assert "float32 or float16" in error.value.fix


def test_bfloat16_at_the_ends_is_said(tmp_path: Path) -> None:
    graph = """g (bfloat16[N,64] x) => (bfloat16[N,32] y) {
        c = Cast<to=1>(x) z = MatMul(c, w) y = Cast<to=16>(z) }"""
    path = save(tmp_path / "m.onnx", graph, w=weight(32, 64).T.copy())
    with pytest.raises(ModelError, match="'x' is bfloat16, which cannot be fed or read"):
        Session(path).run({"x": normal(4, 64)})
    # Weights need no run.
    job = workflow.open_job(path, FORMS["w8"].checked(), load_target("cpu"))
    result = workflow.build(job, None)
    output = tmp_path / "w8.onnx"
    assert not workflow.write(job, result, output, None).run
    assert Session(output).signature == Session(path).signature
