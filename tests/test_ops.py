"""Each row of the table of operators: quantized in a small model, it stays close to float."""

from __future__ import annotations

from pathlib import Path

import pytest

from qtool import model as models
from qtool.ops import OPS
from qtool.recipe import Recipe
from qtool.runtime import Session
from tests.cases import CASES, quantized
from tests.models import normal, sqnr

SAMPLES = normal(128, 4, 8, 8, seed=20)  # of few samples, the tails are not known


@pytest.mark.parametrize("operator", OPS)
def test_w8a8_stays_close_to_float(operator: str, tmp_path: Path) -> None:
    assert operator in CASES, f"tests/cases.py: give {operator} a model"
    path = CASES[operator].save(tmp_path / "model.onnx")
    result = quantized(path, Recipe(), SAMPLES)
    models.check(result.data)
    before, after = Session(path), Session(result.data)
    assert after.signature == before.signature
    unseen = normal(32, 4, 8, 8, seed=21)
    noise = sqnr(before.run({"x": unseen})["y"], after.run({"x": unseen})["y"])
    assert noise > 25


@pytest.mark.parametrize("operator", [name for name, spec in OPS.items() if spec.weights])
@pytest.mark.parametrize("scheme", ["w8", "w8u", "w8t", "w4b32"])
def test_weights_only(operator: str, scheme: str, tmp_path: Path) -> None:
    path = CASES[operator].save(tmp_path / "model.onnx")
    result = quantized(path, Recipe(scheme=scheme), None)
    models.check(result.data)
    assert not result.plan.activations
    before, after = Session(path), Session(result.data)
    assert after.signature == before.signature
    found = after.run({"x": SAMPLES})["y"]
    # 6 dB a bit: 8 bits have lost less than 30 dB where 4 bits may lose all but 12.
    assert sqnr(before.run({"x": SAMPLES})["y"], found) > (12 if scheme == "w4b32" else 30)


def test_there_is_no_case_without_a_row() -> None:
    assert set(CASES) == set(OPS)
