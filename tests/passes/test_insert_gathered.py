"""Tables that are looked up as integers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from qtool import workflow
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.models import Array, as_run, normal, operators, save, sqnr

slow = partial(pytest.param, marks=pytest.mark.slow)
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


@pytest.mark.parametrize(
    ("scheme", "least"),
    [
        ("w4", 18),
        slow("w4u", 19),
        slow("w4b32", 20),
        ("w4ub32", 21),
        slow("w2ub16", 9),
        slow("w8b32", 44),
    ],
)
def test_codes_of_fewer_bits_are_widened_to_bytes_once(
    scheme: str, least: float, tmp_path: Path
) -> None:
    path = model(tmp_path / "m.onnx")
    result = made(path, scheme)
    assert {w.encoding for w in result.plan.weights.values()} == {"gathered"}
    optimized = as_run(result.data, tmp_path)
    kinds = {t.data_type for t in optimized.graph.initializer if list(t.dims) == [ROWS, 128]}
    assert kinds <= {2, 3}  # uint8, int8
    assert operators(optimized).count("DequantizeLinear") == ("b" in scheme)
    before, after = Session(path), Session(result.data)
    assert sqnr(before.run({"i": IDS})["y"], after.run({"i": IDS})["y"]) > least


def test_blocks_that_do_not_fill_a_row(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", normal(10_600, 100, seed=5))
    result = made(path, "w4ub32")
    assert {w.encoding for w in result.plan.weights.values()} == {"gathered"}
    before, after = Session(path), Session(result.data)
    assert sqnr(before.run({"i": IDS})["y"], after.run({"i": IDS})["y"]) > 20


def test_a_small_table_is_restored_when_loaded(tmp_path: Path) -> None:
    result = made(model(tmp_path / "m.onnx", TABLE[:100]), "w8")
    assert {w.encoding for w in result.plan.weights.values()} == {"cast-mul"}
    assert "Cast" not in operators(as_run(result.data, tmp_path))
