"""Tables of 4 bits that stay packed, by the runtime's own GatherBlockQuantized."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from qtool import workflow
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.models import as_run, normal, operators, save, sqnr

slow = partial(pytest.param, marks=pytest.mark.slow)
ROWS = 10_600
IDS = np.array([[0, 5, ROWS - 1, -1], [7, 7, 0, 600]])


def made(path: Path, recipe: Recipe, target: str = "cpu") -> workflow.Quantized:
    job = workflow.open_job(path, recipe, load_target(target), threads=1)
    return workflow.build(job, None)


def model(path: Path, rows: int = ROWS, width: int = 100) -> Path:
    graph = "g (int64[N,4] i) => (float[N,4,W] y) { y = Gather(w, i) }"
    return save(path, graph, w=normal(rows, width, seed=5))


@pytest.mark.parametrize(
    "scheme", [slow("w4"), slow("w4u"), "w3", slow("w4t"), slow("w4b32"), "w4ub16", slow("w4b256")]
)
def test_rows_are_looked_up_packed(scheme: str, tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx")
    found = made(path, Recipe(scheme=scheme, contrib=True))
    assert {w.encoding for w in found.plan.weights.values()} == {"packed-rows"}
    assert operators(as_run(found.data, tmp_path)) == ["GatherBlockQuantized"]
    written = onnx.load_from_string(found.data)
    assert {each.domain: each.version for each in written.opset_import}["com.microsoft"] == 1
    plain = made(path, Recipe(scheme=scheme))
    results = [Session(each).run({"i": IDS})["y"] for each in (path, found.data, plain.data)]
    np.testing.assert_allclose(results[1], results[2], rtol=1e-6, atol=1e-6)
    assert sqnr(*results[:2]) > (10 if scheme in ("w3", "w4t") else 15)


@pytest.mark.parametrize("scheme", ["w8", slow("w2")])
def test_what_the_operator_does_not_take_is_looked_up_as_bytes(scheme: str, tmp_path: Path) -> None:
    found = made(model(tmp_path / "m.onnx"), Recipe(scheme=scheme, contrib=True))
    assert {w.encoding for w in found.plan.weights.values()} == {"gathered"}
    assert "com.microsoft" not in {e.domain for e in onnx.load_from_string(found.data).opset_import}


def test_a_small_table_gains_nothing(tmp_path: Path) -> None:
    found = made(model(tmp_path / "m.onnx", rows=100), Recipe(scheme="w4b32", contrib=True))
    assert {w.encoding for w in found.plan.weights.values()} == {"cast-mul"}


def test_other_runtimes_get_the_standard(tmp_path: Path) -> None:
    found = made(model(tmp_path / "m.onnx"), Recipe(scheme="w4b32", contrib=True), "portable")
    assert {w.encoding for w in found.plan.weights.values()} == {"dq"}


@pytest.mark.parametrize("scheme", ["w4ub32", slow("w4")])
def test_it_can_be_quantized_again(scheme: str, tmp_path: Path) -> None:
    found = made(model(tmp_path / "m.onnx"), Recipe(scheme=scheme, contrib=True))
    path = tmp_path / "q.onnx"
    path.write_bytes(found.data)
    job = workflow.open_job(path, Recipe(scheme="w8"), load_target("cpu"), requantize=True)
    (note,) = workflow.check_preparation(job, {"i": IDS})
    assert "gives the same" in note
    again = workflow.build(job, None)
    assert {w.encoding for w in again.plan.weights.values()} == {"gathered"}
    results = [Session(each).run({"i": IDS})["y"] for each in (path, again.data)]
    assert sqnr(*results) > 38
