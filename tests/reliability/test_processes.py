"""Promises 1 and 4 on the real command: killed at any time, interrupted, many at once."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.models import save, weight
from tests.reliability.conftest import COMMAND, ENVIRONMENT, Shell

OLD = b"old bytes"
LATER = [0.0, 0.2, 0.3, 0.4, 0.5, 0.6]
ENDLESS = """g (float[N,24] x) => (float[N,8] y) {
    n = Constant<value = int64 {4611686018427387904}>() c = Constant<value = bool {1}>()
    z = Loop(n, c, x) <body = b (int64 i, bool k, float[N,24] a) => (bool k2, float[N,24] a2) {
        k2 = Identity(k) a2 = Neg(a) }>
    y = MatMul(z, w) }"""


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    command = [*COMMAND, *map(str, arguments)]
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT) as run:
        try:
            yield run
        finally:
            run.kill()


def static(cnn: Path, output: Path) -> tuple[object, ...]:
    return ("quantize", cnn / "model.onnx", "--data", cnn / "calib", "--samples", 64, "-o", output)


def killed_at_random_times(shell: Shell, cnn: Path, folder: Path, times: int) -> None:
    folder.mkdir()
    output = folder / "out.onnx"
    start = time.monotonic()
    done = shell(*static(cnn, output))
    assert done.returncode == 0, done.stderr
    length = time.monotonic() - start
    whole = output.read_bytes()
    chance = random.Random(0)
    for _ in range(times):
        output.write_bytes(OLD)
        with started(*static(cnn, output), "-f") as run:
            time.sleep(chance.uniform(0.3, 1.05) * length)  # nothing happens before
            run.kill()
        assert output.read_bytes() in (OLD, whole)
        assert {p.name for p in folder.iterdir() if not p.name.startswith(".qtool-")} == {
            "out.onnx"
        }


@pytest.mark.slow
def test_kill_at_3_times(shell: Shell, cnn: Path, tmp_path: Path) -> None:
    killed_at_random_times(shell, cnn, tmp_path / "out", 3)


@pytest.mark.slow
def test_kill_at_60_times(shell: Shell, cnn: Path, tmp_path: Path) -> None:
    killed_at_random_times(shell, cnn, tmp_path / "out", 60)


@pytest.mark.parametrize(
    ("delay", "number"),
    [
        (0.1, signal.SIGTERM),  # SIGINT: a model that never ends, below
        pytest.param(0.1, signal.SIGINT, marks=pytest.mark.slow),
        *(pytest.param(delay, number, marks=pytest.mark.slow)
          for delay in LATER for number in (signal.SIGINT, signal.SIGTERM)),
    ],
)  # fmt: skip
def test_a_signal_ends_with_one_line_and_leaves_nothing(
    cnn: Path, tmp_path: Path, delay: float, number: signal.Signals
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "out.onnx").write_bytes(OLD)
    with started(*static(cnn, folder / "out.onnx"), "-f") as run:
        assert run.stderr is not None
        assert "weights and activations" in run.stderr.readline()
        time.sleep(delay)
        run.send_signal(number)
        printed, said = run.communicate()
    assert [p.name for p in folder.iterdir()] == ["out.onnx"]
    if printed.startswith("Wrote"):  # too late; Python itself may be on its way out by then
        assert run.returncode in (0, 128 + number, -number)
        return
    assert run.returncode == 128 + number
    assert said.endswith("interrupted\n")
    assert "Traceback" not in said
    assert (folder / "out.onnx").read_bytes() == OLD


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_model_that_never_ends_can_be_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    model = save(tmp_path / "endless.onnx", ENDLESS, w=weight(24, 8))
    with started("quantize", model) as run:
        assert run.stderr is not None
        run.stderr.readline()
        time.sleep(0.2)
        run.send_signal(number)
        said = run.communicate(timeout=30)[1]
    assert run.returncode == 128 + number
    assert said == "interrupted\n"
    assert [p.name for p in tmp_path.iterdir()] == ["endless.onnx"]


@pytest.mark.slow
def test_8_runs_at_once_give_the_same_bytes_and_one_name_has_one_winner(
    cnn: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    names = [f"{n}.onnx" for n in range(4)] + ["same.onnx"] * 4
    pipe = subprocess.PIPE
    commands = [[*COMMAND, *map(str, static(cnn, folder / name))] for name in names]
    runs = [
        subprocess.Popen(c, stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT) for c in commands
    ]
    ends = [(run.communicate()[1], run.returncode) for run in runs]
    assert [code for _, code in ends[:4]] == [0] * 4
    assert sorted(code for _, code in ends[4:]) == [0, 2, 2, 2]
    assert all("exists" in said for said, code in ends if code)
    assert len({path.read_bytes() for path in folder.iterdir()}) == 1
    assert {path.name for path in folder.iterdir()} == set(names)
