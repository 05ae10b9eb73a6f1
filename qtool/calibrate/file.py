"""The calibration file: what was measured, bound to the model and the data it was measured on.

A safetensors file. For each tensor: the occupied bins and their counts, and the exact range. Its
header says what was measured, how much of it, and with which versions; a digest over all of it
tells an edited or damaged file from a good one.

A whole run, one shard of it, and what an interrupted run leaves are the same thing: they differ in
the blocks of samples that they cover. So merging shards and going on are additions, and the file
does not tell how it came about.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from qtool.calibrate.spans import Span
from qtool.data.fed import Fed
from qtool.errors import DataError
from qtool.files import atomic_write
from qtool.numeric.histogram import Histogram

FORMAT = 2


@dataclass(frozen=True)
class Run:
    """What all parts of one run have in common.

    `model` is the digest of the model as transformed, `counted` the most values of a tensor that
    are counted in a sample, `samples` how many were chosen of `total` by `seed`, `blocks` how many
    pieces they are cut into, `declared` the preprocessing as it stands in qtool.toml.
    """

    model: str
    samples: int
    total: int
    seed: int | None
    batch_size: int
    blocks: int
    counted: int
    declared: dict[str, Any]
    versions: dict[str, str]


@dataclass(frozen=True)
class Calibration:
    """Histograms by tensor name, of the samples in the blocks that `covers` names.

    `data` is the digest of what was fed (`qtool.data.fed.digest`), `fed` what it looked like.
    """

    run: Run
    covers: tuple[Span, ...]
    samples: int
    data: str
    fed: dict[str, Fed]
    histograms: dict[str, Histogram]

    @property
    def complete(self) -> bool:
        """Whether nothing of the run is missing."""
        return self.covers == ((0, self.run.blocks),)

    def save(self, path: Path, *, force: bool, note: str = "") -> None:
        """Write the file, whole or not at all; `note` is kept with it and read by `read_note`."""
        arrays: dict[str, NDArray[Any]] = {}
        for index, histogram in enumerate(self.histograms.values()):
            arrays[f"{index}.bins"] = histogram.bins
            arrays[f"{index}.counts"] = histogram.counts
            arrays[f"{index}.range"] = np.array([histogram.low, histogram.high], np.float32)
        header: dict[str, Any] = {
            "format": FORMAT,
            "run": asdict(self.run),
            "covers": [list(span) for span in self.covers],
            "samples": self.samples,
            "data": self.data,
            "fed": {name: asdict(fed) for name, fed in sorted(self.fed.items())},
            "tensors": [[name, h.on_grid] for name, h in self.histograms.items()],
        }
        if note:
            header["note"] = note
        header["sha256"] = _digest(header, arrays)
        # One key: safetensors writes several in an order that changes from run to run.
        metadata = {"qtool": json.dumps(header, sort_keys=True)}
        atomic_write(path, safetensors.numpy.save(arrays, metadata), force=force)


def load(path: Path) -> Calibration:
    """Read a calibration file, or a part of one.

    Raises:
        DataError: not a calibration file, of another format, damaged or edited.
    """
    return load_with_note(path)[0]


def load_with_note(path: Path) -> tuple[Calibration, str]:
    """As `load`, with the note that it was saved with."""
    header, arrays = _read(path)
    histograms = {}
    for index, (name, on_grid) in enumerate(header["tensors"]):
        low, high = map(float, arrays[f"{index}.range"])
        histograms[name] = Histogram(
            arrays[f"{index}.bins"], arrays[f"{index}.counts"], low, high, on_grid
        )
    calibration = Calibration(
        Run(**header["run"]),
        tuple((start, stop) for start, stop in header["covers"]),
        header["samples"],
        header["data"],
        {name: Fed.from_dict(fed) for name, fed in header["fed"].items()},
        histograms,
    )
    return calibration, header.get("note", "")


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
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
        raise DataError(
            f"{path} is not a calibration file of qtool, or is cut short",
            reason,
            "qtool calibrate MODEL --data DIR -o FILE",
        ) from error
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
    return header, arrays


def _digest(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for key in sorted(arrays):
        digest.update(f"\n{key} {arrays[key].dtype} {arrays[key].shape}\n".encode())
        digest.update(np.ascontiguousarray(arrays[key]).tobytes())
    return digest.hexdigest()
