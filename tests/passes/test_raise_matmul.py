"""A product that stays float is what it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from qtool.recipe import Recipe
from tests.cases import quantized
from tests.models import as_run, normal, operators, save, weight

GRAPH = """g (float[N,32] x, float[N,32] z) => (float[N,32] y) {
    a = MatMul(x, w) s = Add(a, z) y = Tanh(s) }"""


@pytest.mark.parametrize("scheme", ["w8", "fp16", "float"])
def test_the_runtime_makes_one_operator_of_it_again(scheme: str, tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", GRAPH, w=weight(32, 32))
    before = operators(as_run(path.read_bytes(), tmp_path))
    made = quantized(path, Recipe(scheme=scheme), None)
    assert operators(as_run(made.data, tmp_path)) == before == ["FusedGemm"]


def test_a_product_of_integers_stays_one(tmp_path: Path) -> None:
    graph = GRAPH.replace(", float[N,32] z", "").replace("Add(a, z)", "Add(a, x)")
    path = save(tmp_path / "m.onnx", graph, w=weight(32, 32))
    made = quantized(path, Recipe(), normal(64, 32))
    assert "QGemm" in operators(as_run(made.data, tmp_path))
