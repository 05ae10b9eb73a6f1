"""Damaged data, calibration files, declarations and recipes: exit 2 or 4, or a good result."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from qtool.cli.app import app
from qtool.runtime import Session
from tests.models import normal
from tests.reliability.conftest import SAMPLES

MODEL = SAMPLES / "digits_cnn" / "model.onnx"
RECIPE = """\
scheme = "w8sca8u"
method = "mse"
samples = 12
seed = 3

[[rules]]
match = "op:Gemm"
scheme = "w4a8"
"""
# what is damaged -> the options that read it
KINDS = {
    "model.calib": ("--calibration", "model.calib"),
    "npy/image.npy": ("--data", "npy"),
    "npz/set.npz": ("--data", "npz"),
    "png/0.png": ("--data", "png"),
    "png/qtool.toml": ("--data", "png"),
    "recipe.toml": ("--data", "npy", "--recipe", "recipe.toml"),
}


def qtool(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """One good file of each kind, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("npy", "npz", "png"):
        Path(name).mkdir()
    np.save("npy/image.npy", normal(12, 1, 8, 8))
    np.savez("npz/set.npz", image=normal(12, 1, 8, 8))
    images = sorted((SAMPLES / "digits_cnn" / "calib").rglob("*.png"))
    for index, image in enumerate(images[:4]):
        shutil.copy(image, f"png/{index}.png")
    shutil.copy(SAMPLES / "digits_cnn" / "qtool.toml", "png")
    Path("recipe.toml").write_text(RECIPE)
    if "model.calib" in request.node.name:
        assert qtool("calibrate", MODEL, "--data", "npy", "-o", "model.calib").exit_code == 0
    return tmp_path


def damaged(kind: str, count: int) -> None:
    good = Path(kind).read_bytes()
    chance = random.Random(0)
    codes = set()
    for _ in range(count):
        at = chance.randrange(min(len(good), 1_000))
        bit = chance.randrange(10)
        flipped = bytes([good[at] ^ 1 << (bit % 8)])
        rest = b"" if bit == 9 else good[at + (bit != 8) :]
        Path(kind).write_bytes(good[:at] + flipped + rest)
        Path("o.onnx").unlink(missing_ok=True)
        result = qtool("quantize", MODEL, *KINDS[kind], "-o", "o.onnx")
        assert result.exit_code in (0, 2, 4), (at, bit, result.exit_code, result.stderr)
        codes.add(result.exit_code)
        if result.exit_code == 0:
            Session(Path("o.onnx"))
        else:
            said = result.stderr.splitlines()
            assert sum(line.startswith("error: ") for line in said) == 1, said
    assert codes & {2, 4}
    assert not Path("crash-qtool.txt").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_4_mutants(kind: str, folder: Path) -> None:
    damaged(kind, 4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_60_mutants(kind: str, folder: Path) -> None:
    damaged(kind, 60)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "recipe.toml"])
def test_what_cannot_be_read(kind: str, folder: Path) -> None:
    """A folder, a pipe and nothing in place of the file."""
    path = Path(kind)
    for make in (Path.mkdir, os.mkfifo, lambda p: None):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
        make(path)
        result = qtool("quantize", MODEL, *KINDS[kind], "-o", "o.onnx", "-f")
        assert result.exit_code in (0, 2, 4), result.stderr  # 0: the others are enough
        assert result.exit_code or kind.startswith("png/")


def test_a_layout_of_other_axes_than_an_image_has(folder: Path) -> None:
    declared = Path("png/qtool.toml")
    declared.write_text(declared.read_text().replace("NCHW", "NCDW"))
    result = qtool("quantize", MODEL, "--data", "png")
    assert result.exit_code == 4, result.stderr
    assert "its axes are NHWC, model_layout is NCDW" in result.stderr
    assert "fix: mend  model_layout" in result.stderr
