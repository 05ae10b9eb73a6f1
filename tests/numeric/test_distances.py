"""Sums of rows against the sums of each row alone, and the figures that any set of rows gives."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import sklearn.metrics as truth

from qtool.numeric import distances
from qtool.numeric.distances import SUMS, Errors, cosine_of, mean_abs_of, row_sums, sqnr_of

RNG = np.random.default_rng(17)
Column = dict[str, distances.Floats]


def pair(*shape: int, dtype: str = "float32") -> tuple[distances.Array, distances.Array]:
    reference = RNG.normal(size=shape).astype(dtype)
    return reference, (reference + RNG.normal(scale=0.1, size=shape)).astype(dtype)


def columns(reference: distances.Array, candidate: distances.Array) -> Column:
    return dict(zip(SUMS, row_sums(reference, candidate)[1].T, strict=True))


@pytest.mark.parametrize("chunk", [1, 5, 24, 25, 1 << 16])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rows_are_summed_apart(chunk: int, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "CHUNK", chunk)
    reference, candidate = pair(7, 3, 8, dtype=dtype)
    whole, found = row_sums(reference, candidate)
    assert found.shape == (7, len(SUMS))
    for r, c, sums in zip(reference, candidate, found, strict=True):
        one = Errors().add(r, c)
        assert sums == pytest.approx([getattr(one, name) for name in SUMS], rel=1e-12)
        assert sums[SUMS.index("error_sum")] == pytest.approx(
            24 * truth.mean_absolute_error(r.ravel().astype(float), c.ravel().astype(float))
        )
    together = Errors().add(reference, candidate)
    for name in (*SUMS, "largest", "nonfinite", "skipped"):
        assert getattr(whole, name) == pytest.approx(getattr(together, name), rel=1e-12)


def test_what_is_not_finite_is_in_no_row() -> None:
    reference, candidate = pair(4, 6)
    reference[1, 2], reference[1, 3] = np.nan, np.inf
    candidate[1, 3], candidate[2, 0], candidate[2, 5] = -np.inf, np.nan, np.inf
    whole, found = row_sums(reference, candidate)
    assert (whole.skipped, whole.nonfinite, whole.count) == (2, 2, 20)
    assert found[:, SUMS.index("count")].tolist() == [6, 4, 4, 6]
    kept = np.isfinite(reference) & np.isfinite(candidate)
    for row in range(4):
        alone = Errors().add(reference[row][kept[row]], candidate[row][kept[row]])
        assert found[row] == pytest.approx([getattr(alone, name) for name in SUMS], rel=1e-12)
    assert whole.largest == np.abs(reference - candidate)[kept].max()
    assert whole.sqnr_db == -math.inf


def test_finite_values_whose_sums_are_not() -> None:
    huge = np.array([[1e200, 1e200], [1.7e308, 1.7e308], [1.0, 2.0]])
    whole, found = row_sums(huge, -huge)
    assert (whole.skipped, whole.nonfinite, whole.count) == (0, 0, 6)
    assert found[2].tolist() == [20, 5, 5, -5, 6, 2]
    assert found[0, 0] == math.inf


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,)])
def test_no_rows_and_empty_rows(shape: tuple[int, ...]) -> None:
    whole, found = row_sums(np.zeros(shape), np.zeros(shape))
    assert found.tolist() == [[0] * len(SUMS)] * shape[0]
    assert whole == Errors()


def test_one_number_a_row_and_integers() -> None:
    _, found = row_sums(np.array([0, 200], np.uint8), np.array([255, 200], np.uint8))
    assert found.tolist() == [[255**2, 0, 255**2, 0, 255, 1], [0, 40000, 40000, 40000, 0, 1]]


def test_figures_of_rows_are_those_of_the_whole() -> None:
    reference, candidate = pair(9, 5)
    sums, whole = columns(reference, candidate), Errors().add(reference, candidate)
    power, other = sums["reference_power"], sums["candidate_power"]
    assert sqnr_of(sums["error_power"], power) == pytest.approx(whole.sqnr_db)
    assert cosine_of(sums["dot"], power, other) == pytest.approx(whole.cosine)
    assert mean_abs_of(sums["error_sum"], sums["count"]) == pytest.approx(whole.mean_abs_error)


def test_figures_of_resamples() -> None:
    reference, candidate = pair(9, 5)
    sums = columns(reference, candidate)
    index = RNG.integers(0, 9, (4, 9))
    counts = np.stack([np.bincount(row, minlength=9) for row in index])
    functions: dict[Callable[..., distances.Floats], tuple[str, ...]] = {
        sqnr_of: ("error_power", "reference_power"),
        cosine_of: ("dot", "reference_power", "candidate_power"),
        mean_abs_of: ("error_sum", "count"),
    }
    for function, names in functions.items():
        given = [sums[name] for name in names]
        expected = function(*(column[index] for column in given))
        assert expected.shape == (4,)
        assert function(*given, counts=counts) == pytest.approx(expected, rel=1e-12)
    resampled = Errors().add(reference[index[0]], candidate[index[0]])
    found = sqnr_of(sums["error_power"], sums["reference_power"], counts)
    assert found[0] == pytest.approx(resampled.sqnr_db)


def test_figures_of_nothing() -> None:
    zero, one = np.zeros(3), np.ones(3)
    assert sqnr_of(zero, zero) == math.inf
    assert sqnr_of(one, zero) == -math.inf
    assert cosine_of(zero, zero, zero) == 1
    assert cosine_of(zero, one, zero) == 0
    assert cosine_of(2 * one, one, one) == 1, "rounding leads beyond 1"
    assert mean_abs_of(zero, zero) == 0
