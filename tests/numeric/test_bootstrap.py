"""Intervals against an independent bootstrap, against theory, and their laws."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from qtool.numeric import bootstrap
from qtool.numeric.bootstrap import (
    Interval,
    drop_interval,
    mean_interval,
    ratio,
    ratio_interval,
    ratio_of_medians,
)
from qtool.numeric.metrics import f1_macro, mean, mse, r2

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
    # 5 of 500 differ: a drop of 1 pp with a standard error of sqrt(0.01 * 0.99 / 500) = 0.44 pp
    assert found.low == pytest.approx(0.002, abs=0.0021)
    assert found.high == pytest.approx(0.02, abs=0.0021)
    unpaired = mean_interval(reference)
    assert found.high - found.low < (unpaired.high - unpaired.low) / 3


@pytest.mark.parametrize("metric", [f1_macro, r2])
def test_a_drop_of_any_metric_matches_a_plain_loop(metric: bootstrap.Metric) -> None:
    labels = RNG.integers(0, 3, 60)
    right = np.where(RNG.random(60) < 0.9, labels, 0)
    worse = np.where(RNG.random(60) < 0.6, labels, 1)
    found = drop_interval(metric, (labels, right), (labels, worse))
    drops = []
    for _ in range(2000):
        rows = RNG.integers(0, 60, 60)
        drops.append(metric(labels[rows], right[rows]) - metric(labels[rows], worse[rows]))
    low, high = np.quantile(drops, [0.025, 0.975])
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


def test_the_ratio_of_medians() -> None:
    reference = RNG.normal(10, 0.5, 200)
    found = ratio_of_medians(reference, reference * 0.5 + RNG.normal(0, 0.01, 200))
    assert 0.5 in found
    assert 0.45 < found.low < found.high < 0.55


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


def test_ends_are_inside() -> None:
    assert 1.0 in Interval(1, 2)
    assert 2.0 in Interval(1, 2)
    assert 2.1 not in Interval(1, 2)
