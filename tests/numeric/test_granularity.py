"""The view laws: cut into blocks, reduce inside a block, spread one number over a block."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qtool.numeric.granularity import Granularity, PerBlock, PerChannel, PerTensor, reduce, spread

SHAPES = st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple)


@st.composite
def views(draw: Any) -> tuple[tuple[int, ...], Granularity]:
    shape = draw(SHAPES)
    axis = draw(st.integers(0, len(shape) - 1))
    size = draw(st.integers(1, 9))
    return shape, draw(st.sampled_from([PerTensor(), PerChannel(axis), PerBlock(axis, size)]))


def labels(shape: tuple[int, ...], granularity: Granularity) -> NDArray[Any]:
    """For each element the number of its block, written out index by index."""
    found = np.zeros(shape, np.int64)
    for index in np.ndindex(*shape):
        match granularity:
            case PerChannel(axis):
                found[index] = index[axis]
            case PerBlock(axis, size):
                key = (*index[:axis], index[axis] // size, *index[axis + 1 :])
                found[index] = hash_of(key)
            case _:
                found[index] = 0
    return found


def hash_of(key: tuple[int, ...]) -> int:
    return sum(k * 10**i for i, k in enumerate(key))


@given(views())
def test_spreading_a_reduction_gives_each_element_its_blocks_value(
    view: tuple[tuple[int, ...], Granularity],
) -> None:
    shape, granularity = view
    x = np.random.default_rng(0).normal(size=shape)
    block_of = labels(shape, granularity)
    for f, name in ((np.min, "min"), (np.max, "max")):
        wide = np.broadcast_to(spread(reduce(x, granularity, f), granularity, shape), shape)
        for label in np.unique(block_of):
            inside = x[block_of == label]
            assert (wide[block_of == label] == getattr(inside, name)()).all()


@given(views())
def test_reducing_a_spread_gives_the_grid_back(
    view: tuple[tuple[int, ...], Granularity],
) -> None:
    shape, granularity = view
    grid = reduce(np.zeros(shape), granularity, np.max)
    values = np.random.default_rng(1).normal(size=grid.shape)
    wide = np.broadcast_to(spread(values, granularity, shape), shape)
    assert (reduce(np.ascontiguousarray(wide), granularity, np.max) == values).all()


def test_a_short_last_block() -> None:
    x = np.array([[1.0, 2.0, 3.0, 4.0, -5.0]])
    assert reduce(x, PerBlock(1, 2), np.min).tolist() == [[1, 3, -5]]
    assert reduce(x, PerBlock(1, 2), np.max).tolist() == [[2, 4, -5]]
    assert spread(np.array([[10, 20, 30]]), PerBlock(1, 2), (1, 5)).tolist() == [
        [10, 10, 20, 20, 30]
    ]


def test_a_sum_over_a_short_last_block_counts_each_value_once() -> None:
    x = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]])
    assert reduce(x, PerBlock(1, 3), np.sum).tolist() == [[6, 9]]


@pytest.mark.parametrize("size", [4, 100])
def test_a_block_as_long_as_the_axis_or_longer_is_one(size: int) -> None:
    assert reduce(np.ones((4, 2)), PerBlock(0, size), np.sum).tolist() == [[4, 4]]
