"""A URL wherever a data folder is taken: the same answers as from the folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tests.data.remotes import Counted, forget, served, upload

Run = Callable[..., Result]
URL = "counted://bucket/cnn"


@pytest.fixture
def bucket(cnn: Path) -> str:
    """The sample's folders at a URL, with the qtool.toml above them."""
    forget()
    (cnn / "model.onnx").rename(cnn.parent / "model.onnx")
    return upload(cnn, URL)


def good(result: Result) -> str:
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_data(qtool: Run, cnn: Path, bucket: str) -> None:
    model = cnn.parent / "model.onnx"
    remote, local = (
        good(qtool("data", at, "--model", model)) for at in (f"{URL}/eval", cnn / "eval")
    )
    assert remote == local


def test_quantize_and_compare(qtool: Run, cnn: Path, bucket: str) -> None:
    model = cnn.parent / "model.onnx"
    for place, out in ((f"{URL}/calib", "remote"), (cnn / "calib", "local")):
        good(qtool("quantize", model, "--data", place, "--samples", 40, "-o", cnn / out))
    assert (cnn / "remote").read_bytes() == (cnn / "local").read_bytes()
    fetched = [name for name in Counted.fetched if name.endswith(".png")]
    assert 40 <= len(fetched) <= 41

    tables = [
        good(qtool("compare", model, cnn / "local", "--data", place, "--samples", 50))
        for place in (f"{URL}/eval", cnn / "eval")
    ]
    assert tables[0] == tables[1] and "top1" in tables[0]


def test_calibrate(qtool: Run, cnn: Path, bucket: str) -> None:
    model = cnn.parent / "model.onnx"
    for place, out in ((f"{URL}/calib", "remote"), (cnn / "calib", "local")):
        good(qtool("calibrate", model, "--data", place, "--samples", 40, "-o", cnn / out))
    assert (cnn / "remote").read_bytes() == (cnn / "local").read_bytes()
    good(qtool("quantize", model, "--data", f"{URL}/calib", "--samples", 40,
               "--calibration", cnn / "remote"))  # fmt: skip


@pytest.mark.usefixtures("brief")
def test_a_run_names_the_url(qtool: Run, cnn: Path, bucket: str, tmp_path: Path) -> None:
    model, report = cnn.parent / "model.onnx", tmp_path / "run.json"
    result = qtool("compare", model, model, "--data", f"{URL}/eval", "--samples", 20,
                   "--latency", "--gate", "latency.ratio <= 0.01", "--json", report)  # fmt: skip
    assert result.exit_code == 1
    assert "--data DIR --bits 8" in result.stderr, "calibration data, not what it is judged on"
    run = json.loads(report.read_text())
    assert run["data"]["path"] == f"{URL}/eval"


def test_an_error_names_the_url(qtool: Run, cnn: Path, bucket: str) -> None:
    result = qtool("quantize", cnn.parent / "model.onnx", "--data", f"{URL}/none")
    assert (result.exit_code, result.stdout.count("Wrote")) == (4, 0)
    assert f"error: no data at {URL}/none\n" in result.stderr


def test_nothing_is_left_behind(cnn: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with served(cnn) as (host, asked):
        ran = subprocess.run(
            [sys.executable, "-m", "qtool", "data", f"{host}/calib", "--model", "model.onnx"],
            cwd=cnn, env={**os.environ, "TMPDIR": str(temporary)}, capture_output=True, text=True,
        )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "used 256 of 270 files" in ran.stdout and len(asked) > 256
    assert not list(temporary.iterdir())
