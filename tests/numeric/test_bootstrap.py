"""Intervals against an independent bootstrap, against theory, and their laws."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
import scipy.stats

from qtool.numeric import bootstrap
from qtool.numeric.bootstrap import (
    Interval,
    drop_interval,
    mean_interval,
    ratio,
    ratio_interval,
    value_interval,
)
from qtool.numeric.distances import sqnr_of
from qtool.numeric.metrics import f1_macro, mean, mse, r2
from qtool.numeric.ranks import spearman
from tests.benchmarks.cover import FIGURES, cover

RNG = np.random.default_rng(11)


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    scores = RNG.normal(3, 2, size=400)
    half = 1.96 * scores.std() / math.sqrt(len(scores))
    found = mean_interval(scores)
    assert found.low == pytest.approx(scores.mean() - half, abs=0.05 * half * 2)
    assert found.high == pytest.approx(scores.mean() + half, abs=0.05 * half * 2)


def test_95_of_100_intervals_hold_the_truth() -> None:
    held = sum(0.7 in mean_interval(RNG.random(100) < 0.7, seed=run) for run in range(200))
    assert 180 <= held <= 199


def test_pairing_cancels_what_is_hard_for_both() -> None:
    reference = RNG.random(500) < 0.8
    candidate = reference.copy()
    candidate[np.flatnonzero(reference)[:5]] = False
    found = drop_interval(mean, (reference,), (candidate,), rate=True)
    # 5 of 500 differ, and one is made up: sqrt(5 + 1) samples of standard error about 5
    assert found.low == pytest.approx((5 - 1.96 * math.sqrt(6)) / 500, abs=0.0021)
    assert found.high == pytest.approx((5 + 1.96 * math.sqrt(6)) / 500, abs=0.0021)
    unpaired = mean_interval(reference)
    assert found.high - found.low < (unpaired.high - unpaired.low) / 3


@pytest.mark.parametrize("metric", [f1_macro, r2, mse, spearman])
def test_a_drop_of_any_metric_matches_a_plain_loop(metric: bootstrap.Metric) -> None:
    labels = RNG.integers(0, 3, 60)
    right = np.where(RNG.random(60) < 0.9, labels, 0)
    worse = np.where(RNG.random(60) < 0.6, labels, 1)
    found = drop_interval(metric, (labels, right), (labels, worse))
    drops = []
    for _ in range(2000):
        rows = RNG.integers(0, 60, 60)
        drops.append(metric(labels[rows], right[rows]) - metric(labels[rows], worse[rows]))
    low, high = np.quantile(drops, [0.0215, 0.9785])  # Student's, for 60 samples
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_a_ratio_matches_a_plain_loop_and_is_paired() -> None:
    labels = RNG.normal(size=80)
    reference = labels + RNG.normal(scale=0.5, size=80)
    candidate = reference + RNG.normal(scale=0.1, size=80)
    generator = np.random.default_rng(4)
    drawn = [generator.integers(0, 80, size=80) for _ in range(2000)]
    values = [mse(labels[i], candidate[i]) / mse(labels[i], reference[i]) for i in drawn]
    found = ratio_interval(mse, (labels, reference), (labels, candidate))
    low, high = np.quantile(values, (0.025, 0.975))
    assert found.low == pytest.approx(low, abs=0.1 * (high - low))
    assert found.high == pytest.approx(high, abs=0.1 * (high - low))
    errors = (labels - reference) ** 2
    alone = mean_interval(errors / errors.mean())
    assert found.high - found.low < (alone.high - alone.low) / 2


def test_ratios_of_nothing() -> None:
    zero, one, infinite = np.zeros(1), np.ones(1), np.full(1, np.inf)
    assert ratio(zero, zero) == 1
    assert ratio(zero, one) == np.inf
    assert np.isnan(ratio(infinite, infinite))
    zeros, ones = np.zeros(9), np.ones(9)
    assert ratio_interval(mean, (zeros,), (zeros,)) == Interval(1, 1)
    assert ratio_interval(mean, (ones,), (2 * ones,)) == Interval(2, 2)
    assert ratio_interval(mean, (zeros,), (ones,)) == Interval(-np.inf, np.inf)


def test_the_same_seed_gives_the_same_interval() -> None:
    scores = RNG.normal(size=50)
    assert mean_interval(scores, seed=3) == mean_interval(scores, seed=3)
    assert mean_interval(scores, seed=3) != mean_interval(scores, seed=4)


def test_blocks_do_not_change_how_many_resamples_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[int, ...]] = []
    monkeypatch.setattr(bootstrap, "BLOCK", 7 * 30)

    def statistic(index: bootstrap.Array) -> bootstrap.Array:
        seen.append(index.shape)
        return mean(index)

    bootstrap.interval(statistic, 30)
    assert sum(rows for rows, _ in seen) == bootstrap.RESAMPLES
    assert max(rows for rows, _ in seen) == 7


def test_memory_does_not_grow_with_the_samples() -> None:
    def peak(n: int) -> int:
        scores = np.zeros(n)
        tracemalloc.start()
        bootstrap.interval(lambda index: mean(scores[index]), n)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    # 2,000 resamples of 20,000 indices would be 320 MB.
    assert peak(20_000) < 1.2 * peak(2_000) < 60e6


@pytest.mark.parametrize(
    ("n", "expected"), [(1, Interval(0, 1)), (30, Interval(0.9, 1)), (600, Interval(0.995, 1))]
)
def test_hits_without_a_miss_leave_three_in_n(n: int, expected: Interval) -> None:
    found = mean_interval(np.ones(n, bool))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_models_that_never_differ_leave_three_in_n() -> None:
    hits = RNG.random(300) < 0.5
    found = drop_interval(mean, (hits,), (hits.copy(),), rate=True)
    assert (found.low, found.high) == pytest.approx((-0.01, 0.01))


def test_equal_errors_have_no_such_unit() -> None:
    errors = RNG.random(30)
    assert drop_interval(mean, (errors,), (errors,)) == Interval(0, 0)


def test_one_sample_says_nothing() -> None:
    assert mean_interval(np.array([0.3])) == Interval(-math.inf, math.inf)


def test_infinite_errors_leave_everything_open() -> None:
    broken = np.array([1.0, np.inf, 2.0])
    whole = drop_interval(mean, (broken,), (np.array([np.inf, 1.0, 2.0]),))
    assert whole == Interval(-math.inf, math.inf)


@pytest.mark.parametrize("n", [3, 5, 20, 50, 1000])
def test_the_ends_of_a_normal_mean_are_students(n: int) -> None:
    student = scipy.stats.t.ppf(0.975, n - 1)
    expected = scipy.stats.norm.sf(student * math.sqrt(n / (n - 1)))
    assert bootstrap._tail(n) == pytest.approx(expected, rel=5e-3, abs=1e-7)


def test_an_interval_of_one_set_of_columns_is_that_of_its_indices() -> None:
    error, power = RNG.random((2, 70))
    found = value_interval(sqnr_of, (error, power))
    plain = bootstrap.interval(lambda index: sqnr_of(error[index], power[index]), 70)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), rel=1e-12)


@pytest.mark.parametrize(("lost", "gained"), [(1, 0), (2, 0), (2, 1), (4, 0), (6, 6)])
def test_few_losses_do_not_prove_that_there_are_no_gains(lost: int, gained: int) -> None:
    n = 500
    reference, candidate = np.ones((2, n), bool)
    candidate[:lost] = reference[lost : lost + gained] = False
    found = drop_interval(mean, (reference,), (candidate,), rate=True)
    # The difference of what is lost and gained, with half a sample added to each.
    numbers = np.arange(40)
    chances = [scipy.stats.poisson.pmf(numbers, each + 0.5) for each in (lost, gained)]
    differences = np.subtract.outer(numbers, numbers).ravel()
    order = np.argsort(differences)
    reached = np.cumsum(np.outer(*chances).ravel()[order])
    ends = [differences[order][np.searchsorted(reached, q)] / n for q in (0.0246, 0.9754)]
    assert (found.low, found.high) == pytest.approx(ends, abs=1.01 / n)
    assert (lost - gained) / n in found
    assert found.low <= 0
    swapped = drop_interval(mean, (candidate,), (reference,), rate=True)
    assert (-swapped.high, -swapped.low) == pytest.approx((found.low, found.high), abs=1.01 / n)


def test_rates_near_the_end_are_drawn_with_one_hit_and_one_miss_more() -> None:
    scores = np.arange(500) >= 2
    found = mean_interval(scores)
    expected = scipy.stats.binom.ppf([0.0246, 0.9754], 500, 499 / 502) / 500
    assert (found.low, found.high) == pytest.approx(expected, abs=0.0021)
    exact = scipy.stats.binomtest(498, 500).proportion_ci()
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.005)


@pytest.mark.parametrize("many", [0.0, 1.0])
def test_few_and_many_distinct_samples_are_drawn_alike(
    many: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 5, 400)
    reference = np.where(generator.random(400) < 0.9, labels, 0)
    candidate = np.where(generator.random(400) < 0.05, 1, reference)
    monkeypatch.setattr(bootstrap, "MANY", many)
    found = drop_interval(f1_macro, (labels, reference), (labels, candidate), rate=True)
    # One more, on which they differ, either way round.
    columns = np.stack([labels, reference, candidate])
    differ = np.flatnonzero(reference != candidate)
    values = []
    for _ in range(3000):
        drawn = columns[:, generator.integers(0, 401, 400) % 400]
        for place in np.flatnonzero(generator.random(400) < 1 / 401):
            drawn[:, place] = columns[[0, *generator.permutation([1, 2])], generator.choice(differ)]
        values.append(f1_macro(drawn[0], drawn[1]) - f1_macro(drawn[0], drawn[2]))
    low, high = np.quantile(values, (0.0245, 0.9755))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_distinct_samples_and_what_is_made_up_add_up() -> None:
    truth = np.array([0, 1, 1, 2, 2, 2])
    left, right = np.array([0, 1, 1, 2, 0, 0]), np.array([0, 1, 1, 0, 2, 2])
    first, second, distinct, made_up = bootstrap._smoothed((truth, left), (truth, right))
    rows = zip(*first, *second, distinct.tolist(), made_up.tolist(), strict=True)
    expected = [
        (0, 0, 0, 0, 1, 0),
        (1, 1, 1, 1, 2, 0),
        (2, 0, 2, 2, 0, 1 / 6),  # the last one, changed about
        (2, 0, 2, 2, 2, 2 / 6),
        (2, 2, 2, 0, 0, 2 / 6),
        (2, 2, 2, 0, 1, 1 / 6),
    ]
    assert np.array(sorted(rows)) == pytest.approx(np.array(expected))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "top1 drop, 2 lost, 1 gained", "top1 drop, 3 % lost, 1 % gained", "f1 drop, 2 % differ",
        "agreement 98 %", "mse ratio", "r2 drop", "SQNR", "KL", "perplexity ratio",
        "spearman drop", "psnr drop",
    ],
)  # fmt: skip
def test_95_of_100_datasets_have_the_truth_in_their_interval(name: str) -> None:
    rate = name.startswith(("top1", "f1", "agreement"))
    most = 1 if rate else 0.985  # of rare events no interval has exactly 95 %
    assert 0.92 <= cover(FIGURES[name], 200, datasets=400) <= most


def test_ends_are_inside() -> None:
    assert 1.0 in Interval(1, 2)
    assert 2.0 in Interval(1, 2)
    assert 2.1 not in Interval(1, 2)


def test_figures_that_share_resamples_have_the_intervals_of_each_alone() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.random((2, 50))
    figures: list[tuple[Any, tuple[Any, ...]]] = [(mean, (a,)), (r2, (a, b))]
    together = bootstrap.value_intervals(figures)
    assert together == tuple(bootstrap.value_interval(metric, c) for metric, c in figures)
    assert bootstrap.value_intervals([(mean, (a[:1],))]) == (Interval(-np.inf, np.inf),)


def test_a_slow_metric_may_be_drawn_less_often() -> None:
    rng = np.random.default_rng(9)
    a, b = rng.random((2, 50))
    rows = 0

    def counted(values: Any, counts: Any = None) -> Any:
        nonlocal rows
        rows += 0 if counts is None else len(counts)
        return mean(values, counts)

    found = drop_interval(counted, (a,), (b,), resamples=300)
    assert rows == 600
    every = drop_interval(mean, (a,), (b,))
    assert found != every
    assert abs(found.low - every.low) < 0.2 * (every.high - every.low)
