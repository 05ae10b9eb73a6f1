"""Two models of a few layers, samples for them, and the table of layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from qtool.compare.layers import compare_layers
from qtool.compare.result import LayerError
from qtool.data import Dataset, open_dataset
from qtool.numeric.metrics import sqnr_db
from qtool.runtime import Session
from tests.models import Array, save

INF = float("inf")


def dataset(model: Path, samples: Array) -> Dataset:
    """The rows as samples, beside the model."""
    folder = model.parent / "data"
    folder.mkdir(exist_ok=True)
    np.save(folder / "x.npy", samples)
    return open_dataset(folder, Session(model, threads=1).signature)


def models(folder: Path, graphs: tuple[str, str], constants: dict[str, Array]) -> tuple[Path, Path]:
    """Both as files; a constant is kept where a graph names it."""
    paths = []
    for name, graph in zip(("reference", "candidate"), graphs, strict=True):
        words = set(graph.replace("(", " ").replace(")", " ").replace(",", " ").split())
        kept = {key: value for key, value in constants.items() if key in words}
        extra = '"com.microsoft": 1'
        paths.append(save(folder / f"{name}.onnx", graph, extra=extra, **kept))
    return paths[0], paths[1]


def table(pair: tuple[Path, Path], samples: Array, **options: Any) -> dict[str, LayerError]:
    """The rows by tensor, from the worst own error on."""
    found = compare_layers(*pair, dataset(pair[0], samples), threads=1, **options)
    own = [row.own_db for row in found.errors]
    assert own == sorted(own)
    return {row.tensor: row for row in found.errors}


def assert_errors(
    row: LayerError, reference: Array, candidate: Array, exact: Array | None = None
) -> None:
    """The row says what these values say; `exact` is the candidate's with exact inputs, the
    candidate's own if not given."""
    own = candidate if exact is None else exact
    close = {"rel": 1e-3, "abs": 1e-3}
    assert_close(row.sqnr_db, sqnr_db(reference, candidate), **close)
    assert_close(row.own_db, sqnr_db(reference, own), **close)
    power = float((reference.astype(np.float64) ** 2).sum())
    came = float(((candidate.astype(np.float64) - own) ** 2).sum())
    assert_close(row.inherited_db, 10 * np.log10(power / came) if came else INF, **close)
    assert row.values == reference.size


def assert_close(found: float, expected: float, *, rel: float, abs: float) -> None:
    """Equal, or nearly; an error of rounding alone (100 dB) is none."""
    if expected > 100:
        assert found > 100
    else:
        np.testing.assert_allclose(found, expected, rtol=rel, atol=abs)


def relu(x: Array) -> Array:
    """What Relu gives."""
    return np.maximum(x, 0)


def rounded(x: Array, scale: float, zero: int = 0, low: int = 0, high: int = 255) -> Array:
    """x behind QuantizeLinear and DequantizeLinear."""
    step = np.float32(scale)
    codes = np.clip(np.rint(x / step) + zero, low, high)
    return np.asarray((codes - zero).astype(np.float32) * step)
