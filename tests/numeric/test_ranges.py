"""Range methods against their definitions and against brute force on the raw data."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qtool.numeric.affine import dequantize, from_range, quantize
from qtool.numeric.histogram import Histogram
from qtool.numeric.ranges import METHODS, PERCENTILE, _error, minmax, mse, percentile
from qtool.numeric.types import INT8, UINT8, IntType

COUNT = 20_000
CHANCE = np.random.default_rng(0)
NORMAL = CHANCE.normal(size=COUNT)

DATA: dict[str, NDArray[Any]] = {
    "gaussian": NORMAL,
    "far from zero": NORMAL + 30,
    "heavy tail": CHANCE.standard_t(2, size=COUNT),
    "one outlier": np.append(NORMAL, 60.0),
    "an outlier that hides all": np.append(NORMAL, 1e4),
    "an outlier of 1e30": np.append(NORMAL, 1e30),
    "relu": np.maximum(NORMAL, 0),
    "negative": -CHANCE.exponential(size=COUNT),
    "uneven": np.where(CHANCE.random(COUNT) < 0.5, -10, 1) * CHANCE.exponential(size=COUNT),
    "constant": np.full(COUNT, 3.3),
    "zero": np.zeros(COUNT),
    "mixture": np.concatenate([NORMAL[: COUNT // 2] - 8, 0.3 * NORMAL[COUNT // 2 :] + 3]),
    "whole numbers": CHANCE.integers(0, 256, COUNT).astype(np.float64),
    "lognormal": CHANCE.lognormal(0, 2, COUNT),
    "one hot": (CHANCE.random(COUNT) < 0.01).astype(np.float64),
}
FORMS = [(UINT8, False), (INT8, True)]
both = pytest.mark.parametrize(("kind", "symmetric"), FORMS, ids=["asymmetric", "symmetric"])
every = pytest.mark.parametrize("name", DATA)


@lru_cache
def seen(name: str) -> tuple[NDArray[np.float32], Histogram]:
    x = DATA[name].astype(np.float32)
    return x, Histogram.empty().observe(x)


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
    found = _error(histogram, low, high, kind, symmetric)
    # Within a bin of 1/128, values are not known: a few percent where few of them decide.
    assert found == pytest.approx(loss(x, low, high, kind, symmetric), rel=0.04)


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
