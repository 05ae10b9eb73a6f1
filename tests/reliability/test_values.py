"""Values that cannot be measured, folders that do not fit, and promise 7: no network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from qtool.cli.app import app
from tests.models import Array, normal, save, weight
from tests.reliability.conftest import SAMPLES, Shell

GRAPH = """g (float[N,24] x) => (float[N,8] y) {
    r = Mul(x, big) a = Gemm(r, w, b) y = Relu(a) }"""
TWO = "g (float[N,24] x, float[N,24] z) => (float[N,8] y) { s = Add(x, z) y = MatMul(s, w) }"


def qtool(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    constants = {"w": weight(24, 8), "b": normal(8), "big": np.float32(1e15)}
    return save(tmp_path / "m.onnx", GRAPH, **constants)


def rows(changes: dict[int, float] | None = None, count: int = 40) -> Array:
    made = normal(count, 24)
    for row, value in (changes or {}).items():
        made[row] = value
    return made


BAD: dict[str, tuple[Array, list[str]]] = {
    "NaN in a sample": (rows({7: np.nan}), ["x.npy[7]", "NaN"]),
    "Inf in a sample": (rows({7: np.inf}), ["x.npy[7]", "NaN or infinite"]),
    "Inf inside the model": (rows({9: 1e30}), ["Inf in tensor 'r'", "in sample 9 "]),
    "wrong width": (normal(40, 23), ["does not fit input", "(23,)", "(N, 24)"]),
    "wrong rank": (normal(40, 4, 6), ["does not fit input", "(4, 6)", "(N, 24)"]),
    "none": (normal(0, 24), ["x.npy"]),
    "numbers only": (np.float32(3), ["x.npy"]),
    "text": (np.full((40, 24), "a"), ["x.npy"]),
    "complex": (rows().astype(np.complex64), ["x.npy", "complex64"]),
}


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("command", ["quantize", "calibrate"])
def test_data_that_cannot_be_measured(name: str, command: str, model: Path, tmp_path: Path) -> None:
    values, words = BAD[name]
    np.save(tmp_path / "x.npy", values)
    before = sorted(tmp_path.iterdir())
    result = qtool(command, model, "--data", tmp_path / "x.npy", "-o", tmp_path / "o")
    assert result.exit_code == 4, result.stderr
    lines = result.stderr.splitlines()
    assert sum(line.startswith("error: ") for line in lines) == 1
    for word in words:
        assert word in result.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_an_empty_folder_and_none(model: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder in (empty, tmp_path / "missing"):
        result = qtool("quantize", model, "--data", folder)
        assert result.exit_code == 4, result.stderr
        assert str(folder) in result.stderr


def test_an_input_that_the_data_lack(tmp_path: Path) -> None:
    model = save(tmp_path / "m.onnx", TWO, w=weight(24, 8))
    np.savez(tmp_path / "d.npz", x=rows())
    result = qtool("quantize", model, "--data", tmp_path / "d.npz")
    assert result.exit_code == 4
    assert '"z"' in result.stderr


@pytest.mark.parametrize(("count", "note"), [(1, True), (31, True), (32, False)])
def test_few_samples_are_noted(count: int, note: bool, tmp_path: Path) -> None:
    graph = "g (float[N,24] x) => (float[N,8] y) { y = MatMul(x, w) }"
    model = save(tmp_path / "m.onnx", graph, w=weight(24, 8))
    np.save(tmp_path / "x.npy", rows(count=count))
    result = qtool("quantize", model, "--data", tmp_path / "x.npy", "--allow-larger")
    assert result.exit_code == 0, result.stderr
    assert (f"note: {count} samples are few" in result.stderr) is note


@pytest.mark.parametrize("value", [0.0, -0.0, 3.0, -2.5, 1e-40, 3e38])
@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
def test_a_constant_input(value: float, method: str, tmp_path: Path) -> None:
    graph = "g (float[N,24] x) => (float[N,8] y) { r = Relu(x) y = MatMul(r, w) }"
    model = save(tmp_path / "m.onnx", graph, w=weight(24, 8) / 100)
    np.save(tmp_path / "x.npy", np.full((40, 24), value, np.float32))
    result = qtool(
        "quantize", model, "--data", tmp_path / "x.npy", "--method", method, "--allow-larger"
    )
    assert result.exit_code == 0, result.stderr


# Python's own sockets alone: what onnxruntime opens in C++ is switched off (tests/test_runtime.py).
GUARD = """
import sys
def deny(event, arguments):
    network = {"socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"}
    if event in network or event == "subprocess.Popen":
        sys.stderr.write(f"CALLED {event} {arguments}")
        sys.stderr.flush()
        import os; os._exit(99)
sys.addaudithook(deny)
"""


@pytest.mark.parametrize("call", ["quantize", "compare"])
def test_nothing_opens_a_connection(call: str, shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(GUARD)
    env = {"PYTHONPATH": f"{tmp_path / 'hook'}:{Path(__file__).parents[2]}"}
    folder = SAMPLES / "digits_cnn"
    model, data = folder / "model.onnx", folder / "calib"
    arguments = {
        "quantize": (model, "--data", data, "-o", tmp_path / "o.onnx"),
        "compare": (model, model, "--data", data),
    }
    done = shell(call, *arguments[call], "--samples", 40, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    dial = "import socket; socket.create_connection(('127.0.0.1', 9))"
    caught = subprocess.run([sys.executable, "-c", dial], env=os.environ | env, capture_output=True)
    assert caught.returncode == 99, "the hook was there"
