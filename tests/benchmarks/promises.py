"""Byte-identical files, the same bytes through a calibration file, and start-up time.

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

SAMPLES = Path(__file__).parents[2] / "sample_models"
MODELS = ("digits_cnn", "digits_mobile", "text_transformer")


def qtool(*arguments: str | Path) -> None:
    """Run the command line as a person does, in a process of its own."""
    command = [sys.executable, "-m", "qtool", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


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
    taken = []
    for _ in range(11):
        start = time.perf_counter()
        qtool("--help")
        taken.append(time.perf_counter() - start)
    print(f"qtool --help: median {statistics.median(taken):.3f} s, longest {max(taken):.3f} s")


if __name__ == "__main__":
    main()
