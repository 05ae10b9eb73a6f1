"""What holds for every kind of data: order, choice, batches, what is said."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from qtool.data import READERS, Fed, open_dataset, watch
from qtool.errors import DataError, UsageError
from tests.data.folders import model, noise, numbered, save_arrays

X = model(x=("N", 2))


def test_every_reader_has_its_own_suffixes() -> None:
    suffixes = [suffix for reader in READERS.values() for suffix in reader.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in suffixes)


def test_listing_order_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_arrays(tmp_path, {f"{c}/{i}": noise(2, seed=i) for c in "ba" for i in range(5)})
    data = open_dataset(tmp_path, X)
    assert list(data.names) == sorted(data.names)
    scandir = os.scandir

    class Reversed:
        def __init__(self, path: str) -> None:
            with scandir(path) as entries:
                self.entries = list(entries)[::-1]

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(os, "scandir", Reversed)
    again = open_dataset(tmp_path, X)
    assert (again.names, again.fingerprint) == (data.names, data.fingerprint)
    assert again.choose(4, 0).names == data.choose(4, 0).names


def test_choice(tmp_path: Path) -> None:
    data = numbered(tmp_path, 50)
    chosen = data.choose(10, 0)
    assert len(chosen) == len(set(chosen.names)) == 10
    assert list(chosen.names) == sorted(chosen.names) and set(chosen.names) < set(data.names)
    assert chosen.names == data.choose(10, 0).names != data.choose(10, 1).names
    for index, name in enumerate(chosen.names):
        assert chosen.sample(index)["x"][0] == int(name.removesuffix(".npy"))


def test_choice_does_not_change_with_versions_of_numpy(tmp_path: Path) -> None:
    assert numbered(tmp_path, 20).choose(3, 0).names == ("0005.npy", "0008.npy", "0011.npy")


def test_a_new_file_changes_one_choice_at_most(tmp_path: Path) -> None:
    before = set(numbered(tmp_path, 50).choose(10, 0).names)
    for count in range(51, 60):
        after = set(numbered(tmp_path, count).choose(10, 0).names)
        assert len(before - after) <= 1
        before = after


def test_every_sample_is_chosen_alike_often(tmp_path: Path) -> None:
    data = numbered(tmp_path, 10)
    counts = dict.fromkeys(data.names, 0)
    for seed in range(400):
        for name in data.choose(5, seed).names:
            counts[name] += 1
    assert all(150 < count < 250 for count in counts.values())  # 200 expected, deviation 10


@pytest.mark.parametrize("samples", [None, 5, 6])
def test_choice_of_all(tmp_path: Path, samples: int | None) -> None:
    data = numbered(tmp_path, 5)
    assert data.choose(samples, 0).names == data.names


def test_choice_of_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="0 samples"):
        numbered(tmp_path, 5).choose(0, 0)


def test_batches(tmp_path: Path) -> None:
    batches = [batch["x"] for batch in numbered(tmp_path, 7).batches(3)]
    assert [batch.shape for batch in batches] == [(3, 2), (3, 2), (1, 2)]
    np.testing.assert_array_equal(np.concatenate(batches)[:, 0], np.arange(7))


def test_batches_end_where_shapes_change(tmp_path: Path) -> None:
    lengths = [3, 3, 3, 4, 3]
    save_arrays(tmp_path, {str(i): np.full(n, i, np.int64) for i, n in enumerate(lengths)})
    data = open_dataset(tmp_path, model(x=("N", "L")))
    assert [batch["x"].shape for batch in data.batches(2)] == [(2, 3), (1, 3), (1, 4), (1, 3)]


def test_batches_of_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="0 samples"):
        next(numbered(tmp_path, 1).batches(0))


def test_samples_are_read_when_asked_for(tmp_path: Path) -> None:
    data = numbered(tmp_path, 3)
    batches = data.batches(1)
    next(batches)
    (tmp_path / "0002.npy").unlink()
    next(batches)
    with pytest.raises(DataError, match=r"0002\.npy"):
        next(batches)


def test_describe(tmp_path: Path) -> None:
    data = numbered(tmp_path, 10)
    assert data.describe() == "used 10 of 10 files, float32 (2,), range 0 … 9"
    chosen = data.choose(3, 7)
    low, high = (int(chosen.names[i].removesuffix(".npy")) for i in (0, -1))
    expected = f"used 3 of 10 files (seed 7), float32 (2,), range {low} … {high}"
    fed: dict[str, Fed] = {}
    assert sum(len(batch["x"]) for batch in watch(chosen.batches(2), fed)) == 3
    assert chosen.describe(fed) == chosen.describe() == expected
    assert chosen.describe({}) == "used 3 of 10 files (seed 7)"


def test_describe_ragged_and_several(tmp_path: Path) -> None:
    for i, length in enumerate((3, 5)):
        save_arrays(tmp_path, {f"a/{i}": np.full(length, i), f"b/{i}": np.full((1, 2), -0.25)})
    data = open_dataset(tmp_path, model(a=("N", "L"), b=("N", 1, 2)))
    assert data.describe().splitlines() == [
        "used 2 of 2 files",
        "  a float32 (3…5,), range 0 … 1",
        "  b float32 (1, 2), range -0.25 … -0.25",
    ]
