"""A model and data to calibrate, and what tests compare."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qtool import workflow
from qtool.calibrate.file import Calibration
from qtool.calibrate.resume import Checkpoint
from qtool.calibrate.spans import WHOLE, Shard
from qtool.data import open_dataset
from qtool.data.dataset import Dataset
from qtool.recipe import Recipe
from qtool.target import load_target
from tests.models import normal, save, weight

GRAPH = """g (float[N,3,H,W] x) => (float[N,5] y) {
    c = Conv<pads = [1, 1, 1, 1]>(x, w) r = Relu(c) d = Conv(r, v) p = GlobalAveragePool(d)
    f = Flatten(p) y = MatMul(f, u)
}"""


def job(folder: Path) -> workflow.Job:
    path = folder / "model.onnx"
    if not path.exists():
        save(path, GRAPH, w=weight(8, 3, 3, 3), v=weight(6, 8, 1, 1), u=weight(5, 6).T.copy())
    return workflow.open_job(path, Recipe(), load_target("cpu"), threads=1)


def data(folder: Path, *, samples: int = 20, sizes: tuple[int, ...] = (8,)) -> Dataset:
    """One file a sample; `sizes` are the pictures' heights and widths in turn."""
    calib = folder / "calib"
    if not calib.exists():
        calib.mkdir()
        for number in range(samples):
            size = sizes[number % len(sizes)]
            np.save(calib / f"{number:03}.npy", normal(3, size, size, seed=number))
    return open_dataset(calib, job(folder).signature)


def measured(
    folder: Path,
    used: Dataset,
    *,
    batch_size: int = 1,
    shard: Shard = WHOLE,
    kept: Checkpoint | None = None,
) -> Calibration:
    return workflow.measure(job(folder), used, batch_size=batch_size, shard=shard, kept=kept)


def saved(calibration: Calibration, path: Path) -> bytes:
    calibration.save(path, force=True)
    return path.read_bytes()
