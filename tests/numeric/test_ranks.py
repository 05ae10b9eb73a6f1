"""Rank correlation against scipy, with ties and in blocks; cosines against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics.pairwise import paired_cosine_distances

from qtool.numeric.ranks import cosines, ranks, spearman

RNG = np.random.default_rng(5)


@given(hnp.arrays(np.float64, (3, 7), elements=st.integers(-3, 3).map(float)))
@settings(deadline=None)
def test_ranks_are_scipys_with_ties(values: np.ndarray[tuple[int, int]]) -> None:
    assert ranks(values).tolist() == scipy.stats.rankdata(values, axis=-1).tolist()


@pytest.mark.parametrize("n", [2, 3, 40])
@pytest.mark.parametrize("levels", [3, 1000])
def test_spearman_is_scipys_row_by_row(n: int, levels: int) -> None:
    truth, values = RNG.integers(0, levels, (2, 5, n)).astype(np.float32)
    truth[:, 0], values[:, 0] = -1, -2  # no row is constant
    found = spearman(truth, values)
    assert found.shape == (5,)
    for row in range(5):
        expected = scipy.stats.spearmanr(truth[row], values[row]).statistic
        assert found[row] == pytest.approx(expected, abs=1e-12)
        assert spearman(truth[row], values[row]) == found[row]


@pytest.mark.parametrize("levels", [4, 10**6])
def test_counts_are_repetitions(levels: int) -> None:
    truth, values = RNG.integers(0, levels, (2, 30)).astype(np.float64)
    counts = RNG.multinomial(30, np.full(30, 1 / 30), size=8)
    expected = [float(spearman(np.repeat(truth, row), np.repeat(values, row))) for row in counts]
    assert spearman(truth, values, counts) == pytest.approx(expected, abs=1e-12)


def test_what_has_no_ranks_has_no_correlation() -> None:
    rising, constant = np.arange(4.0), np.full(4, 0.1)
    unknown = np.array([1, np.nan, 2, 3])
    for pair in ((rising, constant), (constant, rising), (constant, constant), (unknown, rising)):
        assert math.isnan(spearman(*pair))
    assert math.isnan(spearman(np.ones(1), np.ones(1)))
    assert spearman(rising, rising**3) == 1
    assert spearman(rising, -rising) == -1
    assert spearman(np.array([1, np.inf, -np.inf]), np.array([0.0, 2.0, -2.0])) == 1
    only = np.array([[0, 4, 0, 0], [1, 1, 1, 1]])  # a resample of one sample alone
    assert np.isnan(spearman(rising, rising, only)).tolist() == [True, False]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_cosines_are_scikit_learns(dtype: str) -> None:
    first, second = RNG.normal(size=(2, 6, 3, 4)).astype(dtype)
    expected = 1 - paired_cosine_distances(first.reshape(6, 12), second.reshape(6, 12))
    assert cosines(first, second) == pytest.approx(
        expected, abs=2e-3 if dtype == "float16" else 1e-6
    )
    assert cosines(first, first) == pytest.approx(np.ones(6), abs=1e-15)
    large = np.full((1, 3), 6e4, dtype)
    assert cosines(large, -large) == pytest.approx([-1])


def test_cosines_of_nothing() -> None:
    first = np.array([[0, 0], [1, 0], [np.nan, 1], [1e100, 0]])
    found = cosines(first, np.array([[1, 0], [0, 0], [1, 1], [1, 1]]))
    assert found == pytest.approx([0, 0, math.nan, math.sqrt(0.5)], nan_ok=True)
    assert cosines(first[:0], first[:0]).shape == (0,)
