"""Two models and a folder, and `qtool compare` of them as a shell calls it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner

from qtool.cli.app import app


class Case:
    """Two models and a folder; the candidate puts the wrong class first in 4 of 40 samples."""

    def __init__(self, build: Callable[..., Path], folder: Path) -> None:
        shape = "m (float[N,3] x) => (float[N,3] y)"
        self.reference = build("reference", f"{shape} {{ y = Identity(x) }}")
        self.candidate = build(
            "candidate", f"{shape} <float[3] k = {{0, 0, 0.5}}> {{ y = Add(x, k) }}"
        )
        self.data = folder / "eval"
        self.data.mkdir()
        for i in range(40):
            close = 0.3 if i < 4 else 0.9
            np.save(self.data / f"{i:02}.npy", np.array([1, 0, 1 - close], np.float32))
        np.save(self.data / "labels.npy", np.zeros(40, np.int64))

    def run(self, *arguments: str, data: bool = True) -> Any:
        given = ["--data", str(self.data)] if data else []
        return CliRunner().invoke(
            app, ["compare", str(self.reference), str(self.candidate), *given, *arguments]
        )
