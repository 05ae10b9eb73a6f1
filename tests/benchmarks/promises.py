"""Byte-identical files, the same bytes through a calibration file, in shards and by workers, and
start-up time, also on a folder of 100,000 files.

python -m tests.benchmarks.promises
"""

from __future__ import annotations

import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SAMPLES = Path(__file__).parents[2] / "sample_models"
MODELS = ("digits_cnn", "digits_mobile", "text_transformer")


def qtool(*arguments: str | Path) -> None:
    """Run the command line as a person does, in a process of its own."""
    command = [sys.executable, "-m", "qtool", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def shared_out(name: str, whole: Path, folder: Path) -> None:
    """The calibration of 8 shards merged, and of 2 workers, beside that of one run."""
    model, data = SAMPLES / name / "model.onnx", SAMPLES / name / "calib"
    parts = [folder / f"{name}.{number}" for number in range(1, 9)]
    for number, part in enumerate(parts, 1):
        qtool("calibrate", model, "--data", data, "--shard", f"{number}/8", "-o", part)
    qtool("calibrate", "merge", *reversed(parts), "-o", folder / f"{name}.merged")
    qtool("calibrate", model, "--data", data, "--workers", "2", "-o", folder / f"{name}.workers")
    for made in ("merged", "workers"):
        same = digest(folder / f"{name}.{made}") == digest(whole)
        print(f"{name:18}{made:>20}{'identical' if same else 'DIFFERENT':>20}")


def many_files(folder: Path, count: int = 100_000) -> None:
    """From the command to the calibration file, 32 of so many samples chosen."""
    data = folder / "many"
    data.mkdir()
    sample = np.zeros((1, 8, 8), np.float32)
    for number in range(count):
        sample[0, 0, 0] = number
        np.save(data / f"{number:06}.npy", sample)
    model = SAMPLES / "digits_cnn" / "model.onnx"
    start = time.perf_counter()
    qtool("calibrate", model, "--data", data, "--samples", "32", "-o", folder / "many.calib")
    print(f"calibrate on 32 of {count:,} files: {time.perf_counter() - start:.1f} s in all")


def main() -> None:
    print(f"{'model':18}{'two runs':>20}{'--calibration':>20}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in MODELS:
            model, data = SAMPLES / name / "model.onnx", SAMPLES / name / "calib"
            for run in ("a", "b"):
                qtool("quantize", model, "--data", data, "-o", folder / f"{name}.{run}.onnx")
            statistics_file = folder / f"{name}.calib"
            qtool("calibrate", model, "--data", data, "-o", statistics_file)
            third = folder / f"{name}.c.onnx"
            qtool("quantize", model, "--calibration", statistics_file, "-o", third)
            first, second = (digest(folder / f"{name}.{run}.onnx") for run in ("a", "b"))
            same = "identical" if first == second else "DIFFERENT"
            through = "identical" if digest(third) == first else "DIFFERENT"
            print(f"{name:18}{same:>20}{through:>20}   {first}")
            shared_out(name, statistics_file, folder)
        many_files(folder)
    taken = []
    for _ in range(11):
        start = time.perf_counter()
        qtool("--help")
        taken.append(time.perf_counter() - start)
    print(f"qtool --help: median {statistics.median(taken):.3f} s, longest {max(taken):.3f} s")


if __name__ == "__main__":
    main()
