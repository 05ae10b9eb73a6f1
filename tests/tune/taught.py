"""A small model with samples and labels, and `qtool tune` on it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from qtool.cli.app import app
from qtool.runtime import Session
from tests.models import normal, save, weight

Run = Callable[..., Result]


def made(folder: Path, count: int = 160) -> Path:
    """m.onnx, and data/ with samples and the labels that the model gives them."""
    graph = """g (float[N,16] x) => (float[N,5] y) {
        a = Gemm(x, w0, b0) b = Relu(a) c = Gemm(b, w1, b1) d = Relu(c) y = Gemm(d, w2, b2) }"""
    sizes = (16, 32, 32, 5)
    both = list(pairwise(sizes))
    weights = {f"w{i}": weight(m, n, seed=i) * np.sqrt(n / m) for i, (m, n) in enumerate(both)}
    biases = {f"b{i}": normal(n, seed=9 + i) / 4 for i, (_, n) in enumerate(both)}
    weights = {name: w.astype(np.float32) for name, w in weights.items()}
    model = save(folder / "m.onnx", graph, **weights, **biases)
    data = folder / "data"
    data.mkdir()
    x = normal(count, 16)
    np.save(data / "x.npy", x)
    np.save(data / "labels.npy", Session(model).run({"x": x})["y"].argmax(1).astype(np.int64))
    return folder


def tuned(place: Path, *more: object, output: str = "out.onnx") -> Result:
    """The command, on one thread and where integers pay nothing either."""
    fixed = ("--data", place / "data", "-o", place / output, "--placement", "all", "--threads", "1")
    arguments = ("tune", place / "m.onnx", *fixed, *more)
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return made(tmp_path)
