"""The fingerprint changes with whatever changes what is fed, and with nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtool.data import open_dataset
from tests.data.folders import declare, model, noise, numbered, save_arrays

X = model(x=("N", 2))


def test_fingerprint_stays_when_the_folder_moves(tmp_path: Path) -> None:
    data = numbered(tmp_path / "a", 4)
    shutil.copytree(tmp_path / "a", tmp_path / "b" / "c")
    os.utime(tmp_path / "b" / "c" / "0001.npy", (0, 0))
    assert open_dataset(tmp_path / "b" / "c", X).fingerprint == data.fingerprint


def change_byte(folder: Path) -> None:
    np.save(folder / "0001.npy", np.full(2, 1.5, np.float32))


CHANGES: dict[str, Any] = {
    "datum": change_byte,
    "one more": lambda folder: np.save(folder / "9.npy", np.zeros(2, np.float32)),
    "one twice": lambda folder: shutil.copy(folder / "0001.npy", folder / "9.npy"),
    "one less": lambda folder: (folder / "0001.npy").unlink(),
    "declaration": lambda folder: declare(folder, "[data.inputs.x]\nscale = 2\n"),
}
NO_CHANGES: dict[str, Any] = {
    "name": lambda folder: (folder / "0001.npy").rename(folder / "zzz.npy"),
    "labels": lambda folder: np.save(folder / "labels.npy", np.arange(4)),
    "two swapped": lambda folder: save_arrays(
        folder, {"0001": np.full(2, 2, np.float32), "0002": np.full(2, 1, np.float32)}
    ),
    "width of a float": lambda folder: np.save(folder / "0001.npy", np.full(2, 1, np.float64)),
    "declaration that changes nothing": lambda folder: declare(
        folder, "[data.inputs.x]\nscale = 1\n"
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_fingerprint_changes_with_what_is_fed(tmp_path: Path, change: Any) -> None:
    before = numbered(tmp_path, 4).fingerprint
    change(tmp_path)
    assert open_dataset(tmp_path, X).fingerprint != before


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES.keys())
def test_fingerprint_stays_while_the_same_is_fed(tmp_path: Path, change: Any) -> None:
    before = numbered(tmp_path, 4).fingerprint
    change(tmp_path)
    assert open_dataset(tmp_path, X).fingerprint == before


def test_fingerprint_of_a_choice(tmp_path: Path) -> None:
    data = numbered(tmp_path, 10)
    prints = {data.fingerprint, *(data.choose(5, seed).fingerprint for seed in range(3))}
    assert len(prints) == 4
    shutil.rmtree(tmp_path)
    save_arrays(tmp_path, {"x": noise(10, 2)})
    data = open_dataset(tmp_path, X)
    assert (
        len({data.fingerprint, data.choose(5, 0).fingerprint, data.choose(5, 1).fingerprint}) == 3
    )
