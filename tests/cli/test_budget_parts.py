"""The samples and files of a search: which are kept apart, and when what was tried counts again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from tests.models import normal, save, weight

Run = Callable[..., Result]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """m.onnx, and data/ with 60 samples."""
    graph = """g (float[N,16] x) => (float[N,5] y) {
        a = MatMul(x, w0) b = Relu(a) y = MatMul(b, w1) }"""
    save(tmp_path / "m.onnx", graph, w0=weight(16, 32), w1=weight(32, 5))
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "x.npy", normal(60, 16))
    return tmp_path


def quantize(qtool: Run, place: Path, *more: object, output: str = "out.onnx") -> Result:
    fixed = ("--data", place / "data", "-o", place / output, "--placement", "all", "-f")
    return qtool("quantize", place / "m.onnx", *fixed, *more)


def journal(place: Path) -> Any:
    return json.loads((place / "out.search.json").read_text())


@pytest.mark.parametrize("scheme", ["w4a8", "w4"])
def test_the_recipe_makes_the_same_file(qtool: Run, place: Path, scheme: str) -> None:
    found = quantize(qtool, place, "--scheme", scheme, "--max-drop", "90pp")
    assert "20 samples to calibrate on, 20 to choose by, 20 to report" in found.stderr
    result = quantize(qtool, place, "--recipe", place / "out.toml", output="again.onnx")
    assert result.exit_code == 0, result.stderr
    assert (place / "again.onnx").read_bytes() == (place / "out.onnx").read_bytes()


def test_what_is_calibrated_on_is_not_judged_on(qtool: Run, place: Path) -> None:
    options = ("--eval", place / "data", "--max-drop", "90pp")
    result = quantize(qtool, place, *options, "--samples", "40")
    assert "40 samples to calibrate on, 10 to choose by, 10 to report on" in result.stderr
    assert "left out 40 samples" in result.stderr
    result = quantize(qtool, place, *options)
    assert result.exit_code == 4
    assert "60 of 60 hold what is calibrated on" in result.stderr


def test_a_fixed_batch_is_filled_in_each_part(qtool: Run, place: Path) -> None:
    graph = "g (float[4,16] x) => (float[4,5] y) { y = MatMul(x, w) }"
    save(place / "m.onnx", graph, w=weight(16, 5))
    result = quantize(qtool, place, "--max-drop", "90pp", "--batch-size", 4, "--samples", 18)
    assert "16 samples to calibrate on, 20 to choose by, 20 to report on" in result.stderr
    result = quantize(qtool, place, "--max-drop", "90pp")
    assert result.exit_code == 2
    assert "add  --batch-size 4" in result.stderr


@pytest.mark.slow
def test_other_labels_or_scorers_are_another_search(qtool: Run, place: Path) -> None:
    options = ("--max-drop", "90pp")
    assert "choices are known" not in quantize(qtool, place, *options).stderr
    assert "1 choices are known" in quantize(qtool, place, *options).stderr
    np.save(place / "data" / "labels.npy", np.arange(60) % 5)
    assert "choices are known" not in quantize(qtool, place, *options).stderr
    assert journal(place)["report"]["metric"] == "top1"
    np.save(place / "data" / "labels.npy", (np.arange(60) + 1) % 5)
    assert "choices are known" not in quantize(qtool, place, *options).stderr
    scorer = place / "s.py"
    for value in (1, 2):
        scorer.write_text(f"def own(outputs): return {value}")
        given = ("--scorer", f"{scorer}:own", "--max-drop", "1")
        assert "choices are known" not in quantize(qtool, place, *given).stderr
    assert journal(place)["report"]["metric"] == "own"


@pytest.mark.parametrize(
    "damage",
    ["trials", "cut", *(pytest.param(d, marks=pytest.mark.slow) for d in ("loss", "other"))],
)
def test_a_damaged_journal_is_begun_anew(qtool: Run, place: Path, damage: str) -> None:
    options = ("--max-drop", "90pp")
    quantize(qtool, place, *options)
    path = place / "out.search.json"
    table = journal(place)
    if damage == "trials":
        table["trials"] = [{"recipe": "x"}]
    elif damage == "loss":
        table["trials"][0]["loss"] = None
    elif damage == "other":
        table = []
    text = json.dumps(table)
    path.write_text(text[: len(text) // 2] if damage == "cut" else text)
    result = quantize(qtool, place, *options)
    assert result.exit_code == 0, result.stderr
    assert "choices are known" not in result.stderr
    assert journal(place)["done"] is True


@pytest.mark.parametrize(
    ("output", "more", "said"),
    [
        ("out.toml", (), "two results go to"),
        ("out.onnx", ("--save-recipe", "out.search.json"), "two results go to"),
        ("data/x.npy", (), "x.npy is an input"),
        ("out.onnx", ("--save-recipe", "data/x.npy"), "x.npy is an input"),
    ],
)
def test_places_that_are_taken(
    qtool: Run, place: Path, output: str, more: tuple[str, ...], said: str
) -> None:
    before = (place / "data" / "x.npy").read_bytes()
    paths = [each if each.startswith("-") else place / each for each in more]
    result = quantize(qtool, place, "--max-drop", "90pp", *paths, output=output)
    assert result.exit_code == 2, result.stderr
    assert said in result.stderr
    assert (place / "data" / "x.npy").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--max-drop", ""), "is no budget"),
        (("--max-size", ""), "is no size"),
        (("--target-bits", "4", "--scheme", "fp16"), "fp16 has none"),
    ],
)
def test_what_means_nothing(qtool: Run, place: Path, options: tuple[str, ...], said: str) -> None:
    result = quantize(qtool, place, *options)
    assert result.exit_code == 2, result.stderr
    assert said in result.stderr
