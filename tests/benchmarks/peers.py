"""Static W8A8 beside onnxruntime's own quantizer: accuracy, size and speed, in one run.

    python -m tests.benchmarks.peers --bench DIR

DIR/models/*.onnx and DIR/data/{cifar,mnist}_{calib,eval}.npz (`images` uint8, `labels`). Speed is
float time over quantized time, batch 1, one thread, the models taking turns.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from qtool import inspect, workflow
from qtool.compare import latency
from qtool.data import Declaration, open_dataset
from qtool.data.dataset import Dataset
from qtool.numeric.metrics import sqnr_db
from qtool.recipe import Recipe
from qtool.refine.samples import drawn_for
from qtool.runtime import Session
from qtool.signature import Signature
from qtool.target import load_target

MODELS = {"resnet8_cifar10": "cifar", "resnet8_large_cifar10": "cifar", "mnist_cntk": "mnist"}


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """onnxruntime asks for its calibration data one sample at a time."""

    def __init__(self, data: Dataset) -> None:
        self._batches: Iterator[dict[str, NDArray[Any]]] = data.batches(1)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._batches, None)


def opened(path: Path, signature: Signature) -> Dataset:
    """The set as it lies; MNIST's images get the channel axis that its model wants."""
    name = signature.inputs[0].name
    table: dict[str, Any] = {"from": "images"}
    if "mnist" in path.name:
        table["shape"] = [1, 28, 28]
    return open_dataset(path, signature, Declaration.model_validate({"inputs": {name: table}}))


def ours(model: Path, data: Dataset, output: Path, recipe: Recipe | None = None) -> float:
    """As `qtool quantize -f` makes it; seconds."""
    start = time.perf_counter()
    chosen = (recipe or Recipe()).model_copy(update={"samples": len(data)})
    job = workflow.open_job(model, chosen, load_target("cpu"))
    if (run := drawn_for(chosen.measured_before(), data, 1)) is not None:
        job = workflow.smoothed(job, run)
    samples = drawn_for(chosen, data, 1)
    feeds = next(data.batches(1))
    workflow.check_preparation(job, feeds)
    quantized = workflow.build(job, workflow.measure(job, data), samples)
    workflow.write(job, quantized, output, feeds, force=True)
    return time.perf_counter() - start


def theirs(
    model: Path,
    data: Dataset,
    output: Path,
    folder: Path,
    method: CalibrationMethod = CalibrationMethod.Percentile,
) -> float:
    start = time.perf_counter()
    prepared = folder / "prepared.onnx"
    with contextlib.chdir(folder):  # it leaves files in the working folder
        quant_pre_process(str(model.resolve()), str(prepared))
        quantize_static(
            str(prepared), str(output), Reader(data), per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            calibrate_method=method,
        )  # fmt: skip
    return time.perf_counter() - start


def outputs(path: Path, data: Dataset) -> NDArray[np.float64]:
    session = Session(path)
    name = session.signature.outputs[0].name
    return np.concatenate([session.run(batch)[name] for batch in data.batches(1)]).astype(float)


def times(paths: list[Path], feeds: dict[str, NDArray[Any]], rounds: int) -> list[float]:
    """Median milliseconds of each, taken in turns after a warm-up."""
    sessions = [Session(path, threads=1) for path in paths]
    taken: list[list[float]] = [[] for _ in paths]
    for turn in range(rounds + rounds // 10):
        for session, list_ in zip(sessions, taken, strict=True):
            start = time.perf_counter()
            session.run(feeds)
            if turn >= rounds // 10:
                list_.append((time.perf_counter() - start) * 1e3)
    return [float(np.median(t)) for t in taken]


def beside(theirs_path: Path, ours_path: Path, feeds: dict[str, NDArray[Any]]) -> str:
    """Time of ours over theirs with its 95 % interval, as `qtool compare --latency` measures it."""
    sessions = Session(theirs_path, threads=1), Session(ours_path, threads=1)
    found = latency.measure(*sessions, [feeds], batch_size=1, threads=1)
    low, high = found.interval.low, found.interval.high
    return f"time over onnxruntime's {found.ratio:.3f} ({low:.3f} to {high:.3f}): {found.verdict}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=1000)
    options = parser.parse_args()
    options.bench = options.bench.resolve()
    logging.disable(logging.WARNING)
    print(f"{'model':23}{'by':13}{'top-1':>8}{'agree':>8}{'SQNR':>7}{'size':>7}{'speed':>7}"
          f"{'made in':>9}")  # fmt: skip
    for name, data in MODELS.items():
        model = options.bench / "models" / f"{name}.onnx"
        float_session = Session(model)
        calib = opened(options.bench / "data" / f"{data}_calib.npz", float_session.signature)
        judged = opened(options.bench / "data" / f"{data}_eval.npz", float_session.signature)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            files = {"float": (model, 0.0)}
            files["qtool"] = folder / "ours.onnx", ours(model, calib, folder / "ours.onnx")
            try:
                made = theirs(model, calib, folder / "theirs.onnx", folder)
                files["onnxruntime"] = folder / "theirs.onnx", made
            except Exception as error:  # what it raises is part of the comparison
                print(f"{name:23}onnxruntime fails: {type(error).__name__}: {str(error)[:60]}")
            report(name, files, judged, options.rounds)
            if "onnxruntime" in files:
                feeds = next(judged.batches(1))
                print(f"{'':23}{beside(files['onnxruntime'][0], files['qtool'][0], feeds)}")
            running = inspect.running(folder / "ours.onnx")
            print(f"{'':23}integers {running.integer}  float {running.floating}  "
                  f"Q/DQ {running.conversions}")  # fmt: skip


def report(name: str, files: dict[str, tuple[Path, float]], data: Dataset, rounds: int) -> None:
    assert data.labels is not None
    reference = outputs(files["float"][0], data)
    taken = times([path for path, _ in files.values()], next(data.batches(1)), rounds)
    for (label, (path, made)), median in zip(files.items(), taken, strict=True):
        found = outputs(path, data)
        top1 = float((found.argmax(1) == data.labels).mean())
        agree = float((found.argmax(1) == reference.argmax(1)).mean())
        size = path.stat().st_size / files["float"][0].stat().st_size
        print(f"{name:23}{label:13}{top1:8.4f}{agree:8.4f}{sqnr_db(reference, found):7.2f}"
              f"{size:7.3f}{taken[0] / median:7.2f}{made:8.1f}s")  # fmt: skip


if __name__ == "__main__":
    main()
