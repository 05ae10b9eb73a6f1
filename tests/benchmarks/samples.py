"""Static W8A8 of the sample models over calibration seeds: points lost, agreement, SQNR.

python -m tests.benchmarks.samples [--seeds 5] [--samples 200]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from qtool.compare.judge import compare
from qtool.numeric.ranges import METHODS
from qtool.recipe import Recipe
from tests.benchmarks.forms import SAMPLES, judged_on, made

MODELS = ("digits_cnn", "digits_mobile", "text_transformer")


def one(name: str, recipe: Recipe, folder: Path) -> tuple[float, float, float, float]:
    """Points lost, agreement in percent, SQNR in dB, size ratio, judged on all of eval/."""
    candidate = made(name, recipe, folder / f"{name}.onnx")
    found = compare(SAMPLES / name / "model.onnx", candidate, judged_on(name))
    logits = found.outputs[0]
    assert logits.agreement is not None and logits.sqnr_db is not None
    lost = found.scores["top1"].drop * 100
    return lost, logits.agreement.value * 100, logits.sqnr_db, found.size.ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=200, help="of the calibration folder")
    options = parser.parse_args()
    print(f"{'model':18}{'method':12}{'algorithms':12}{'points lost':>12}{'agreement':>11}"
          f"{'worst':>8}{'SQNR':>7}{'size':>7}")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            for method in METHODS:
                for algorithms in (("equalize",), ()):
                    rows = np.array([
                        one(name, Recipe(method=method, algorithms=algorithms, seed=seed,
                                         samples=options.samples), Path(folder))
                        for seed in range(options.seeds)
                    ])  # fmt: skip
                    lost, agreement, sqnr, ratio = rows.mean(axis=0)
                    cells = f"{lost:12.2f}{agreement:11.2f}{rows[:, 1].min():8.2f}"
                    listed = ",".join(algorithms) or "-"
                    print(f"{name:18}{method:12}{listed:12}{cells}{sqnr:7.1f}{ratio:7.3f}")


if __name__ == "__main__":
    main()
