"""What a worker does with a piece: opens model and data once, and makes sure of both."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest

from qtool.calibrate.run import run_of
from qtool.calibrate.shards import Task, measure_shard
from qtool.calibrate.spread import Workers
from qtool.data.files import MIRRORS
from qtool.data.mirror import Stubs
from qtool.errors import DataError, MachineError
from qtool.recipe import Recipe
from tests.calibrate import made
from tests.models import normal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small model and 20 pictures."""
    made.data(tmp_path)
    return tmp_path


def task(folder: Path) -> Task:
    job = made.job(folder)
    used = made.data(folder).choose(15, 0)
    run = run_of(job.model, used, 2)
    workers = Workers(str(folder / "calib"), threads=1)
    here = job.model, job.sites.sources, used, run, job.signature
    return workers.task(*here, Recipe(samples=15))


def rename(folder: Path, given: Task) -> Task:
    (folder / "calib" / "004.npy").rename(folder / "calib" / "0040.npy")
    return given


def rewrite(folder: Path, given: Task) -> Task:
    first = sorted((folder / "calib").iterdir())[0]
    np.save(first, np.load(first) + 1)
    return given


def add(folder: Path, given: Task) -> Task:
    np.save(folder / "calib" / "020.npy", normal(3, 8, 8))
    return given


def declare(folder: Path, given: Task) -> Task:
    (folder / "calib" / "qtool.toml").write_text("[data.inputs.x]\nscale = 2.0\n")
    return given


def update(folder: Path, given: Task) -> Task:
    versions = {**given.run.versions, "onnxruntime": "0.1"}
    return replace(given, run=replace(given.run, versions=versions))


def operators(folder: Path, given: Task) -> Task:
    versions = {**given.run.versions, "custom operators": "5ca1ab1e"}
    return replace(given, run=replace(given.run, versions=versions))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (rename, "the samples themselves"),
        (rewrite, "the samples themselves"),
        (add, "total: 20, 21"),
        (declare, "the preprocessing in qtool.toml"),
        (update, "the version of onnxruntime: 0.1, "),
        (operators, "the version of custom operators: 5ca1ab1e, None"),
    ],
)
def test_a_worker_that_would_measure_something_else_says_so(
    folder: Path, change: Callable[[Path, Task], Task], why: str
) -> None:
    given = task(folder)
    assert measure_shard(given, (2, 4)).covers == ((2, 4),)
    changed = change(folder, replace(given, number="another run"))
    with pytest.raises(DataError, match="would measure something else") as raised:
        measure_shard(changed, (2, 4))
    assert why in raised.value.why


def test_a_worker_without_the_library_says_so(folder: Path) -> None:
    library = str(folder / "own.so")
    with pytest.raises(MachineError) as caught:
        measure_shard(replace(task(folder), libraries=(library,)), (0, 1))
    assert caught.value.what.startswith("a worker on ")
    assert f"{library} does not exist" in caught.value.why
    assert "the same library at the same path" in caught.value.fix


def test_one_task_is_opened_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = task(folder)
    first = measure_shard(given, (0, 3))
    monkeypatch.setattr("qtool.calibrate.shards.open_dataset", None)
    assert measure_shard(given, (3, 8), 2).samples == 9
    assert measure_shard(given, (0, 3)).data == first.data


def test_what_came_from_a_url_goes_with_the_next_run(folder: Path) -> None:
    system = fsspec.filesystem("memory")
    system.put(f"{folder / 'calib'}/", "/calib-of-workers/", recursive=True)
    known = len(MIRRORS)
    here = task(folder)
    there = replace(here, place="memory://calib-of-workers", number="at a URL")
    expected = made.saved(measure_shard(here, (1, 3)), folder / "here")
    assert made.saved(measure_shard(there, (1, 3)), folder / "there") == expected
    [mirror] = MIRRORS[known:]
    assert isinstance(mirror, Stubs)
    assert list(mirror.folder.iterdir())
    measure_shard(here, (0, 1))
    gc.collect()
    assert not mirror.folder.exists()


def test_a_worker_without_the_data_says_so(folder: Path) -> None:
    given = replace(task(folder), place=str(folder / "elsewhere"))
    with pytest.raises(DataError, match=r"no data at .*elsewhere"):
        measure_shard(given, (0, 1))
