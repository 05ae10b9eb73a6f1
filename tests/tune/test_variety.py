"""Samples made of others: mixed, and of images turned, moved and cut; in all inputs alike."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from qtool.tune.variety import varied

Reals = NDArray[np.float32]
HALF = np.arange(40) % 2 == 0


def made(x: Reals, other: Reals, plain: NDArray[np.bool_] = HALF, seed: int = 0) -> Reals:
    found = varied({"x": x}, {"x": other}, plain, np.random.default_rng(seed))["x"]
    assert found.dtype == x.dtype and found.shape == x.shape
    return found


def images(shape: tuple[int, ...], low: float, high: float, count: int = 40) -> Reals:
    """Each is a slope from side to side."""
    side = 1 if shape[0] > 4 else 2
    slope = np.linspace(low, high, shape[side], dtype=np.float32)
    rank = [-1 if axis == side else 1 for axis in range(3)]
    return np.broadcast_to(slope.reshape(rank), (count, *shape)).copy()


def test_plain_samples_are_as_they_were_and_what_was_given_is_left_alone() -> None:
    x, other = images((1, 12, 16), 0, 1), images((1, 12, 16), 4, 5)
    before = x.copy(), other.copy()
    found = made(x, other)
    np.testing.assert_array_equal(found[HALF], x[HALF])
    assert all((new != old).any() for new, old in zip(found[~HALF], x[~HALF], strict=True))
    np.testing.assert_array_equal((x, other), before)


@pytest.mark.parametrize("shape", [(5,), (20, 20), (2, 12, 12), (12, 12, 12), (1, 4, 12)])
def test_what_is_no_image_is_mixed_place_by_place(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    x, other = rng.normal(size=(2, 40, *shape)).astype(np.float32)
    for new, one, two in zip(made(x, other)[~HALF], x[~HALF], other[~HALF], strict=True):
        share = np.median((new - two) / (one - two))
        assert 0 <= share <= 1
        np.testing.assert_allclose(new, share * one + (1 - share) * two, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 12, 16), (3, 12, 16), (16, 12, 3), (16, 12, 1)])
def test_images_are_turned_and_moved_and_parts_of_two(shape: tuple[int, ...]) -> None:
    none = np.zeros(400, bool)
    found = made(images(shape, 1, 2, 400), images(shape, 11, 12, 400), none)
    own, others = found <= 2, found >= 11
    whole = (own | others).reshape(400, -1).all(axis=1)
    cut = whole & others.reshape(400, -1).any(axis=1)
    assert 100 < cut.sum() < 160 and 100 < (~whole).sum() < 160, "a third each"
    assert others[cut].mean() == pytest.approx(0.5, abs=0.08), "a box of any size"
    for image in others[cut]:
        places = np.argwhere(image)
        assert (np.ptp(places, axis=0) + 1).prod() == len(places), "one box"
    side = 1 if shape[0] > 4 else 2
    alone = found[own.reshape(400, -1).all(axis=1)]
    slope = np.diff(alone, axis=side + 1).sum(axis=(1, 2, 3))
    assert 0.35 < (slope > 0).mean() < 0.65


def test_inputs_of_a_sample_are_seen_alike() -> None:
    """A mask stays the mask of its image."""
    x, other = np.random.default_rng(2).normal(size=(2, 40, 3, 16, 16)).astype(np.float32)
    feeds, others = ({"x": each, "mask": each[:, :1]} for each in (x, other))
    found = varied(feeds, others, np.zeros(40, bool), np.random.default_rng(3))
    np.testing.assert_array_equal(found["mask"], found["x"][:, :1])


def test_the_seed_decides() -> None:
    x, other = np.random.default_rng(4).normal(size=(2, 40, 1, 16, 16)).astype(np.float32)
    np.testing.assert_array_equal(made(x, other), made(x, other))
    assert (made(x, other, seed=1) != made(x, other)).any()
