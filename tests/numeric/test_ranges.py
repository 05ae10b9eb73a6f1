"""Range methods against their definitions and against brute force on the raw data."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qtool.numeric.affine import dequantize, from_range, quantize
from qtool.numeric.histogram import Histogram, merged
from qtool.numeric.mse import _error_of, mse
from qtool.numeric.ranges import METHODS, PERCENTILE, minmax, percentile
from qtool.numeric.types import INT8, UINT8, IntType
from tests.numeric.distributions import both, every, seen


def loss(x: NDArray[Any], low: float, high: float, kind: IntType, symmetric: bool) -> float:
    """What quantizing the raw values to this range really costs."""
    params = from_range(np.asarray(low), np.asarray(high), kind, symmetric=symmetric)
    restored = dequantize(quantize(x, params), params)
    return float(((restored.astype(np.float64) - x) ** 2).sum())


@every
@both
def test_minmax_is_all_that_was_seen(name: str, kind: IntType, symmetric: bool) -> None:
    x, histogram = seen(name)
    assert minmax(histogram, kind, symmetric) == (float(x.min()), float(x.max()))


@every
def test_percentile_asymmetric(name: str) -> None:
    x, histogram = seen(name)
    tail = (100 - PERCENTILE) / 2
    for found, q in zip(percentile(histogram, UINT8, False), (tail, 100 - tail), strict=True):
        assert within_a_bin(found, np.percentile(x, q, method="inverted_cdf"))


@every
def test_percentile_symmetric(name: str) -> None:
    x, histogram = seen(name)
    low, high = percentile(histogram, INT8, True)
    assert low == -high
    assert within_a_bin(high, np.percentile(np.abs(x), PERCENTILE, method="inverted_cdf"))


@pytest.mark.parametrize("sign", [1, -1])
def test_percentiles_of_a_known_distribution(sign: int) -> None:
    """A million values at the quantiles of the exponential distribution."""
    x = -np.log1p(-(np.arange(1_000_000) + 0.5) / 1_000_000)
    histogram = Histogram.empty().observe(sign * x)
    tail = (1 - PERCENTILE / 100) / 2
    ends = sorted(sign * -np.log([1 - tail, tail]))
    # A bin, and the step from one of the outermost values to the next.
    assert percentile(histogram, UINT8, False) == pytest.approx(ends, rel=0.02, abs=1e-6)
    assert percentile(histogram, INT8, True)[1] == pytest.approx(-np.log(2 * tail), rel=0.02)


def within_a_bin(found: float, exact: Any) -> bool:
    return bool(abs(found - exact) <= abs(exact) / 128)


def test_a_percentile_leaves_the_outermost_values_outside() -> None:
    many = np.random.default_rng(1).random(1_000_000).astype(np.float32)
    # 1e-5 of a million values are 10, so 5 on each side
    for outliers, inside in ((4, True), (7, False)):
        x = np.concatenate([many, np.full(outliers, -50), np.full(outliers, 80)])
        low, high = percentile(Histogram.empty().observe(x), UINT8, False)
        assert (abs(low) < 1e-4) == (abs(high - 1) < 1 / 128) == inside


@every
@both
def test_mse_finds_the_least_error_to_2_percent(name: str, kind: IntType, symmetric: bool) -> None:
    x, histogram = seen(name)
    found = loss(x, *mse(histogram, kind, symmetric), kind, symmetric)
    # Values on a grid of bins are a few numbers: their loss is known exactly, most often 0.
    assert found <= 1.02 * brute_force(x, kind, symmetric) + 1e-9


@both
@pytest.mark.parametrize("share", [1.0, 0.7, 0.3, 0.01])
@pytest.mark.parametrize("name", ["gaussian", "relu", "lognormal", "an outlier that hides all"])
def test_the_objective_is_what_quantizing_costs(
    name: str, share: float, kind: IntType, symmetric: bool
) -> None:
    x, histogram = seen(name)
    low, high = share * float(x.min()), share * float(x.max())
    if symmetric:
        low, high = -max(-low, high), max(-low, high)
    found = _error_of(histogram, kind, symmetric)(low, high)
    # Within a bin of 1/128, values are not known: a few percent where few of them decide.
    assert found == pytest.approx(loss(x, low, high, kind, symmetric), rel=0.04)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_mse_finds_the_range_of_a_normal_distribution(bits: int) -> None:
    """Where the expected error is least, from the integrals of (x - q)^2 over each step."""
    grid = np.linspace(-6, 6, 120_001)
    below = np.array([NormalDist().cdf(each) for each in grid])
    x = np.interp((np.arange(1_000_000) + 0.5) / 1_000_000, below, grid)
    _, found = mse(Histogram.empty().observe(x), IntType(bits, True), True)
    most = (1 << (bits - 1)) - 1
    steps = np.linspace(0.8, 1.25, 226) * found / most
    least = min(expected_error(float(step), most) for step in steps)
    assert expected_error(found / most, most) <= 1.01 * least


def expected_error(step: float, most: int) -> float:
    """E (x - q)^2 of a standard normal x, where q is the nearest of -most .. most steps."""
    total = 0.0
    for code in range(-most, most + 1):
        low = -9.0 if code == -most else (code - 0.5) * step
        high = 9.0 if code == most else (code + 0.5) * step
        mass = NormalDist().cdf(high) - NormalDist().cdf(low)
        first = NormalDist().pdf(low) - NormalDist().pdf(high)  # the integral of x
        second = mass + low * NormalDist().pdf(low) - high * NormalDist().pdf(high)  # of x^2
        total += second - 2 * code * step * first + (code * step) ** 2 * mass
    return total


def brute_force(x: NDArray[np.float32], kind: IntType, symmetric: bool) -> float:
    """The least loss over ranges in steps of 2 %, and of 0.5 % around the best."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    coarse = np.concatenate([np.linspace(1, 0.3, 36), 0.3 * 0.85 ** np.arange(1, 30)])
    fine = np.linspace(0.97, 1.03, 13)
    if symmetric:
        top = max(-low, high)
        best = min(coarse, key=lambda s: loss(x, -top * s, top * s, kind, True))
        return min(loss(x, -top * best * f, top * best * f, kind, True) for f in fine)
    if low < 0 < high:  # two ends: a subset is enough to see where to look closer
        part = np.concatenate([x[::20], [x.min(), x.max()]])
        _, a, b = min(
            (loss(part, low * a, high * b, kind, False), a, b) for a in coarse for b in coarse
        )
        return min(loss(x, low * a * f, high * b * g, kind, False) for f in fine for g in fine)
    best = min(coarse, key=lambda s: loss(x, low * s, high * s, kind, False))
    return min(loss(x, low * best * f, high * best * f, kind, False) for f in fine)


@every
@both
@pytest.mark.parametrize("method", METHODS)
def test_mse_is_never_worse_on_its_own_objective(
    name: str, kind: IntType, symmetric: bool, method: str
) -> None:
    x, histogram = seen(name)
    other = loss(x, *METHODS[method](histogram, kind, symmetric), kind, symmetric)
    # 1 %: mse knows values to 1/128, which moves a rounding error by less than that on average.
    assert loss(x, *mse(histogram, kind, symmetric), kind, symmetric) <= 1.01 * other + 1e-9


@every
@both
@pytest.mark.parametrize("method", METHODS)
def test_no_method_covers_more_than_was_seen(
    name: str, kind: IntType, symmetric: bool, method: str
) -> None:
    x, histogram = seen(name)
    low, high = METHODS[method](histogram, kind, symmetric)
    most = float(np.abs(x).max()) if symmetric else max(float(x.max()), 0.0)
    least = -most if symmetric else min(float(x.min()), 0.0)
    assert least <= low <= high <= most


@every
@both
@pytest.mark.parametrize("method", METHODS)
def test_parts_that_were_merged_give_the_same_range(
    name: str, kind: IntType, symmetric: bool, method: str
) -> None:
    x, histogram = seen(name)
    parts = [Histogram.empty().observe(part) for part in np.array_split(x, 3)]
    whole = merged(reversed(parts))
    assert METHODS[method](whole, kind, symmetric) == METHODS[method](histogram, kind, symmetric)


@both
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["gaussian", "relu", "uneven", "lognormal", "whole numbers"])
def test_ends_need_not_have_been_counted(
    name: str, kind: IntType, symmetric: bool, method: str
) -> None:
    """`low` and `high` are of all values, of which those on the outside were not counted."""
    x, histogram = seen(name)
    inner = x[np.abs(x) < np.quantile(np.abs(x[x != 0]), 0.9)]
    part = Histogram.of(inner, histogram.low, histogram.high)
    low, high = METHODS[method](part, kind, symmetric)
    most = max(-histogram.low, histogram.high)
    # From about what was counted, less what clipping gains, up to all there is.
    assert (-most if symmetric else min(histogram.low, 0)) <= low
    assert min(low, 0) <= 0.6 * min(inner.min(), 0)
    assert 0.6 * max(inner.max(), 0) <= high <= (most if symmetric else histogram.high)


@both
@pytest.mark.parametrize("method", METHODS)
def test_nothing_seen_still_gives_parameters(kind: IntType, symmetric: bool, method: str) -> None:
    low, high = METHODS[method](Histogram.empty(), kind, symmetric)
    params = from_range(np.asarray(low), np.asarray(high), kind, symmetric=symmetric)
    assert params.scale == 1


@both
def test_whole_numbers_that_fit_are_kept_exactly(kind: IntType, symmetric: bool) -> None:
    x = np.arange(kind.minimum + symmetric, kind.maximum + 1).astype(np.float32)
    found = mse(Histogram.empty().observe(x), kind, symmetric)
    assert loss(x, *found, kind, symmetric) == 0
