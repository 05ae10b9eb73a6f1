"""The command line in-process, and copies of the sample models that a test may write beside."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from qtool.cli.app import app

SAMPLES = Path(__file__).parents[2] / "sample_models"


@pytest.fixture
def qtool() -> Callable[..., Result]:
    """Run the command line; the result holds exit_code, stdout and stderr."""

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(a) for a in arguments])

    return run


@pytest.fixture
def cnn(tmp_path: Path) -> Path:
    """A folder with the digits_cnn sample: model.onnx, calib/, eval/, qtool.toml."""
    return Path(shutil.copytree(SAMPLES / "digits_cnn", tmp_path / "digits_cnn"))
