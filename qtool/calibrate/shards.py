"""What a worker does: pieces of one run, measured where the worker is, on data that it opens."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import threading
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import onnx_ir as ir

from qtool import model as models
from qtool.calibrate.file import Calibration, Run
from qtool.calibrate.merge import difference
from qtool.calibrate.run import measure, run_of
from qtool.calibrate.spans import Span
from qtool.data import Dataset, Declaration, open_dataset
from qtool.data.remote import located, release
from qtool.errors import DataError, MachineError, QtoolError
from qtool.runtime import use_libraries
from qtool.signature import Signature


@dataclass(frozen=True)
class Task:
    """All that a worker needs to know of a run; it can be pickled, and goes to each worker once.

    `model` holds the bytes of the model as transformed. The samples are those at `place`, a path or
    a URL, chosen as `samples` and `seed` say; `digest` tells them from others of the same number.
    `declaration` is None where it stands beside the data. `libraries` are those of the model's own
    operators, which must lie at the same paths there. `number` is of this run alone: between
    runs the data may change.
    """

    model: bytes = field(repr=False)
    tensors: tuple[str, ...]
    signature: Signature
    place: str
    declaration: Declaration | None
    samples: int
    seed: int
    on_bad_file: Literal["error", "skip"]
    run: Run
    digest: str
    threads: int = 0
    libraries: tuple[str, ...] = ()
    number: str = field(default_factory=lambda: secrets.token_hex(8))


def digest_of(data: Dataset) -> str:
    """Tells data from other data: all names, and what is in the first sample."""
    found = hashlib.sha256()
    for name in data.names:
        found.update(f"{name}\n".encode())
    for name, array in sorted(data.sample(0).items()):
        found.update(f"{name} {array.dtype} {array.shape}\n".encode() + array.tobytes())
    return found.hexdigest()


def measure_shard(task: Task, span: Span, at_once: int = 1) -> Calibration:
    """Statistics of the blocks in `span`. So many are measured at once in this process.

    Raises:
        DataError: a sample is bad, or this machine has other data or other versions.
        MachineError: this machine lacks a library of custom operators.
    """
    model, data = _opened(task)
    threads = task.threads
    if at_once > 1 and not threads:  # all cores, but shared
        threads = share_of_cores(at_once)
    return measure(model, task.tensors, data, task.run, span, threads=threads)


def share_of_cores(count: int) -> int:
    """The threads of each of so many that work at once on this machine."""
    known = hasattr(os, "sched_getaffinity")  # not on macOS and Windows
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return max(1, cores // count)


def _opened(task: Task) -> tuple[ir.Model, Dataset]:
    """Model and data, which stay open until another task comes."""
    with _lock:
        if not _open or _open[0][0] != task.number:
            _open[:] = [(task.number, _open_both(task))]
        return _open[0][1]


def _open_both(task: Task) -> tuple[ir.Model, Dataset]:
    load_libraries(task.libraries)
    place = located(task.place)
    every = open_dataset(place, task.signature, task.declaration, on_bad_file=task.on_bad_file)
    data = every.choose(task.samples, task.seed)
    weakref.finalize(data, release, place)  # a worker may live long, and see many runs
    model = models.parse(task.model)
    # The model was sent; read and written again, its bytes need not be the same.
    here = replace(run_of(model, data, task.run.batch_size), model=task.run.model)
    differs = difference(task.run, here)
    if not differs and digest_of(data) != task.digest:
        differs = OTHER_SAMPLES
    if differs:
        raise other_worker(differs)
    return model, data


def load_libraries(paths: Iterable[str]) -> None:
    """Take in custom operators, on a worker.

    Raises:
        MachineError: this machine lacks one.
    """
    try:
        use_libraries(map(Path, paths))
    except QtoolError as error:
        raise MachineError(
            f"a worker on {_here()} cannot load what the model needs",
            ": ".join(filter(None, (error.what, error.why))),
            "give all machines the same library at the same path",
        ) from error


def other_worker(differs: str) -> DataError:
    """What to say of a worker that has other versions, or other samples."""
    return DataError(
        f"a worker on {_here()} would measure something else",
        f"it differs in {differs}",
        "give all machines the same versions of packages, and the same data at the same place",
    )


OTHER_SAMPLES = "the samples themselves: their names, or what is in the first of them"


def _here() -> str:
    return platform.node() or "another machine"


_lock = threading.Lock()
_open: list[tuple[str, tuple[ir.Model, Dataset]]] = []  # the last task's, or nothing
