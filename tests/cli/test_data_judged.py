"""`qtool data` on what only `compare` heeds: pairs, annotations, classes at each place, keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from tests.models import save

Run = Callable[..., Result]
GRAPH = "g (int64[N,2] x) => (int64[N,2] y) { y = Identity(x) }"


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A folder with x.npy of six samples, and a model for it beside."""
    save(tmp_path / "m.onnx", GRAPH)
    (tmp_path / "set").mkdir()
    np.save(tmp_path / "set" / "x.npy", np.arange(12).reshape(6, 2) + 50_250)
    return tmp_path / "set"


def shown(qtool: Run, folder: Path, *more: object) -> list[str]:
    result = qtool("data", folder, "--model", folder.parent / "m.onnx", *more)
    assert result.exit_code == 0, result.stderr
    return result.stdout.splitlines()


def test_nothing_to_judge_by(qtool: Run, tokens: Path) -> None:
    lines = shown(qtool, tokens)
    assert "no labels" in lines and not any("declared" in line for line in lines)
    assert "    x int64 (2,) 50250 50251" in lines


def test_pairs(qtool: Run, tokens: Path) -> None:
    (tokens / "pairs.csv").write_text("first,second,score\n0,1,0\n2,3,5\nx.npy[5],0,2.5\n4,4,1\n")
    lines = shown(qtool, tokens)
    assert "pairs: 4, scores 0 … 5" in lines and "no labels" not in lines
    lines = shown(qtool, tokens, "--samples", 5, "--seed", 3)
    (line,) = (line for line in lines if line.startswith("pairs"))
    assert line.startswith(("pairs: 2 of 4, scores ", "pairs: 3 of 4, scores "))
    assert line.endswith(", the others are of samples that were not chosen")
    (tokens / "pairs.csv").write_text("first,second,score\n0,1,0\n2,3,5\n4,5,1\n")
    lines = shown(qtool, tokens, "--samples", 1)
    assert "pairs: 0 of 3, the others are of samples that were not chosen" in lines


def test_annotations(qtool: Run, tokens: Path) -> None:
    box = {"category_id": 4, "bbox": [0, 0, 1, 1]}
    truth: dict[str, Any] = {
        "images": [{"id": n, "width": 2, "height": 2} for n in range(6)],
        "annotations": [box | {"image_id": n} for n in (0, 0, 3)],
        "categories": [{"id": 4}],
    }
    (tokens / "annotations.json").write_text(json.dumps(truth))
    lines = shown(qtool, tokens)
    assert "annotations: 6 images, 1 category, 3 boxes" in lines and "no labels" not in lines
    (tokens / "annotations.json").write_text("{}")
    result = qtool("data", tokens, "--model", tokens.parent / "m.onnx")
    assert result.exit_code == 4 and "images: field required" in result.stderr


@pytest.mark.parametrize(
    ("places", "line"),
    [
        (np.arange(12), "classes 0 … 11"),
        (np.arange(12) * 5_000 - 5_000, "classes 0 … 50000, 1 of 12 places left out"),
        (np.full(12, -100), "no classes, 12 of 12 places left out"),
    ],
)
def test_the_class_at_each_place(qtool: Run, tokens: Path, places: Any, line: str) -> None:
    np.save(tokens / "labels.npy", places.reshape(6, 2))
    lines = shown(qtool, tokens)
    assert f"labels: int64 (2,), {line}" in lines
    assert f"  x.npy[5], label {places[10]} {places[11]}" in lines


def test_declared(qtool: Run, tokens: Path) -> None:
    (tokens / "qtool.toml").write_text(
        '[data]\nnext_token = "x"\nmask = "x"\ntarget_range = [0, 1.5]\n'
        '[data.detections]\nlayout = "columns"\noutput = "y"\n[data.inputs.x]\nshape = [2]\n'
    )
    lines = shown(qtool, tokens)
    assert lines[2:5] == [
        "declared for x: shape = [2]",
        'declared for compare: next_token = "x", mask = "x", target_range = [0.0, 1.5]',
        'declared for detections: layout = "columns", output = "y"',
    ]
    assert "no labels" not in lines
