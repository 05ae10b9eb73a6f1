"""Each exit code from a situation as it happens, in a process of its own, and what it says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from qtool.errors import install_command
from tests.cli.conftest import SAMPLES

MODEL = SAMPLES / "digits_mlp" / "model.onnx"
EVAL = SAMPLES / "digits_mlp" / "eval"
DATA = ("--data", EVAL)
Done = subprocess.CompletedProcess[str]

# A package that was not installed, as Python sees it.
WITHOUT_PARQUET = """
import sys
sys.modules["pyarrow"] = None
from qtool.cli.app import main
main()
"""


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "c.onnx"
    assert run("quantize", MODEL, "--bits", 4, "-o", path).returncode == 0
    return path


def run(*arguments: object, code: str = "") -> Done:
    command = [sys.executable, *(["-c", code] if code else ["-m", "qtool"]), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_0_done_and_the_gates_passed(candidate: Path) -> None:
    done = run("compare", MODEL, candidate, *DATA, "--gate", "top1.drop <= 5pp")
    assert done.returncode == 0
    assert "passed" in done.stdout
    assert "error" not in done.stderr


def test_1_a_gate_failed_and_says_why(candidate: Path) -> None:
    done = run("compare", MODEL, candidate, *DATA, "--gate", "sqnr >= 60dB")
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    said = done.stderr.splitlines()
    start = said.index('error: gate "sqnr >= 60dB" failed')
    value, blamed, command = said[start + 1 : start + 4]
    assert value.startswith("  sqnr is ") and value.endswith("), the limit is 60 dB")
    assert " dB (95 % interval " in value
    assert blamed.startswith("  the largest errors of their own: ")
    assert command.startswith(f"  try: qtool quantize {MODEL} ")


def test_2_usage(candidate: Path) -> None:
    done = run("compare", MODEL, candidate, *DATA, "--gate", "top1.dorp <= 5pp")
    assert done.returncode == 2
    assert "did you mean 'top1.drop'" in done.stderr
    assert run("compare", MODEL, "--no-such-option").returncode == 2


def test_3_the_model(tmp_path: Path) -> None:
    (tmp_path / "half.onnx").write_bytes(MODEL.read_bytes()[:500])
    done = run("compare", MODEL, tmp_path / "half.onnx", *DATA)
    assert done.returncode == 3
    assert "half.onnx" in done.stderr


def test_4_the_data(candidate: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", np.zeros((3, 3), np.float32))
    done = run("compare", MODEL, candidate, "--data", tmp_path)
    assert done.returncode == 4
    assert "0.npy" in done.stderr
    (tmp_path / "run.json").write_text('{"top1": 0.9}')
    assert run("report", tmp_path / "run.json").returncode == 4


def test_5_an_extra_that_is_not_installed(candidate: Path, tmp_path: Path) -> None:
    (tmp_path / "eval.parquet").write_bytes(b"PAR1")
    done = run("compare", MODEL, candidate, "--data", tmp_path, code=WITHOUT_PARQUET)
    assert done.returncode == 5
    assert install_command("parquet") in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_5_a_full_disk(candidate: Path) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        command = [sys.executable, "-m", "qtool", "compare", str(MODEL), str(candidate)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 5
    assert "No space left" in done.stderr


def test_5_a_folder_that_is_not_there(candidate: Path, tmp_path: Path) -> None:
    done = run("compare", MODEL, candidate, *DATA, "--json", tmp_path / "none" / "run.json")
    assert done.returncode == 5
    assert f"fix: mkdir -p {tmp_path / 'none'}" in done.stderr


def test_130_interrupted(candidate: Path, tmp_path: Path) -> None:
    data = tmp_path / "eval"
    data.mkdir()
    np.save(data / "image.npy", np.tile(np.load(EVAL / "image.npy"), (500, 1)))
    command = [sys.executable, "-m", "qtool", "compare", str(MODEL), str(candidate)]
    out = tmp_path / "run.json"
    with subprocess.Popen(
        [*command, "--data", str(data), "--json", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        assert started.stderr is not None
        assert "used" in started.stderr.readline()
        time.sleep(0.3)
        os.kill(started.pid, signal.SIGINT)
        printed, said = started.communicate(timeout=60)
    assert started.returncode == 130
    assert said.endswith("interrupted\n")
    assert printed == ""
    assert {path.name for path in tmp_path.iterdir()} == {"eval"}


@pytest.mark.slow  # in one process: test_compare_command
def test_exit_zero_is_for_gates_alone(candidate: Path, tmp_path: Path) -> None:
    gate = ("--gate", "sqnr >= 60dB", "--exit-zero")
    done = run("compare", MODEL, candidate, *DATA, *gate)
    assert done.returncode == 0
    assert 'error: gate "sqnr >= 60dB" failed' in done.stderr
    assert run("compare", MODEL, tmp_path / "none.onnx", *DATA, *gate).returncode == 3
