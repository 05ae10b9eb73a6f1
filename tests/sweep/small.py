"""A small model with labelled samples, and a sweep of it in tens of milliseconds a cell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.sweep.axes import read_axes
from qtool.sweep.cells import grid
from qtool.sweep.kept import Kept
from qtool.sweep.run import Sweeping
from qtool.sweep.setup import Setup
from tests.models import normal, save, weight

GRAPH = "g (float[N,24] x) => (float[N,10] y) { h = MatMul(x, w) r = Relu(h) y = MatMul(r, v) }"
QUICK = Recipe(algorithms=(), placement="all")


def folder(path: Path, samples: int = 40) -> Path:
    """`model.onnx` and `data/` with what the model itself answers as labels."""
    model = save(path / "model.onnx", GRAPH, w=weight(24, 16), v=weight(16, 10, seed=2))
    (path / "data").mkdir()
    x = normal(samples, 24)
    np.save(path / "data" / "x.npy", x)
    np.save(path / "data" / "labels.npy", Session(model, threads=1).run({"x": x})["y"].argmax(1))
    return path


def sweeping(path: Path, axes: Mapping[str, str], **options: Any) -> Sweeping:
    """A sweep of it; options of Sweeping or Setup."""
    values = read_axes(axes)
    base = options.pop("base", QUICK)
    given = {k: options.pop(k) for k in list(options) if k in Setup.__dataclass_fields__}
    setup = Setup(str(path / "data"), base, **given)
    cells = options.pop("cells", None) or grid(base, values)
    kept = options.pop("kept", None) or Kept(path / "sweep.json")
    return Sweeping(path / "model.onnx", setup, cells, values, kept, **options)
