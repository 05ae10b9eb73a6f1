"""Cells judged by workers: what they are told, and what each does on data that it opens."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from qtool import model as models
from qtool.calibrate.file import Calibration
from qtool.calibrate.run import run_of
from qtool.calibrate.shards import OTHER_SAMPLES, digest_of, load_libraries, other_worker
from qtool.external import external
from qtool.files import discard_folder, temporary_folder
from qtool.sweep.cells import Cell
from qtool.sweep.judging import Bench
from qtool.sweep.result import Measure, Outcome
from qtool.sweep.setup import Setup

Item: TypeAlias = tuple[int, Cell, bool]
"""The number of a cell, the cell, and whether the bytes of its file are to come back."""
Judged: TypeAlias = tuple[Outcome, bytes | None]


@dataclass(frozen=True)
class Task:
    """All that a worker needs to know of a sweep; it can be pickled, and goes to each worker once.

    `model` holds the bytes of the model, which has `size` with all that belongs to it. `measured`
    are the ranges of every cell, `digests` tell the samples of both parts from others, `versions`
    the packages. `libraries` must lie at the same paths there. `number` is of this run alone.
    """

    setup: Setup
    metric: Measure
    model: bytes = field(repr=False)
    size: int
    measured: Mapping[str, Calibration] = field(repr=False)
    digests: tuple[str, str]
    versions: Mapping[str, str]
    libraries: tuple[str, ...] = ()
    number: str = field(default_factory=lambda: secrets.token_hex(8))


def bytes_of(path: Path) -> bytes:
    """A model in one piece: the file as it is, or with the weights that lie beside it."""
    model = models.load(path)
    return models.serialize(model) if any(external(model)) else path.read_bytes()


def judge_cell(task: Task, item: Item, at_once: int = 1) -> Judged:
    """One cell, on a worker.

    Raises:
        DataError: this machine has other data or other versions.
        MachineError: it lacks a library of custom operators, or room.
    """
    _, cell, keep = item
    with _lock:  # a process has one folder and one maker; processes are what work goes to
        return _opened(task).judge(cell, task.metric, keep=keep)


def _opened(task: Task) -> Bench:
    """Model and data, which stay open until another task comes."""
    if not _open or _open[0][0] != task.number:
        for _, bench in _open:
            discard_folder(bench.folder)
        _open[:] = []
        _open[:] = [(task.number, _bench(task))]
    return _open[0][1]


def _bench(task: Task) -> Bench:
    load_libraries(task.libraries)
    folder = temporary_folder()
    path = folder / "model.onnx"
    path.write_bytes(task.model)
    parts = task.setup.opened(models.signature(models.load(path)))
    bench = Bench(path, task.setup, parts, folder, task.size)
    here = versions_of(bench)
    differs = [
        name for name in {**task.versions, **here} if task.versions.get(name) != here.get(name)
    ]
    if (digest_of(parts[0]), digest_of(parts[1])) != task.digests:
        differs.append(OTHER_SAMPLES)
    if differs:
        raise other_worker(", ".join(differs))
    bench.maker.learn(task.measured)
    return bench


def versions_of(bench: Bench) -> Mapping[str, str]:
    """The packages that a result may depend on."""
    return run_of(models.load(bench.model), bench.calibration, bench.setup.batch_size).versions


_lock = threading.Lock()
_open: list[tuple[str, Bench]] = []  # the last task's, or nothing
