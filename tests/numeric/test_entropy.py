"""The range of least KL divergence against its definition, carried out bin by bin."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtool.numeric.entropy import _divergences, _Values, entropy
from qtool.numeric.histogram import Histogram
from qtool.numeric.types import INT8, INT16, UINT8, UINT16, IntType
from tests.numeric.distributions import NORMAL, both, every, seen, seen_exactly
from tests.numeric.kullback import best_on, brute_force, histogram_on, kept, nearest, of_range

few_bits = pytest.mark.parametrize(
    "bits", [4, *(pytest.param(bits, marks=pytest.mark.slow) for bits in (2, 8))]
)
signs = pytest.mark.parametrize("symmetric", [False, True], ids=["asymmetric", "symmetric"])


@every
@few_bits
@signs
def test_as_brute_force_finds_it(name: str, bits: int, symmetric: bool) -> None:
    x, histogram = seen_exactly(name)
    found = entropy(histogram, IntType(bits, symmetric), symmetric)
    levels = 1 << (bits - symmetric)
    values = x[x != 0].astype(np.float64)
    if name == "zero":
        assert max(found) == min(found) == 0
        return
    mass, edges, expected = brute_force(np.abs(values) if symmetric else values, levels)
    if symmetric:
        assert found[0] == -found[1]
    ends = nearest(edges, (0.0 if symmetric else found[0], found[1]))
    same = max(abs(a - b) for a, b in zip(ends, expected, strict=True)) <= 1
    least = of_range(mass, expected, levels)
    assert same or of_range(mass, ends, levels) <= 1.01 * least + 1e-9


CONTINUOUS = ["gaussian", "far from zero", "heavy tail", "one outlier", "an outlier of 1e30",
              "relu", "negative", "uneven", "mixture", "lognormal"]  # fmt: skip


@pytest.mark.parametrize("name", CONTINUOUS)
def test_near_what_the_raw_values_say(name: str) -> None:
    """They are known to 1/128 only, and a fine bin holds ten of them or so: chance rules the choice
    within a few percent."""
    x, histogram = seen(name)
    _, high = entropy(histogram, INT8, True)
    values = np.abs(x[x != 0]).astype(np.float64)
    mass, edges = histogram_on(values, (0.0, values[values <= 2 * high].max()), 128)
    _, best = best_on(mass, edges, 128)
    _, last = nearest(edges, (0.0, high))
    last = int(np.flatnonzero(mass[:last]).max()) + 1  # the last bin in it that is not empty
    near = high == pytest.approx(edges[best - 1], rel=0.05)
    assert near or of_range(mass, (1, last), 128) <= 1.02 * of_range(mass, (1, best), 128)


def test_the_example_of_the_talk() -> None:
    # Eight fine bins in two levels: "1+0+2+3, 5+3+1+7" becomes 2 0 2 2 4 4 4 4.
    mass = np.array([1, 0, 2, 3, 5, 3, 1, 7], np.float64)
    size = (mass > 0).astype(np.float64)
    merged: list[tuple[float, float]]
    merged = [(1, 2), (2, 2), (3, 2), (5, 4), (3, 4), (1, 4), (7, 4)]
    (found,) = _divergences(mass, size, np.array([[0, 4, 8]]))
    assert found == pytest.approx(sum(p * log(p / q) for p, q in merged) / 22)
    # In four levels, [1, 0], [2, 3], [5, 3], [1, 7], becomes 1 0 2.5 2.5 4 4 4 4.
    merged = [(1, 1), (2, 2.5), (3, 2.5), (5, 4), (3, 4), (1, 4), (7, 4)]
    (found,) = _divergences(mass, size, np.array([[0, 2, 4, 6, 8]]))
    assert found == pytest.approx(sum(p * log(p / q) for p, q in merged) / 22)
    # The first six in two levels, the other eight values clipped: 1 0 2 | 3 5 3+8 of 22 against
    # 1.5 0 1.5 | 11/3 11/3 11/3 of 14.
    merged = [(1, 1.5), (2, 1.5), (3, 11 / 3), (5, 11 / 3), (11, 11 / 3)]
    (found,) = _divergences(mass, size, np.array([[0, 3, 6]]))
    assert found == pytest.approx(sum(p / 22 * log(p / 22 / (q / 14)) for p, q in merged))
    # The last six, one value clipped below, onto the 2 that is the first of them.
    merged = [(3, 10 / 3), (3, 10 / 3), (5, 10 / 3), (3, 11 / 3), (1, 11 / 3), (7, 11 / 3)]
    (found,) = _divergences(mass, size, np.array([[2, 5, 8]]))
    assert found == pytest.approx(sum(p / 22 * log(p / 22 / (q / 21)) for p, q in merged))
    # What is clipped falls onto the outermost bin that is not empty.
    assert (mass[1] == 0) and np.isfinite(_divergences(mass, size, np.array([[1, 5, 8]]))).all()
    # More than half, of two levels, is not clipped: 6 of 22 would be left.
    assert _divergences(mass, size, np.array([[0, 2, 4]])).tolist() == [np.inf]


@pytest.mark.parametrize(("of_eights", "expected"), [(1, (7 * 256 + 1) / 256), (12, 8.0)])
def test_whole_numbers_by_hand(of_eights: int, expected: float) -> None:
    """The numbers 1 to 8 in the four levels of three bits. A fine bin is 1/256 wide."""
    counts = [10, 10, 10, 10, 10, 10, 20, of_eights]
    x = np.repeat(np.arange(1.0, 9.0), counts)
    total = sum(counts)
    # Up to 8: levels {1}, {2, 3}, {4, 5}, {6, 7, 8}; all as it was but the last.
    last = (30 + of_eights) / 3
    all_in = sum(p / total * log(p / last) for p in (10, 20, of_eights))
    # Up to the end of the fine bin of 7, 1793 of them: {1}, {2, 3}, {4, 5}, {6, 7}, each of them
    # Q = n / (total - eights); the eights lie with the sevens.
    inside = total - of_eights
    clipped = (
        50 / total * log((10 / total) / (10 / inside))
        + 10 / total * log((10 / total) / (15 / inside))
        + (20 + of_eights) / total * log(((20 + of_eights) / total) / (15 / inside))
    )
    assert (clipped < all_in) == (expected < 8)
    _, high = entropy(Histogram.empty().observe(x), IntType(3, True), True)
    assert high == expected


@both
@pytest.mark.parametrize("beyond", [(2.0,), (2.0, 3.0, 3.5, 7.0), (1.75, 1.875)])
def test_of_equals_the_widest(beyond: tuple[float, ...], kind: IntType, symmetric: bool) -> None:
    """KL is 0 with all in bins of their own, and with all clipped onto the one spike."""
    x = np.array([1.0] * 1994 + list(beyond))
    assert entropy(Histogram.empty().observe(x), kind, symmetric)[1] == beyond[-1]
    ones = Histogram.of(np.ones(9, np.float32), 0.0, 1.5)
    assert entropy(ones, kind, symmetric)[1] == 1.5


CALM = ["gaussian", "far from zero", "heavy tail", "negative", "mixture", "lognormal"]
OUTLIERS = [(60.0,), (1e4,), (1e30,), (-1e30,), (-1e30, 1e30), (1e10, 1e20, -1e15, 1e30)]


@both
@pytest.mark.parametrize("outliers", OUTLIERS, ids=str)
@pytest.mark.parametrize("name", [*CALM, "relu"])
def test_outliers_move_neither_end_by_more_than_2_percent(
    name: str, outliers: tuple[float, ...], kind: IntType, symmetric: bool
) -> None:
    _, few = seen(name)
    # Among thousands one value counts for a little, where no better reason to choose is left.
    times = 1 if name in CALM else 100
    calm = Histogram(few.bins, few.counts * times, few.low, few.high, few.on_grid)
    expected = entropy(calm, kind, symmetric)
    found = entropy(calm.observe(np.array(outliers)), kind, symmetric)
    assert found == pytest.approx(expected, abs=0.02 * (expected[1] - expected[0]))


def test_a_heavy_tail_is_clipped_and_a_flat_one_is_not() -> None:
    for kind, symmetric in ((UINT8, False), (INT8, True)):
        for name, least, most in (("heavy tail", 0.1, 0.5), ("whole numbers", 1, 1)):
            x, histogram = seen(name)
            _, high = entropy(histogram, kind, symmetric)
            assert least <= high / np.abs(x).max() <= most


@every
@both
def test_zeros_change_nothing(name: str, kind: IntType, symmetric: bool) -> None:
    _, histogram = seen(name)
    more = histogram.observe(np.zeros(100_000))
    low, high = entropy(histogram, kind, symmetric)
    # Between the least value and 0, and in a bin that the least value cuts off, things may move.
    assert entropy(more, kind, symmetric) == pytest.approx((low, high), rel=1e-6, abs=1e-6)


@every
@signs
def test_above_8_bits_nothing_is_clipped(name: str, symmetric: bool) -> None:
    _, histogram = seen(name)
    kind = INT16 if symmetric else UINT16
    assert entropy(histogram, kind, symmetric) == (histogram.low, histogram.high)


@pytest.mark.parametrize("name", ["one outlier", "relu", "mixture", "lognormal", "whole numbers"])
def test_values_of_the_other_sign_give_the_range_mirrored(name: str) -> None:
    x, histogram = seen(name)
    low, high = entropy(Histogram.empty().observe(-x), UINT8, False)
    expected = entropy(histogram, UINT8, False)
    # Where a level is not a whole number of bins, the remainder lies elsewhere.
    assert (-high, -low) == pytest.approx(expected, abs=0.02 * (expected[1] - expected[0]))
    mirrored = entropy(Histogram.empty().observe(-x), INT8, True)
    assert mirrored == entropy(histogram, INT8, True)


@both
def test_a_power_of_two_scales_the_range(kind: IntType, symmetric: bool) -> None:
    x, histogram = seen("mixture")
    low, high = entropy(histogram, kind, symmetric)
    for scale in (2.0**-60, 0.25, 2.0**60):
        scaled = entropy(Histogram.empty().observe(x * np.float32(scale)), kind, symmetric)
        assert scaled == (low * scale, high * scale)


@both
def test_ends_that_were_not_counted(kind: IntType, symmetric: bool) -> None:
    """Low and high are of all values, of which few were counted, and none of the outermost."""
    values = NORMAL.astype(np.float32)
    inner = Histogram.of(values[np.abs(values) < 2], -1e6, 1e6)
    low, high = entropy(inner, kind, symmetric)
    assert (low, high) == pytest.approx((-2, 2), rel=0.01)
    only_zeros = Histogram.of(np.zeros(9, np.float32), -3.0, 5.0)
    assert entropy(only_zeros, kind, symmetric) == ((-5, 5) if symmetric else (-3, 5))
    one_side = Histogram.of(np.abs(values), -1e-3, 4.5)
    assert entropy(one_side, kind, symmetric)[0] >= -4.5


def test_spans_are_spread_evenly_over_fine_bins() -> None:
    values = _Values(np.array([-4.0, 1.0, 2.0]), np.array([-2.0, 1.0, 4.0]), np.array([6.0, 5, 8]))
    assert values.on(np.linspace(-3, 3, 7)).tolist() == [3, 3, 0, 0, 0, 5, 4, 4]
    # The last bin has both its ends, as np.histogram counts.
    assert values.on(np.array([-1.0, 0.0, 1.0])).tolist() == [6, 0, 5, 8]
    # A span that only touches a bin leaves it empty.
    assert values.on(np.array([-9.0, 2.0, 4 - 2**-20])).tolist() == [0, 11, 8 - 2**-18, 0]


numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(numbers | st.integers(-9, 9).map(float), min_size=1, max_size=40),
    st.integers(2, 8),
    st.booleans(),
)
def test_any_values_give_a_range_that_was_seen_and_clips_little(
    values: list[float], bits: int, symmetric: bool
) -> None:
    x = np.array(values, np.float32)
    low, high = entropy(Histogram.empty().observe(x), IntType(bits, symmetric), symmetric)
    x = x.astype(np.float64)  # a bin beyond the largest float32 is no float32
    most = float(np.abs(x).max())
    assert (-most if symmetric else min(x.min(), 0)) <= low <= 0
    assert 0 <= high <= (most if symmetric else max(x.max(), 0))
    # What lies in a bin with an end is clipped by less than a bin.
    outside = np.sum((x < low * (1 + 2**-7)) | (x > high * (1 + 2**-7)))
    assert outside <= (1 - kept(1 << (bits - symmetric))) * np.count_nonzero(x) + 1e-3
