"""Tables that are looked up as integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qtool import workflow
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.models import Array, as_run, normal, operators, save, sqnr

ROWS = 1 << 13
TABLE = normal(ROWS, 128, seed=3) * np.exp(normal(ROWS, 1, seed=4))
IDS = np.array([[0, 5, ROWS - 1, -1], [7, 7, 0, 600]])


def made(path: Path, scheme: str) -> workflow.Quantized:
    job = workflow.open_job(path, Recipe(scheme=scheme), load_target("cpu"), threads=1)
    workflow.check_preparation(job, None)
    return workflow.build(job, None)


def model(path: Path, table: Array = TABLE, axis: int = 0) -> Path:
    graph = f"g (int64[N,4] i) => (float[A,B,C] y) {{ y = Gather<axis={axis}>(w, i) }}"
    return save(path, graph, w=table)


@pytest.mark.parametrize("scheme", ["w8", "w8u", "w8t", "w16", "w7"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_codes_are_looked_up(scheme: str, axis: int, tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", TABLE if axis == 0 else TABLE.T.copy(), axis)
    result = made(path, scheme)
    assert {w.encoding for w in result.plan.weights.values()} == {"gathered"}
    optimized = as_run(result.data, tmp_path)
    kinds = {t.name: t.data_type for t in optimized.graph.initializer if len(t.dims) == 2}
    # 1 is float: only scales, with one value a row
    assert all(kind != 1 or 1 in t.dims for t in optimized.graph.initializer
               for kind in [kinds.get(t.name)])  # fmt: skip
    assert operators(optimized).count("Gather") == (
        1 if scheme.endswith("t") else 3 if "u" in scheme else 2
    )
    before, after = Session(path), Session(result.data)
    assert after.signature == before.signature
    worst = 9 if scheme == "w8t" else 33 if scheme == "w7" else 40
    assert sqnr(before.run({"i": IDS})["y"], after.run({"i": IDS})["y"]) > worst


@pytest.mark.parametrize("scheme", ["w4", "w2"])
def test_the_runtime_looks_up_no_half_bytes(scheme: str, tmp_path: Path) -> None:
    result = made(model(tmp_path / "m.onnx"), scheme)
    assert {w.encoding for w in result.plan.weights.values()} == {"cast-mul"}


def test_a_small_table_is_restored_when_loaded(tmp_path: Path) -> None:
    result = made(model(tmp_path / "m.onnx", TABLE[:100]), "w8")
    assert {w.encoding for w in result.plan.weights.values()} == {"cast-mul"}
    assert "Cast" not in operators(as_run(result.data, tmp_path))


def test_a_table_that_is_the_last_layer_too(tmp_path: Path) -> None:
    graph = """g (int64[N,4] i) => (float[N,4,8192] y) {
        h = Gather(w, i) t = Transpose<perm=[1,0]>(w) y = MatMul(h, t) }"""
    path = save(tmp_path / "m.onnx", graph, w=TABLE)
    result = made(path, "w8")
    assert len(result.data) < 0.55 * path.stat().st_size  # each layout in bytes
    before, after = Session(path), Session(result.data)
    assert sqnr(before.run({"i": IDS})["y"], after.run({"i": IDS})["y"]) > 36
    assert len(result.plan.weights) == 2  # the plan lists both
