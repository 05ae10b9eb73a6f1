"""Weights alone: packed where the runtime gains by packed products, else unpacked at load."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from qtool import model as models
from qtool import workflow
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.models import as_run, normal, operators, save, sqnr, weight

LARGE = "g (float[N,256] x) => (float[N,512] y) { y = MatMul(x, w) }"
TABLE = """g (int64[N,T] ids) => (float[N,T,48] y) { e = Gather(table, ids) y = Tanh(e) }"""
LSTM = 'g (float[T,N,8] x) => (float[2,N,16] y) { h, y = LSTM<hidden_size=16, direction="bidirectional">(x, w, r) }'  # noqa: E501


def written(path: Path, scheme: str, target: str = "cpu", **more: object) -> workflow.Quantized:
    recipe = Recipe.model_validate({"scheme": scheme, **more}).weights_only()
    return workflow.build(workflow.open_job(path, recipe, load_target(target)), None)


@pytest.mark.parametrize("scheme", ["w8", "w4", "w8u", "w4b32", "w2b64"])
def test_a_large_matrix_is_multiplied_packed(scheme: str, tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", LARGE, w=weight(512, 256).T.copy())
    made = written(path, scheme)
    assert {w.encoding for w in made.plan.weights.values()} == {"dq"}
    assert operators(as_run(made.data, tmp_path)) == ["MatMulNBits"]


@pytest.mark.parametrize("scheme", ["w8", "w4b32"])
@pytest.mark.parametrize("other", ["w", "same", "opposite"])
def test_a_large_matrix_is_not_dequantized_on_every_run(
    scheme: str, other: str, tmp_path: Path
) -> None:
    # The runtime packs none whose codes or scales another product reads.
    graph = "g (float[N,512] x) => (float[N,512] y) {{ a = MatMul(x, w) y = MatMul(a, {}) }}"
    w = weight(512, 512)
    constants = {"w": w, "same": w.copy(), "opposite": -w}
    used = {name: constants[name] for name in {"w", other}}
    made = written(save(tmp_path / "m.onnx", graph.format(other), **used), scheme)
    kernel = "MatMul" if other == "w" else "MatMulNBits"
    assert operators(as_run(made.data, tmp_path)) == [kernel] * 2


@pytest.mark.parametrize("scheme", ["w8", "w4b32", "w4b128", "w3ub16"])
@pytest.mark.parametrize("rows", [64, 80])  # blocks of 32 do not divide 80
def test_a_small_matrix_is_unpacked_at_load(scheme: str, rows: int, tmp_path: Path) -> None:
    graph = f"g (float[N,{rows}] x) => (float[N,96] y) {{ y = MatMul(x, w) }}"
    path = save(tmp_path / "m.onnx", graph, w=weight(96, rows).T.copy())
    made = written(path, scheme)
    assert {w.encoding for w in made.plan.weights.values()} == {"cast-mul"}
    assert operators(as_run(made.data, tmp_path)) == ["MatMul"]
    x = normal(32, rows)
    before, after = Session(path).run({"x": x})["y"], Session(made.data).run({"x": x})["y"]
    assert sqnr(before, after) > {"w8": 38, "w3ub16": 12}.get(scheme, 16)


@pytest.mark.parametrize("bits", [8, 4])
def test_each_row_of_a_table_has_a_scale(bits: int, tmp_path: Path) -> None:
    table = normal(64, 48) * np.logspace(-3, 3, 64, dtype=np.float32)[:, None]
    path = save(tmp_path / "m.onnx", TABLE, table=table)
    made = written(path, f"w{bits}")
    assert operators(as_run(made.data, tmp_path)) == ["Gather", "Tanh"]
    (plan,) = made.plan.weights.values()
    assert plan.params.scale.shape == (64, 1)
    ids = np.arange(64)[None]
    before, after = Session(path).run({"ids": ids})["y"], Session(made.data).run({"ids": ids})["y"]
    for row in range(20):  # the small ones, where tanh is a straight line, lose no more than others
        assert sqnr(before[0, row], after[0, row]) > 6 * bits - 12


def test_a_table_in_static_mode_is_stored_too(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", TABLE, table=normal(64, 48))
    job = workflow.open_job(path, Recipe(), load_target("cpu"))
    assert [site.form for site in job.sites.weights] == ["stored"]
    assert not job.sites.activations


def test_each_gate_of_each_direction_has_a_scale(tmp_path: Path) -> None:
    w, r = weight(2, 64, 8), weight(2, 64, 16)
    w[1] *= 1000
    path = save(tmp_path / "m.onnx", LSTM, w=w, r=r)
    made = written(path, "w8")
    assert operators(as_run(made.data, tmp_path)) == ["LSTM"]
    assert [p.params.scale.shape for p in made.plan.weights.values()] == [(2, 64, 1)] * 2
    for plan, values in zip(made.plan.weights.values(), (w, r), strict=True):
        stored = 8 * np.abs(values).max(axis=2, keepdims=True) / 127 / 8
        np.testing.assert_allclose(plan.params.scale, stored, rtol=1e-6)


@pytest.mark.parametrize("scheme", ["w8", "w4", "w4b32", "w8u"])
def test_the_portable_target_writes_dequantize_linear_everywhere(
    scheme: str, tmp_path: Path
) -> None:
    graphs = {
        LARGE: {"w": weight(512, 256).T.copy()},
        TABLE: {"table": normal(64, 48)},
        LSTM: {"w": weight(2, 64, 8), "r": weight(2, 64, 16)},
        "g (float[N,8,6,6] x) => (float[N,8,6,6] y) { y = ConvTranspose(x, w) }": {
            "w": weight(8, 8, 1, 1)
        },
    }
    for graph, constants in graphs.items():
        path = save(tmp_path / "m.onnx", graph, **constants)
        made = written(path, scheme, "portable")
        models.check(made.data)
        (tmp_path / "q.onnx").write_bytes(made.data)
        found = Counter(operators(models.load(tmp_path / "q.onnx")))
        assert found["DequantizeLinear"] == len(constants)
        assert not found["Cast"] + found["Mul"]
        Session(made.data)


def test_what_is_computed_is_no_weight(tmp_path: Path) -> None:
    graph = LSTM.replace("h, y", "v = Neg(w) h, y").replace("(x, w, r)", "(x, v, r)")
    graph = graph.replace("float[T,N,8] x", "float[T,N,8] x, float[2,64,8] w")
    path = save(tmp_path / "m.onnx", graph, r=weight(2, 64, 16))
    job = workflow.open_job(path, Recipe(scheme="w8"), load_target("cpu"))
    assert not job.sites.weights
    assert "its weights are computed, not constant" in job.sites.skipped.values()
