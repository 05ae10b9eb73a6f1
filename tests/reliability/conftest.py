"""The real command line in processes of its own, and copies of a sample model."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

SAMPLES = Path(__file__).parents[2] / "sample_models"
COMMAND = [sys.executable, "-m", "qtool"]
# Two threads for each process: many of them run at once.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "2"}

Done: TypeAlias = "subprocess.CompletedProcess[str]"
Shell: TypeAlias = Callable[..., Done]


@pytest.fixture
def shell() -> Shell:
    """Run `qtool ARGUMENTS` to its end; `env` adds to the environment."""

    def run(*arguments: object, env: dict[str, str] | None = None, **options: Any) -> Done:
        command = [
            *COMMAND,
            *(os.fsencode(a) if isinstance(a, Path) else str(a) for a in arguments),
        ]
        return subprocess.run(
            command, capture_output=True, text=True, errors="surrogateescape", timeout=120,
            env=ENVIRONMENT | (env or {}), **options,
        )  # fmt: skip

    return run


@pytest.fixture
def cnn(tmp_path: Path) -> Path:
    """A folder with the digits_cnn sample: model.onnx, calib/, eval/, qtool.toml."""
    return Path(shutil.copytree(SAMPLES / "digits_cnn", tmp_path / "digits_cnn"))


def listing(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    """Every name in a folder -> its time of change and, for a file, its bytes."""
    return {
        os.fsdecode(p.relative_to(folder)): (
            p.stat().st_mtime_ns,
            p.read_bytes() if p.is_file() else None,
        )
        for p in folder.rglob("*")
    }
