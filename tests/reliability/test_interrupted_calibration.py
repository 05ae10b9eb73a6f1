"""Calibration that is killed, and run again until it is through, writes what it would have."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from qtool.calibrate.file import load
from tests.reliability.test_processes import started

MODEL = Path(__file__).parents[2] / "sample_models" / "digits_mobile"


@pytest.fixture(params=[3000])
def long(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[object, ...]:
    """The arguments of a run of some seconds, all but the output."""
    count = request.param
    images = np.load(MODEL / "eval" / "image.npy")
    folder = tmp_path / "data"
    folder.mkdir()
    chance = np.random.default_rng(0)
    some = images[chance.integers(0, len(images), count)].astype(np.float32)
    np.save(folder / "image.npy", some + chance.normal(0, 0.01, some.shape).astype(np.float32))
    return ("calibrate", MODEL / "model.onnx", "--data", folder, "--samples", count, "--threads", 1)


def through(long: tuple[object, ...], output: Path) -> bytes:
    with started(*long, "-o", output, "-f") as run:
        _, said = run.communicate()
    assert run.returncode == 0, said
    return output.read_bytes()


def killed(long: tuple[object, ...], output: Path, times: int, number: signal.Signals) -> str:
    """Kill so many runs; what the one that was let through to its end said."""
    chance = random.Random(0)
    while times:
        with started(*long, "-o", output, "-f") as run:
            time.sleep(chance.uniform(1.0, 4.0))
            run.send_signal(number)
            _, said = run.communicate()
        if run.returncode == 0:  # too late: begin again
            continue
        times -= 1
        # On a busy machine the signal may come while Python itself is still starting.
        assert run.returncode in (-number, 128 + number), said
        if run.returncode == 130:
            assert said.endswith("interrupted\n")
    with started(*long, "-o", output, "-f") as run:
        _, said = run.communicate()
    assert run.returncode == 0, said
    return said


@pytest.mark.slow
@pytest.mark.parametrize("long", [6000], indirect=True)
@pytest.mark.parametrize(("number", "times"), [(signal.SIGKILL, 50), (signal.SIGINT, 5)])
def test_interrupted_at_random_and_resumed(
    long: tuple[object, ...], tmp_path: Path, number: signal.Signals, times: int
) -> None:
    expected = through(long, tmp_path / "whole.calib")
    killed(long, tmp_path / "out.calib", times, number)
    assert (tmp_path / "out.calib").read_bytes() == expected
    assert not (tmp_path / "out.calib.part").exists()


def test_a_killed_run_goes_on_where_it_was(long: tuple[object, ...], tmp_path: Path) -> None:
    output, part = tmp_path / "out.calib", tmp_path / "out.calib.part"
    with started(*long, "-o", output) as run:
        deadline = time.monotonic() + 60
        while not part.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        run.kill()
    held = load(part)
    assert 0 < held.samples < 3000
    with started(*long, "-o", output) as run:
        _, said = run.communicate()
    assert run.returncode == 0, said
    assert "of the samples had been measured before an interruption" in said
    assert load(output).complete
    assert not part.exists()
