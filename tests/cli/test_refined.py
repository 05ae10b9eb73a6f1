"""What `qtool quantize` says of algorithms that it cannot judge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from typer.testing import Result

from tests.models import normal, save, weight


def test_classes_alone_tell_no_decibels(qtool: Callable[..., Result], tmp_path: Path) -> None:
    text = """g (float[N,16] x) => (int64[N,1] y) {
        a = Gemm(x, w, b) r = Relu(a) c = Gemm(r, v) y = ArgMax<axis=1>(c) }"""
    path = save(tmp_path / "m.onnx", text, w=weight(16, 16), b=normal(16), v=weight(16, 8))
    np.save(tmp_path / "rows.npy", normal(60, 16))
    result = qtool(
        "quantize", path, "--data", tmp_path / "rows.npy", "--placement", "all", "--allow-larger"
    )
    assert result.exit_code == 0, result.stderr
    assert "bias: no output is a real number" in result.stderr
    assert "nan" not in result.stderr


def test_nor_do_outputs_that_are_all_zero(qtool: Callable[..., Result], tmp_path: Path) -> None:
    text = "g (float[N,48] x) => (float[N,48] y) { a = MatMul(x, w) y = Relu(a) }"
    path = save(tmp_path / "m.onnx", text, w=weight(48, 48))
    np.save(tmp_path / "rows.npy", np.zeros((40, 48), np.float32))
    result = qtool("quantize", path, "--data", tmp_path / "rows.npy", "--scheme", "w4")
    assert result.exit_code == 0, result.stderr
    assert "gptq: no output is a real number other than 0" in " ".join(result.stderr.split())
