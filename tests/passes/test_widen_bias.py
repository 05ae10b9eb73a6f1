"""A product in integers stays one, whatever is added to it and however much is known of sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

from qtool.recipe import Recipe
from qtool.runtime import Session
from tests.cases import quantized
from tests.models import as_run, normal, operators, save, sqnr, weight


@pytest.mark.parametrize("axes", ["N,6,16", "8,6,16", "N,T,16", "8,2,3,16"])
@pytest.mark.parametrize("bias", [(24,), (1, 24)])
@pytest.mark.parametrize("first", [True, False])
def test_the_product_runs_in_integers(
    axes: str, bias: tuple[int, ...], first: bool, tmp_path: Path
) -> None:
    added = "b, a" if first else "a, b"
    graph = f"g (float[{axes}] x) => (float y) {{ a = MatMul(x, w) y = Add({added}) }}"
    path = save(tmp_path / "m.onnx", graph, w=weight(16, 24), b=normal(*bias))
    samples = normal(*(8 if a == "N" else 6 if a == "T" else int(a) for a in axes.split(",")))
    made = quantized(path, Recipe(), samples)
    assert operators(as_run(made.data, tmp_path)) == [
        "QuantizeLinear", "MatMulIntegerToFloat", "Add",
    ]  # fmt: skip
    before, after = Session(path), Session(made.data)
    assert sqnr(before.run({"x": samples})["y"], after.run({"x": samples})["y"]) > 30


def test_a_bias_that_others_read_stays_as_it_is_for_them(tmp_path: Path) -> None:
    graph = """g (float[8,6,16] x) => (float[8,6,16] y, float[16] z) {
        a = MatMul(x, w) y = Add(a, b) z = Neg(b) }"""
    path = save(tmp_path / "m.onnx", graph, w=weight(16, 16), b=normal(16))
    samples = normal(8, 6, 16)
    made = quantized(path, Recipe(), samples)
    found = Session(made.data).run({"x": samples})
    assert found["z"].shape == (16,)
