"""A float pass over data, and the passes of onnxruntime's calibrators, in this process or alone.

    python -m tests.benchmarks.one_pass METHOD MODEL FEEDS SAMPLES FOLDER

METHOD is `plain` or one of `CALIBRATORS`, FEEDS what `store` wrote. Nothing of qtool is imported,
and nothing of onnxruntime's quantizer for `plain`, so that memory is that of the pass.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Feeds = Mapping[str, NDArray[Any]]
CALIBRATORS = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}


def plain(model: Path, batches: Iterable[Feeds]) -> None:
    """Load a model and run it."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    for feeds in batches:
        session.run(None, dict(feeds))


def preprocess(model: Path, folder: Path) -> Path:
    """The model as onnxruntime's quantizer wants it, as far as its pre-processing gets."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with contextlib.chdir(folder):  # it leaves files in the working folder
        try:
            quant_pre_process(str(model), "preprocessed.onnx")
        except Exception:  # "Incomplete symbolic shape inference", for which it has an option
            quant_pre_process(str(model), "preprocessed.onnx", skip_symbolic_shape=True)
    return folder / "preprocessed.onnx"


def theirs(method: str, model: Path, batches: Iterable[Feeds], folder: Path) -> int:
    """Load and calibrate as quantize_static does at its defaults; how many tensors got a range."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    with contextlib.redirect_stdout(io.StringIO()):  # it tells what it does for each tensor
        calibrator = create_calibrator(
            model,
            sorted({*QLinearOpsRegistry, *QDQRegistry}),
            augmented_model_path=str(folder / "augmented.onnx"),
            calibrate_method=CalibrationMethod[CALIBRATORS[method]],
        )
        calibrator.collect_data(_Reader(batches))
        return len(list(calibrator.compute_data().keys()))


class _Reader:
    def __init__(self, batches: Iterable[Feeds]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        feeds = next(self._batches, None)
        return None if feeds is None else dict(feeds)


def store(batches: Iterable[Feeds], path: Path) -> None:
    """Write feeds into one .npz that `stored` reads one by one."""
    arrays = {f"{i}/{name}": x for i, feeds in enumerate(batches) for name, x in feeds.items()}
    np.savez(path, allow_pickle=False, **arrays)


def stored(path: Path) -> Iterator[Feeds]:
    with np.load(path) as file:
        names = sorted({key.split("/", 1)[1] for key in file.files})
        for index in range(len(file.files) // len(names)):
            yield {name: file[f"{index}/{name}"] for name in names}


def main() -> None:
    method, model, feeds, samples, folder = sys.argv[1:]
    logging.disable(logging.WARNING)
    batches = islice(stored(Path(feeds)), int(samples))
    if method == "plain":
        plain(Path(model), batches)
    else:
        theirs(method, Path(model), batches, Path(folder))


if __name__ == "__main__":
    main()
