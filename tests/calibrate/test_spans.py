"""Blocks done and left, shards, and how they are written."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.calibrate.spans import Shard, gaps, inside, parse_shard, pieces, union
from qtool.errors import UsageError


@given(st.sets(st.integers(0, 30)), st.randoms(use_true_random=False))
def test_union_and_gaps_are_sets(blocks: set[int], chance: object) -> None:
    singles = [(block, block + 1) for block in blocks]
    chance.shuffle(singles)  # type: ignore[attr-defined]
    joined = union(singles)
    assert {b for start, stop in joined for b in range(start, stop)} == blocks
    assert all(a[1] < b[0] for a, b in pairwise(joined))
    left = gaps(joined, (0, 31))
    assert {b for start, stop in left for b in range(start, stop)} == set(range(31)) - blocks
    assert union([*joined, *left]) == ((0, 31),)


def test_what_two_cover_is_told() -> None:
    with pytest.raises(ValueError) as error:
        union([(0, 4), (8, 9), (2, 6)])
    assert error.value.args == (2, 4)


@pytest.mark.parametrize("blocks", [1, 2, 7, 8, 100])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_shards_cover_each_block_once(blocks: int, count: int) -> None:
    if count > blocks:
        with pytest.raises(UsageError, match="more than there are"):
            Shard(1, count).span(blocks)
        return
    spans = [Shard(number, count).span(blocks) for number in range(1, count + 1)]
    assert union(spans) == ((0, blocks),)
    lengths = [stop - start for start, stop in spans]
    assert max(lengths) - min(lengths) <= 1


def test_pieces_are_short_and_nothing_is_lost() -> None:
    made = pieces([(0, 10), (12, 13)], 4)
    assert made == [(0, 4), (4, 8), (8, 10), (12, 13)]


@pytest.mark.parametrize(("covers", "within"), [([(2, 5)], True), ([(1, 5)], False), ([], True)])
def test_inside(covers: list[tuple[int, int]], within: bool) -> None:
    assert inside(covers, (2, 9)) == within


def test_a_shard_reads_back() -> None:
    assert parse_shard("3/8") == Shard(3, 8)
    assert str(Shard(3, 8)) == "3/8"


@pytest.mark.parametrize("text", ["", "3", "0/8", "9/8", "a/b", "1/2/3", "-1/2", "1/0", "²/3"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="part of a whole"):
        parse_shard(text)
