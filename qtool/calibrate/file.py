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
from typing import Annotated, Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open

from qtool.calibrate.spans import Span, inside, union
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

    `data` is the digest of what was fed (`qtool.data.fed.fingerprint`), `fed` what it looked like.
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
        """Write the file, whole or not at all; `note` is kept and read by `load_with_note`."""
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
    try:
        return _checked(header, arrays), header.get("note", "")
    except (KeyError, ValueError, TypeError) as error:  # pydantic's errors are ValueErrors
        raise DataError(
            f"{path} does not hold what a calibration file holds",
            str(error).splitlines()[0],
            "calibrate again",
        ) from error


def _checked(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Calibration:
    """What the header and the arrays say. A digest tells of damage; whoever edits can make one."""
    told = _Header.model_validate_json(json.dumps(header), strict=True)
    run, covers = told.run, tuple(told.covers)
    if union(covers) != covers or not inside(covers, (0, run.blocks)):
        raise ValueError(f"it covers batches {covers} of {run.blocks}")
    if len(told.tensors) * 3 != len(arrays):
        raise ValueError(f"it names {len(told.tensors)} tensors and has {len(arrays)} arrays")
    histograms = {}
    for index, (name, on_grid) in enumerate(told.tensors):
        bins, counts, ends = (arrays[f"{index}.{kind}"] for kind in ("bins", "counts", "range"))
        kinds = [(each.dtype.str, each.ndim) for each in (bins, counts, ends)]
        if kinds != [("<u2", 1), ("<i8", 1), ("<f4", 1)] or ends.shape != (2,):
            raise ValueError(f"the arrays of {name!r} are {kinds}")
        values = (bins.astype(np.uint32) << 16).view(np.float32)
        total = counts.astype(np.float64).sum()
        if bins.shape != counts.shape or (np.diff(bins.astype(np.int64)) <= 0).any():
            raise ValueError(f"the bins of {name!r} are out of order")
        if not np.isfinite(values).all() or (counts <= 0).any() or total >= 2**62:
            raise ValueError(f"the counts of {name!r} cannot be")
        low, high = map(float, ends)
        if not (np.isfinite(ends).all() and low <= high) and (total or low != np.inf):
            raise ValueError(f"the range of {name!r} is {low} to {high}")
        histograms[name] = Histogram(bins, counts, low, high, on_grid)
    return Calibration(run, covers, told.samples, told.data, told.fed, histograms)


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: int
    run: Run
    covers: list[Span]
    samples: Annotated[int, Field(ge=0)]
    data: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    fed: dict[str, Fed]
    tensors: list[tuple[str, bool]]
    note: str = ""


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
    except (
        SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError, RecursionError,
    ) as error:  # fmt: skip
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
