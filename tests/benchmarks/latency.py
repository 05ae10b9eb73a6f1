"""Time of each form of the sample models over float's, as `qtool compare --latency` measures it.

python tests/benchmarks/latency.py [--threads 1]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from qtool import workflow
from qtool.compare.judge import compare
from qtool.data import open_dataset
from qtool.recipe import Recipe
from qtool.target import load_target

SAMPLES = Path(__file__).parents[2] / "sample_models"
MODELS = ("digits_cnn", "digits_mobile", "text_transformer")
SCHEMES = ("w8a8", "w4a8", "w8", "w4")


def made(name: str, scheme: str, folder: Path) -> Path:
    """The sample model under a scheme, as `qtool quantize` writes it."""
    path = SAMPLES / name / "model.onnx"
    job = workflow.open_job(path, Recipe(scheme=scheme), load_target("cpu"))
    calibration = None
    if job.sites.sources:
        data = open_dataset(SAMPLES / name / "calib", job.signature)
        calibration, _ = workflow.measure(job, data)
    output = folder / f"{name}.{scheme}.onnx"
    workflow.write(job, workflow.build(job, calibration), output, None)
    return output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    print(f"{'model':18}{'scheme':8}{'size':>7}{'time':>7}  95 % interval")
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            reference = SAMPLES / name / "model.onnx"
            for scheme in SCHEMES:
                candidate = made(name, scheme, Path(folder))
                job = workflow.open_job(reference, Recipe(), load_target("cpu"))
                data = open_dataset(SAMPLES / name / "eval", job.signature).choose(20, 0)
                found = compare(reference, candidate, data, latency=True, threads=options.threads)
                assert found.latency is not None
                low, high = found.latency.interval.low, found.latency.interval.high
                print(f"{name:18}{scheme:8}{found.size.ratio:7.3f}{found.latency.ratio:7.3f}  "
                      f"{low:.3f} to {high:.3f}  {found.latency.verdict}")  # fmt: skip


if __name__ == "__main__":
    main()
