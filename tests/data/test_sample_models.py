"""The folders of sample_models, fed to their models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from typer.testing import CliRunner

from qtool import model
from qtool.cli.boundary import ErrorBoundary
from qtool.cli.data import data as data_command
from qtool.data import Dataset, open_dataset

SAMPLES = Path(__file__).parents[2] / "sample_models"


def opened(name: str) -> tuple[Dataset, Path]:
    path = SAMPLES / name / "model.onnx"
    return open_dataset(SAMPLES / name / "calib", model.signature(model.load(path))), path


@pytest.mark.parametrize(
    ("name", "count", "least"),
    [("digits_cnn", 270, 0.97), ("digits_mobile", 270, 0.97), ("text_transformer", 288, 0.8)],
)
def test_labels_and_preprocessing_agree_with_training(name: str, count: int, least: float) -> None:
    data, path = opened(name)
    assert len(data) == count and data.labels is not None
    session = onnxruntime.InferenceSession(path)
    logits = [session.run(None, batch)[0] for batch in data.batches(16)]
    assert np.mean(np.concatenate(logits).argmax(-1) == data.labels) > least


def run(*arguments: str) -> tuple[int, str]:
    import typer

    app = typer.Typer(cls=ErrorBoundary)
    app.command("data")(data_command)
    app.callback()(lambda: None)
    result = CliRunner().invoke(app, ["data", *arguments])
    return result.exit_code, result.output


def test_command() -> None:
    folder = SAMPLES / "digits_cnn"
    code, output = run(str(folder / "calib"), "--model", str(folder / "model.onnx"))
    assert code == 0
    lines = output.splitlines()
    assert lines[0] == ("used 256 of 270 files (seed 0), float32 (1, 8, 8), range -0.8113 … 1.852")
    assert lines[1] == "the model takes image float32 (batch, 1, 8, 8)"
    assert lines[2].startswith('declared for image: color = "gray", ')
    assert lines[4].startswith("labels: 10 classes: 0 × ")
    assert lines[5:7] == ["examples:", "  0/018.png, label 0"]


def test_command_with_bad_files(tmp_path: Path) -> None:
    model_path = str(SAMPLES / "digits_mobile" / "model.onnx")
    for number in range(8):
        np.save(tmp_path / f"[red]{number}.npy", np.zeros((1, 16, 16), np.float32))
    for number in range(1, 8):
        np.save(tmp_path / f"[red]{number}.npy", np.zeros((1, 16, 15), np.float32))
    code, output = run(str(tmp_path), "--model", model_path)
    assert code == 4
    assert "7 of 8 samples cannot be used" in output and "and 2 more" in output
    code, output = run(str(tmp_path), "--model", model_path, "--on-bad-file", "skip")
    assert code == 0
    assert "used 1 of 8 files" in output and "left out 7 bad files:" in output
    assert "  [red]7.npy" in output.splitlines() and "no labels" in output
