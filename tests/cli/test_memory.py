"""Promise 6: memory during calibration does not grow with the number of samples."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]


def peak_kib(*arguments: str) -> int:
    """Peak resident memory, in KiB, of one run of the command line in its own process."""
    silent = os.open(os.devnull, os.O_WRONLY)
    actions = [(os.POSIX_SPAWN_DUP2, silent, 1), (os.POSIX_SPAWN_DUP2, silent, 2)]
    command = [sys.executable, "-m", "qtool", *arguments]
    pid = os.posix_spawn(sys.executable, command, os.environ, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    os.close(silent)
    assert os.waitstatus_to_exitcode(status) == 0
    return usage.ru_maxrss


def test_300_samples_take_no_more_memory_than_10(tmp_path: Path) -> None:
    images = np.load(ROOT / "sample_models" / "digits_mobile" / "eval" / "image.npy")
    np.save(tmp_path / "image.npy", images[:300])
    model = str(ROOT / "sample_models" / "digits_mobile" / "model.onnx")
    peaks = [
        peak_kib("calibrate", model, "--data", str(tmp_path), "--samples", str(count),
                 "-o", str(tmp_path / f"{count}.calib"))
        for count in (10, 300)
    ]  # fmt: skip
    # Held in memory, the 30 observed tensors of 300 samples would take 190 MB.
    assert peaks[1] - peaks[0] < 20 * 1024
