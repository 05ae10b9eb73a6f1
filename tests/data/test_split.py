"""Parts of a data set: nothing is in two, nothing is lost, and a new file changes one place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qtool.data import Dataset, open_dataset
from qtool.data.split import alike, split
from qtool.runtime import Session
from tests.data.folders import model, save_arrays
from tests.data.stateful import LENGTHS, files, recurrent


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("plain")
    save_arrays(folder, {f"{i:02}": np.full(3, i, np.float32) for i in range(60)})
    rows = "".join(f"{i:02}.npy,{i % 7}\n" for i in range(60))
    (folder / "labels.csv").write_text(f"file,label\n{rows}")
    return open_dataset(folder, model(x=("N", 3)))


@pytest.mark.parametrize("shares", [(1,), (1, 1), (20, 20, 20), (0.1, 0.45, 0.45), (0, 1, 1)])
@pytest.mark.parametrize("seed", [0, 3])
def test_each_sample_is_in_one_part(plain: Dataset, shares: tuple[float, ...], seed: int) -> None:
    parts = split(plain, shares, seed)
    names = [name for part in parts for name in part.names]
    assert sorted(names) == sorted(plain.names)
    for part, share in zip(parts, shares, strict=True):
        assert abs(len(part) - share / sum(shares) * 60) <= 1
        assert list(part.names) == sorted(part.names)


def test_labels_go_with_their_samples(plain: Dataset) -> None:
    assert plain.labels is not None
    known = dict(zip(plain.names, plain.labels, strict=True))
    for part in split(plain, (1, 2), 0):
        assert part.labels is not None
        assert [known[name] for name in part.names] == list(part.labels)


def test_seeds_differ_and_are_kept(plain: Dataset) -> None:
    one, other = (split(plain, (1, 1), seed)[0] for seed in (0, 1))
    assert list(one.names) != list(other.names)
    assert list(split(plain, (1, 1), 0)[0].names) == list(one.names)
    assert (one.seed, other.seed) == (0, 1)


def test_what_was_chosen_by_the_same_seed_lies_in_all_parts(plain: Dataset) -> None:
    chosen = plain.choose(30, 0)
    parts = split(chosen, (1, 1), 0)
    assert {len(part) for part in parts} == {15}
    whole = [set(part.names) for part in split(plain, (1, 1), 0)]
    assert all(set(chosen.names) & part for part in whole)


def test_sequences_stay_whole(tmp_path: Path) -> None:
    signature = Session(recurrent(tmp_path)).signature
    data = open_dataset(files(tmp_path / "data"), signature)
    parts = split(data, (1, 1), 0)
    assert sum(len(part) for part in parts) == sum(LENGTHS)
    for part in parts:
        assert all(len(rows) in LENGTHS for rows in part.sequences)


def test_copies_go_together_and_what_is_used_goes_out(tmp_path: Path) -> None:
    save_arrays(tmp_path, {f"{i:02}": np.full(3, i // 3, np.float32) for i in range(60)})
    data = open_dataset(tmp_path, model(x=("N", 3)))
    groups = alike(data)
    assert sorted(map(len, groups)) == [3] * 20
    used = data.take([0, 31])
    assert len(alike(data, used)) == 18
    parts = split(data, (1, 1), 0, alike(data, used))
    held = [{float(part.sample(i)["x"][0]) for i in range(len(part))} for part in (*parts, used)]
    assert [len(each) for each in held] == [9, 9, 2]
    assert len(set.union(*held)) == 20


def test_a_sequence_that_was_begun_is_used(tmp_path: Path) -> None:
    signature = Session(recurrent(tmp_path)).signature
    data = open_dataset(files(tmp_path / "data"), signature)
    assert len(alike(data)) == len(LENGTHS)
    first = data.take(range(1))
    assert len(alike(data, first)) == len(LENGTHS) - 1


def test_two_groups_of_any_length_are_in_two_parts(plain: Dataset) -> None:
    for cut in (1, 5, 30, 55, 59):
        groups = [range(cut), range(cut, 60)]
        for seed in range(4):
            assert all(len(part) for part in split(plain, (1, 1), seed, groups))
