"""Time over float: the default, `--optimize latency`, and onnxruntime's own static U8S8 file.

    python -m tests.benchmarks.optimize --bench DIR [--only MODEL ...]

Every sample model and every model of DIR/models, batch 1, one thread; each ratio is of two models
in turns, as `qtool compare --latency` takes it, with its 95 % interval. A model that comes
quantized is held against the file as it comes. The load of the machine stands beside each row.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from onnxruntime.quantization import QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from qtool import workflow
from qtool.compare.latency import measure
from qtool.compare.result import Latency
from qtool.data import Dataset, carried, open_dataset
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.search.fastest import fastest
from qtool.target import load_target
from qtool.verify import Feeds
from qtool.workflow import Job
from tests.benchmarks.forms import SAMPLES, TASKS
from tests.benchmarks.peers import Reader
from tests.benchmarks.subjects import SUBJECTS, Subject, bench
from tests.models import normal

CALIBRATED, TIMED = 64, 16
GOAL = 1.05  # the geometric mean of onnxruntime's time over ours


def spectra(folder: Path, to: Path, count: int) -> None:
    """49 frames of 10 coefficients, as large as DS-CNN's."""
    del folder
    np.save(to / "spectra.npy", normal(count, 49, 10, 1) * np.float32(20))


BENCH = {
    **{name: s for name, s in SUBJECTS.items() if name not in TASKS},
    "dscnn_kws": Subject(bench("dscnn_kws"), spectra),
}


def opened(name: str, folder: Path, scratch: Path) -> tuple[Job, Dataset]:
    if name in TASKS:
        path, data = SAMPLES / name / "model.onnx", SAMPLES / name / "calib"
    else:
        path, data = BENCH[name].model(folder, scratch), scratch / "data"
        data.mkdir()
        BENCH[name].write(folder, data, CALIBRATED)
    recipe = Recipe(samples=CALIBRATED)
    job = workflow.open_job(path, recipe, load_target("cpu"), threads=1, requantize=True)
    return job, open_dataset(data, job.signature).choose(CALIBRATED, 0)


def written(job: Job, data: Dataset, output: Path) -> Path:
    calibration = workflow.measure(job, data) if job.sites.sources else None
    output.write_bytes(workflow.build(job, calibration).data)
    return output


def theirs(job: Job, data: Dataset, scratch: Path) -> Path:
    output = scratch / "theirs.onnx"
    with contextlib.chdir(scratch), contextlib.redirect_stdout(None):
        source = str(job.path.resolve())
        try:
            quant_pre_process(source, "prepared.onnx")
        except Exception:  # symbolic shape inference, which it does by default, fails on some
            quant_pre_process(source, "prepared.onnx", skip_symbolic_shape=True)
        quantize_static(
            "prepared.onnx", str(output), Reader(data), per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
    return output


def beside(before: Path, after: Path, feeds: Sequence[Feeds]) -> Latency:
    left, right = Session(before, threads=1), Session(after, threads=1)
    return measure(left, right, feeds, batch_size=1, threads=1)


def shown(found: Latency | None) -> str:
    if found is None:
        return f"{'-':>22}"
    return f"{found.ratio:8.3f} ({found.interval.low:.3f}-{found.interval.high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=[*BENCH, *TASKS])
    options = parser.parse_args()
    folder = options.bench.resolve()
    logging.disable(logging.WARNING)
    columns = ("default/float", "optimized/float", "onnxruntime/float", "optimized/onnxruntime")
    head = "".join(f"{c:>22}" for c in columns)
    print(f"{'model':18}{'float ms':>9}{head}  verdict, segments")
    ratios = defaultdict[str, list[float]](list)
    for name in options.only:
        with tempfile.TemporaryDirectory() as held:
            scratch = Path(held)
            job, data = opened(name, folder, scratch)
            batches = islice(data.batches(1), TIMED)
            feeds = list(carried(data.declaration.carry, batches, job.original.run))
            start = time.perf_counter()
            best, outcome, _ = fastest(job, data, None)
            took = time.perf_counter() - start
            files = {
                "default": written(job, data, scratch / "default.onnx"),
                "optimized": written(best, data, scratch / "optimized.onnx"),
            }
            reason = ""
            try:
                files["onnxruntime"] = theirs(job, data, scratch)
                Session(files["onnxruntime"], threads=1)
            except Exception as error:  # what it raises is part of the comparison
                files.pop("onnxruntime", None)
                reason = f"; onnxruntime: {type(error).__name__}"
            found = {f"{k}/float": beside(job.path, p, feeds) for k, p in files.items()}
            if "onnxruntime" in files:
                pair = files["onnxruntime"], files["optimized"]
                found["optimized/onnxruntime"] = beside(*pair, feeds)
            for key, each in found.items():
                ratios[key].append(each.ratio)
            layers = "nothing in integers"
            if outcome is not None:
                kinds = (("int" if s.integer else "float", s.layers) for s in outcome.segments)
                layers = " ".join(f"{kind}:{count}" for kind, count in kinds)
            cells = "".join(shown(found.get(key)) for key in columns)
            ours = found["optimized/float"]
            load = f"search {took:.0f} s{reason}; load {os.getloadavg()[0]:.1f}"
            line = f"{name:18}{ours.reference_median_ms:9.3f}{cells}  {ours.verdict}; {layers}"
            print(f"{line}; {load}", flush=True)
    for key in columns:
        if ratios[key]:
            mean = float(np.exp(np.mean(np.log(ratios[key]))))
            print(f"geometric mean of {key}: {mean:.3f} over {len(ratios[key])} models")
    if ratios[columns[-1]]:
        gain = 1 / float(np.exp(np.mean(np.log(ratios[columns[-1]]))))
        print(f"faster than onnxruntime's files by {gain:.3f}; the goal is {GOAL}")


if __name__ == "__main__":
    main()
