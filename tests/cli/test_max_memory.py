"""`qtool quantize --max-memory`: nothing changes but for what does not fit, which is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from tests.models import normal, save, weight


@pytest.fixture
def model(tmp_path: Path) -> Path:
    text = """g (float[N,48] x) => (float[N,8] y) {
        a = MatMul(x, w) r = Relu(a) y = MatMul(r, v) }"""
    np.save(tmp_path / "rows.npy", np.abs(normal(40, 48)))
    return save(tmp_path / "m.onnx", text, w=weight(48, 64), v=weight(64, 8, seed=1))


def quantized(qtool: Callable[..., Result], model: Path, *options: str) -> tuple[bytes, str]:
    data, output = model.parent / "rows.npy", model.parent / "q.onnx"
    asked = ("--scheme", "w4", "--mode", "weights", "--allow-larger", "-f", "-o", output)
    result = qtool("quantize", model, "--data", data, *asked, *options)
    assert result.exit_code == 0, result.stderr
    return output.read_bytes(), " ".join(result.stderr.split())


def test_only_what_is_too_wide_is_left_out_and_named(
    qtool: Callable[..., Result], model: Path
) -> None:
    whole, said = quantized(qtool, model)
    assert "gptq: outputs" in said and "too wide" not in said
    enough, said = quantized(qtool, model, "--max-memory", "132kB")
    assert enough == whole and "too wide" not in said
    _, said = quantized(qtool, model, "--max-memory", "0.1MB")
    assert "note: gptq left out 1 node too wide for its --max-memory: y" in said
    assert "gptq: outputs" in said
    none, said = quantized(qtool, model, "--max-memory", "2kB")
    assert "gptq left out 2 nodes" in said and none != whole


@pytest.mark.parametrize("size", ["much", "-1GB", "0MB", "7"])
def test_what_is_no_size_is_refused(qtool: Callable[..., Result], model: Path, size: str) -> None:
    result = qtool("quantize", model, f"--max-memory={size}")
    assert result.exit_code == 2
    assert "--max-memory" in result.stderr
