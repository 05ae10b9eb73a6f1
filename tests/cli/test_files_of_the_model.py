"""The files that a model lies in: never written to, and they must not change meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from typer.testing import Result

from qtool import model as models
from qtool import workflow
from qtool.errors import ModelError
from qtool.recipe import Recipe
from qtool.target import load_target
from tests.models import normal, save, weight

GRAPH = "g (float[N,48] x) => (float[N,48] y) { a = MatMul(x, w) b = Tanh(a) y = MatMul(b, v) }"


def made(path: Path, seed: int = 0) -> Path:
    """A model whose weights lie in a file beside it."""
    save(path, GRAPH, w=weight(48, 48, seed=seed), v=weight(48, 48, seed=seed + 1))
    onnx.save(
        onnx.load(path), path, save_as_external_data=True, location=f"{path.stem}.data",
        size_threshold=100,
    )  # fmt: skip
    return path


@pytest.mark.parametrize("option", ["-o", "--save-recipe"])
def test_the_file_of_its_weights_is_no_output(
    option: str, qtool: Callable[..., Result], tmp_path: Path
) -> None:
    data = made(tmp_path / "m.onnx").with_suffix(".data")
    before = data.read_bytes()
    result = qtool("quantize", tmp_path / "m.onnx", "--scheme", "w8", "-f", option, data)
    assert result.exit_code == 2 and "m.data is an input" in result.stderr
    assert data.read_bytes() == before


def test_nor_of_a_calibration(qtool: Callable[..., Result], tmp_path: Path) -> None:
    data = made(tmp_path / "m.onnx").with_suffix(".data")
    before, rows = data.read_bytes(), tmp_path / "x.npy"
    np.save(rows, normal(8, 48))
    result = qtool("calibrate", tmp_path / "m.onnx", "--data", rows, "-f", "-o", data)
    assert result.exit_code == 2 and "m.data is an input" in result.stderr
    assert data.read_bytes() == before


@pytest.mark.parametrize("which", ["m.onnx", "m.data"])
@pytest.mark.parametrize("how", ["replaced", "rewritten"])
@pytest.mark.parametrize("when", ["prepared", "written"])
def test_what_changes_meanwhile_is_told(which: str, how: str, when: str, tmp_path: Path) -> None:
    """The weights are read when they are needed: half of the old ones and half of the new ones
    would pass for a model."""
    path, output = made(tmp_path / "m.onnx"), tmp_path / "q.onnx"
    job = workflow.open_job(path, Recipe(scheme="w8").weights_only(), load_target("cpu"))
    if when == "written":
        workflow.check_preparation(job, None)
        result = workflow.build(job, None)
    target, other = tmp_path / which, tmp_path / "other"
    shutil.copy(target, other)
    if how == "replaced":
        other.replace(target)
    else:
        target.write_bytes(other.read_bytes())
    with pytest.raises(ModelError, match=f"{which} changed while it was read"):
        if when == "prepared":
            workflow.check_preparation(job, None)
        else:
            workflow.write(job, result, output, None)
    assert not output.exists()


def test_also_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = made(tmp_path / "m.onnx"), tmp_path / "other"
    shutil.copy(path, other)
    load = models.load

    def slowly(of: Path) -> ir.Model:
        model = load(of)
        other.replace(path)
        return model

    monkeypatch.setattr(models, "load", slowly)
    job = workflow.open_job(path, Recipe(scheme="w8").weights_only(), load_target("cpu"))
    with pytest.raises(ModelError, match="changed while it was read"):
        workflow.check_preparation(job, None)
