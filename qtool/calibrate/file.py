"""The calibration file: what was measured, bound to the model and the data it was measured on.

A safetensors file. For each tensor: the occupied bins and their counts, and the exact range. Its
header names the format, the model (as transformed), the data, and the versions; a digest over all
of it tells an edited or damaged file from a good one.
"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

import qtool
from qtool.errors import DataError
from qtool.files import atomic_write
from qtool.model import ONNX_VERSION
from qtool.numeric.histogram import Histogram
from qtool.runtime import VERSION as RUNTIME_VERSION

FORMAT = 1


@dataclass(frozen=True)
class Calibration:
    """Histograms by tensor name; `model` and `data` are SHA-256 digests of what was measured."""

    histograms: dict[str, Histogram]
    model: str
    data: str
    samples: int

    def save(self, path: Path, *, force: bool) -> None:
        """Write the file, whole or not at all."""
        arrays: dict[str, NDArray[Any]] = {}
        for index, histogram in enumerate(self.histograms.values()):
            bins = np.flatnonzero(histogram.counts)
            arrays[f"{index}.bins"] = bins.astype(np.uint16)
            arrays[f"{index}.counts"] = histogram.counts[bins]
            arrays[f"{index}.range"] = np.array([histogram.low, histogram.high], np.float32)
        header: dict[str, Any] = {
            "format": FORMAT,
            "model": self.model,
            "data": self.data,
            "samples": self.samples,
            "tensors": [[name, h.on_grid] for name, h in self.histograms.items()],
            "versions": {
                "qtool": qtool.__version__,
                "onnx": ONNX_VERSION,
                "onnxruntime": RUNTIME_VERSION,
                "python": platform.python_version(),
            },
        }
        header["sha256"] = _digest(header, arrays)
        # One key: safetensors writes several in an order that changes from run to run.
        metadata = {"qtool": json.dumps(header, sort_keys=True)}
        atomic_write(path, safetensors.numpy.save(arrays, metadata), force=force)


def load(path: Path) -> Calibration:
    """Read a calibration file.

    Raises:
        DataError: not a calibration file, of another format, damaged or edited.
    """
    if path.exists() and not path.is_file():  # opening a pipe would wait for a writer
        raise DataError(f"{path} is not a calibration file of qtool", "it is not a regular file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in sorted(file.keys())}
        header = json.loads(metadata["qtool"])
        intact = header.pop("sha256") == _digest(header, arrays)
    except FileNotFoundError:
        raise DataError(f"no file {path}", fix="qtool calibrate MODEL --data DIR -o FILE") from None
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        reason = "it has no header of ours" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{path} is not a calibration file of qtool", reason) from error
    if header.get("format") != FORMAT:
        raise DataError(
            f"{path} has format {header.get('format')}",
            f"this qtool reads format {FORMAT}",
            "calibrate again",
        )
    if not intact:
        raise DataError(
            f"{path} is damaged or was edited", "its digest does not match", "calibrate again"
        )
    histograms = {}
    for index, (name, on_grid) in enumerate(header["tensors"]):
        counts = np.zeros_like(Histogram.empty().counts)
        counts[arrays[f"{index}.bins"]] = arrays[f"{index}.counts"]
        low, high = map(float, arrays[f"{index}.range"])
        histograms[name] = Histogram(counts, low, high, on_grid)
    return Calibration(histograms, header["model"], header["data"], header["samples"])


def _digest(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for key in sorted(arrays):
        digest.update(f"\n{key} {arrays[key].dtype} {arrays[key].shape}\n".encode())
        digest.update(np.ascontiguousarray(arrays[key]).tobytes())
    return digest.hexdigest()
