"""Blocks: fixed runs of samples, within which batches lie; and the choice of whole sequences."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtool.data import Dataset, open_dataset
from qtool.errors import UsageError
from qtool.runtime import Session
from tests.data.folders import model, numbered, save_arrays
from tests.data.stateful import LENGTHS, SEQUENCES, files, recurrent


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """Whether both are the same batches in the same order."""
    return len(found) == len(expected) and all(
        list(one) == list(other) and all(np.array_equal(one[name], other[name]) for name in other)
        for one, other in zip(found, expected, strict=True)
    )


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("ragged")
    lengths = [3, 3, 4, 4, 4, 3, 5, 5, 5, 5, 5]
    save_arrays(folder, {f"{i:02}": np.full(n, i, np.int64) for i, n in enumerate(lengths)})
    return open_dataset(folder, model(x=("N", "L"), dtype="int64"))


@pytest.fixture(scope="module")
def stateful(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("stateful")
    files(folder / "data")
    return open_dataset(folder / "data", Session(recurrent(folder), threads=1).signature)


@pytest.mark.parametrize(
    ("size", "blocks"),
    [
        (1, [range(1), range(1, 2), range(2, 3), range(3, 4), range(4, 5)]),
        (2, [range(2), range(2, 4), range(4, 5)]),
        (5, [range(5)]),
        (9, [range(5)]),
    ],
)
def test_blocks_cut_the_rows(tmp_path: Path, size: int, blocks: list[range]) -> None:
    assert numbered(tmp_path, 5).blocks(size) == blocks


def test_blocks_of_sequences(stateful: Dataset) -> None:
    assert stateful.blocks(1) == [range(3), range(3, 4), range(4, 9)]


def test_blocks_of_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="0 samples"):
        numbered(tmp_path, 1).blocks(0)


def test_blocks_of_many_rows_cost_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1_000_000, 1), np.uint8))
    data = open_dataset(tmp_path, model(x=("N", 1)))
    start = time.process_time()
    blocks = data.blocks(1)
    assert (len(blocks), blocks[-1], blocks[77]) == (10**6, range(999_999, 10**6), range(77, 78))
    assert next(data.batches(1, [blocks[-1]]))["x"].shape == (1, 1)
    assert time.process_time() - start < 0.05, "a pass over all rows takes longer"


def test_a_batch_lies_within_a_block(ragged: Dataset) -> None:
    found = [(list(b["x"][:, 0]), b["x"].shape[1]) for b in ragged.batches(4)]
    # Blocks [0, 4) and [4, 8) and [8, 11), lengths 3 3 4 4 | 4 3 5 5 | 5 5 5.
    assert found == [
        ([0, 1], 3), ([2, 3], 4), ([4], 4), ([5], 3), ([6, 7], 5), ([8, 9, 10], 5),
    ]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.lists(st.integers(0, 11)), st.booleans())
def test_law_parts_are_the_whole(
    ragged: Dataset, stateful: Dataset, size: int, cuts: list[int], states: bool
) -> None:
    """batches(b, p) + batches(b, q) + … = batches(b), for blocks cut anywhere into p, q, …"""
    data, size = (stateful, 1) if states else (ragged, size)
    blocks = data.blocks(size)
    ends = sorted({0, len(blocks), *(cut for cut in cuts if cut < len(blocks))})
    parts = [blocks[i:j] for i, j in itertools.pairwise(ends)]
    found = [batch for part in parts for batch in data.batches(size, part)]
    assert same(found, list(data.batches(size)))
    assert all(len(batch["x"]) <= size for batch in found)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.randoms(use_true_random=False))
def test_law_a_block_does_not_know_its_neighbours(ragged: Dataset, size: int, random: Any) -> None:
    """In any order, each block gives the batches that it gives alone."""
    blocks = list(ragged.blocks(size))
    alone = {block: list(ragged.batches(size, [block])) for block in blocks}
    random.shuffle(blocks)
    found = list(ragged.batches(size, blocks))
    assert same(found, [batch for block in blocks for batch in alone[block]])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(0, 5))
def test_law_a_choice_is_of_whole_sequences_but_for_one_prefix(
    stateful: Dataset, samples: int, seed: int
) -> None:
    """1. so many, 2. in order, 3. each a prefix, 4. all whole but one, 5. the same again."""
    chosen = stateful.choose(samples, seed)
    assert len(chosen) == min(samples, 9)  # 1
    assert list(chosen.names) == sorted(chosen.names)  # 2
    lengths = dict(zip(("s0", "s1", "s2"), LENGTHS, strict=True))
    cut = 0
    for rows in chosen.blocks(1):
        folder = chosen.names[rows.start].split("/")[0]
        assert chosen.names[rows.start : rows.stop] == tuple(
            f"{folder}/{row:03}.npy" for row in range(len(rows))
        )  # 3
        cut += len(rows) < lengths[folder]
    assert cut <= 1  # 4
    assert chosen.names == stateful.choose(samples, seed).names  # 5
    assert chosen.total == 9 and chosen.seed == (seed if samples < 9 else None)


def test_a_longer_choice_holds_the_shorter(stateful: Dataset) -> None:
    for seed in range(5):
        chosen = [set(stateful.choose(samples, seed).names) for samples in range(1, 10)]
        assert all(one < other for one, other in itertools.pairwise(chosen))


def test_every_sequence_is_chosen_alike_often(stateful: Dataset) -> None:
    firsts = [stateful.choose(1, seed).names[0] for seed in range(300)]
    counts = {name: firsts.count(name) for name in firsts}
    assert set(counts) == {f"s{number}/000.npy" for number in range(len(SEQUENCES))}
    assert all(70 < count < 130 for count in counts.values())  # 100 expected, deviation 8
