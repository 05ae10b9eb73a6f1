"""The middle and its interval, held against scipy-free brute force and against chance."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from qtool.numeric.hodges_lehmann import hodges_lehmann


def test_the_middle_is_the_median_of_all_means_of_two() -> None:
    values = np.array([0.0, 1.0, 10.0])
    # 0, 0.5, 1, 5, 5.5, 10
    assert hodges_lehmann(values)[0] == 3.0


@pytest.mark.parametrize("n", [6, 7, 10])
def test_cover_counted_over_all_signs(n: int) -> None:
    """Under symmetry each sign is as likely as the other: at most 5 % of them leave 0 outside."""
    sizes = np.arange(1, n + 1) + 0.1 * np.sqrt(np.arange(n))  # no two sums are equal
    outside = 0
    for signs in product((-1, 1), repeat=n):
        _, low, high = hodges_lehmann(sizes * signs)
        outside += not low <= 0 <= high
    assert 0 < outside / 2**n <= 0.05
    # One mean further in on each side would be too narrow.
    assert outside / 2**n > 0.02


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_values_know_nothing(n: int) -> None:
    _, low, high = hodges_lehmann(np.arange(float(n)))
    assert (low, high) == (-np.inf, np.inf)


@pytest.mark.parametrize(("n", "wild"), [(12, 1), (20, 2)])
def test_a_few_wild_values_move_it_little(n: int, wild: int) -> None:
    values = np.random.default_rng(0).normal(0, 0.01, n)
    values[:wild] = 50.0
    _, low, high = hodges_lehmann(values)
    assert -0.03 < low < high < 0.03


def test_equal_values_are_certain() -> None:
    assert hodges_lehmann(np.full(8, 0.25)) == (0.25, 0.25, 0.25)


def test_order_does_not_matter_and_sign_is_kept() -> None:
    values = np.random.default_rng(1).normal(size=9)
    middle, low, high = hodges_lehmann(values)
    assert hodges_lehmann(values[::-1]) == (middle, low, high)
    assert hodges_lehmann(-values) == pytest.approx((-middle, -high, -low))
