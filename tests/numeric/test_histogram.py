"""The observer's law: any split and order of the data gives the identical statistic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from qtool.numeric.histogram import Histogram

Floats = NDArray[np.float32]
DATA = arrays(
    np.float32,
    st.integers(0, 60),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.0, -0.0, 1.0, -3.4028234663852886e38, 1.401298464324817e-45]),
)


def bits(h: Histogram) -> tuple[bytes, bytes, bytes, bool]:
    """The statistic, bit for bit: 0 and -0 differ."""
    ends = np.array([h.low, h.high], np.float64)
    return h.bins.tobytes(), h.counts.tobytes(), ends.tobytes(), h.on_grid


@given(DATA, st.randoms(use_true_random=False), st.integers(1, 5))
def test_any_split_and_order_gives_the_same(data: Floats, chance: Any, parts: int) -> None:
    whole = Histogram.empty().observe(data)
    order = list(range(len(data)))
    chance.shuffle(order)
    merged = Histogram.empty()
    for piece in np.array_split(data[order], parts):
        merged = merged.merge(Histogram.empty().observe(piece))
    assert bits(merged) == bits(whole)
    sequential = Histogram.empty()
    for piece in np.array_split(data[order[::-1]], parts):
        sequential = sequential.observe(piece)
    assert bits(sequential) == bits(whole)


def test_large_arrays_are_counted_as_small_ones_are() -> None:
    data = np.random.default_rng(0).normal(size=40_000).astype(np.float32)
    whole = Histogram.empty().observe(data.reshape(100, 400))
    parts = Histogram.empty()
    for piece in np.array_split(data, 40):
        parts = parts.observe(piece)
    assert bits(whole) == bits(parts)
    assert whole.total == 40_000


def test_observing_leaves_the_old_statistic_as_it_was() -> None:
    before = Histogram.empty().observe(np.array([1.0]))
    before.observe(np.array([2.0]))
    assert (before.total, before.high) == (1, 1.0)


@pytest.mark.parametrize(
    ("value", "name"), [(np.nan, "NaN"), (np.inf, "Inf"), (-np.inf, "Inf")], ids=str
)
def test_nan_and_inf_are_refused(value: float, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Histogram.empty().observe(np.array([1.0, value, 2.0], np.float32))


def test_nothing_is_the_neutral_element() -> None:
    some = Histogram.empty().observe(np.array([-1.5, 2.25]))
    assert bits(some.merge(Histogram.empty())) == bits(some)
    assert bits(Histogram.empty().merge(some)) == bits(some)
    assert bits(some.observe(np.zeros((0, 3)))) == bits(some)


@pytest.mark.parametrize(
    ("values", "on_grid"),
    [
        (np.arange(256), True),
        (-np.arange(256), True),
        (np.array([True, False]), True),
        (np.arange(256) / 255, False),
        (np.array([257.0]), False),  # the first whole number that 8 bits of mantissa do not hold
    ],
)
def test_on_grid(values: NDArray[Any], on_grid: bool) -> None:
    found = Histogram.empty().observe(values)
    assert found.on_grid == on_grid
    if on_grid:
        seen, counts = found.sorted
        unique = np.unique(values.astype(np.float64), return_counts=True)
        assert seen.tolist() == unique[0].tolist()
        assert counts.tolist() == unique[1].tolist()


@given(DATA)
def test_each_value_lies_in_its_span_and_near_its_bins_value(data: Floats) -> None:
    found = Histogram.empty().observe(data)
    start, end, counts = found.spans
    values, sorted_counts = found.sorted
    assert counts.sum() == sorted_counts.sum() == len(data)
    assert (start <= end).all()
    assert (np.diff(values) >= 0).all()
    for x in data.astype(np.float64):
        assert ((start <= x) & (x <= end)).any()
        # 7 bits of mantissa: a bin is 1/128 wide; below 2^-126 bins are 2^-133 wide
        assert np.abs(values - x).min() <= abs(x) / 128 + 2.0**-133


def test_a_huge_value_costs_one_bin_and_ruins_none() -> None:
    data = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    calm = Histogram.empty().observe(data)
    wild = calm.observe(np.array([-3.4e38], np.float32))
    (new,) = np.setdiff1d(wild.bins, calm.bins)
    kept = wild.bins != new
    assert wild.counts[~kept].tolist() == [1]
    assert wild.bins[kept].tolist() == calm.bins.tolist()
    assert wild.counts[kept].tolist() == calm.counts.tolist()
