"""Metrics against scikit-learn and against loops that are too plain to be wrong."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as truth
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qtool.numeric import distances, metrics
from qtool.numeric.metrics import Errors

RNG = np.random.default_rng(7)


def close(expected: Any) -> Any:
    return pytest.approx(expected, rel=1e-12, abs=1e-12)


def pair(*shape: int) -> tuple[metrics.Array, metrics.Array]:
    reference = RNG.normal(size=shape).astype(np.float32)
    return reference, (reference + RNG.normal(scale=0.1, size=shape)).astype(np.float32)


def test_errors_are_their_definitions() -> None:
    reference, candidate = pair(4, 5)
    r, c = [float(x) for x in reference.flat], [float(x) for x in candidate.flat]
    noise = [x - y for x, y in zip(r, c, strict=True)]
    power = sum(x * x for x in r)
    dot = sum(x * y for x, y in zip(r, c, strict=True))
    assert metrics.sqnr_db(reference, candidate) == close(
        10 * math.log10(power / sum(e * e for e in noise))
    )
    assert metrics.cosine(reference, candidate) == close(
        dot / math.sqrt(power * sum(y * y for y in c))
    )
    assert metrics.max_abs_error(reference, candidate) == max(abs(e) for e in noise)
    assert metrics.mean_abs_error(reference, candidate) == close(truth.mean_absolute_error(r, c))


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, st.integers(1, 30), elements=st.floats(-1e3, 1e3, width=32)),
    st.lists(st.integers(0, 30), max_size=4),
)
def test_batches_merge_to_the_whole(reference: metrics.Array, cuts: list[int]) -> None:
    candidate = reference + np.float32(0.5) * np.sin(reference)
    whole = Errors().add(reference, candidate)
    parts = [
        Errors().add(r, c)
        for r, c in zip(
            np.split(reference, sorted(cuts)), np.split(candidate, sorted(cuts)), strict=True
        )
    ]
    merged = reduce(Errors.merge, parts, Errors())
    assert merged.count == whole.count
    assert merged.largest == whole.largest
    for name in ("sqnr_db", "cosine", "mean_abs_error"):
        assert getattr(merged, name) == pytest.approx(getattr(whole, name), rel=1e-9)


def test_a_large_array_is_summed_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, candidate = pair(10, 10)
    whole = Errors().add(reference, candidate)
    monkeypatch.setattr(distances, "CHUNK", 7)
    chunked = Errors().add(reference, candidate)
    assert (chunked.count, chunked.largest) == (whole.count, whole.largest)
    assert chunked.sqnr_db == pytest.approx(whole.sqnr_db, rel=1e-12)


def test_sums_do_not_lose_small_errors_after_large_ones() -> None:
    """float32 sums would: 2^24 + 1 is 2^24."""
    errors = Errors().add(np.full(1, 4096, np.float32), np.zeros(1, np.float32))
    for _ in range(3):
        errors = errors.add(np.ones(1, np.float32), np.zeros(1, np.float32))
    assert errors.error_power == 4096**2 + 3


@pytest.mark.parametrize(
    ("reference", "candidate", "sqnr", "cosine"),
    [
        ([1, 2], [1, 2], math.inf, 1),
        ([0, 0], [0, 0], math.inf, 1),
        ([0, 0], [1, 0], -math.inf, 0),
        ([3, 4], [0, 0], 0, 0),
        ([1, 0], [-1, 0], -10 * math.log10(4), -1),
        ([], [], math.inf, 1),
    ],
)
def test_edges(reference: list[float], candidate: list[float], sqnr: float, cosine: float) -> None:
    errors = Errors().add(np.array(reference, np.float32), np.array(candidate, np.float32))
    assert errors.sqnr_db == close(sqnr)
    assert errors.cosine == pytest.approx(cosine)
    assert errors.identical == (reference == candidate)


def test_integers_do_not_wrap() -> None:
    assert metrics.max_abs_error(np.array([0], np.uint8), np.array([255], np.uint8)) == 255


def test_what_is_not_finite_is_counted_and_never_right() -> None:
    reference = np.array([1, 2, np.nan, -np.inf, 5], np.float32)
    errors = Errors().add(reference, np.array([1, np.nan, 7, -np.inf, np.inf], np.float32))
    assert (errors.count, errors.nonfinite, errors.skipped) == (1, 2, 2)
    assert (errors.sqnr_db, errors.max_abs_error, errors.mean_abs_error) == (
        -math.inf,
        math.inf,
        math.inf,
    )
    assert math.isnan(errors.cosine)
    assert not errors.identical
    assert Errors().add(reference, reference).identical


def test_squares_beyond_float64_do_not_warn() -> None:
    huge = np.array([1e200, 1.0])
    assert Errors().add(huge, huge).identical
    assert metrics.max_abs_error(huge, -huge) == 2e200


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"\(2,\) and \(1, 2\)"):
        Errors().add(np.zeros(2), np.zeros((1, 2)))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_is_scikit_learns(k: int) -> None:
    scores, labels = RNG.normal(size=(200, 7)), RNG.integers(0, 7, 200)
    expected = truth.top_k_accuracy_score(labels, scores, k=k, labels=range(7))
    assert metrics.top_k(scores, labels, k) == pytest.approx(expected)


def test_ties_and_nan_in_scores() -> None:
    scores = np.array([[1, 1, 0], [np.nan, -np.inf, 2], [np.nan, np.nan, np.nan], [0, np.nan, 0]])
    assert metrics.best_classes(scores, 2).tolist() == [[0, 1], [2, 1], [-1, -1], [0, 2]]
    assert metrics.top_k(scores, np.array([0, 2, 0, 1]), 1) == 0.5
    assert metrics.top_k(scores, np.array([0, 2, 0, 1]), 3) == 0.5, "NaN is not a hit at any rank"


def test_many_equal_scores_keep_their_order() -> None:
    assert metrics.best_classes(np.ones((1, 1000)), 5).tolist() == [[0, 1, 2, 3, 4]]


def test_agreement() -> None:
    reference = np.eye(4)
    candidate = np.eye(4)[[0, 1, 3, 3]] * 9
    assert metrics.top1_agreement(reference, candidate) == 0.75


def resampled(n: int, rows: int = 6) -> tuple[metrics.Array, metrics.Array]:
    """Indices of resamples, and how often each sample is in them."""
    index = RNG.integers(0, n, (rows, n))
    return index, np.stack([np.bincount(row, minlength=n) for row in index])


def test_f1_is_scikit_learns_and_scores_resamples() -> None:
    labels, predictions = RNG.integers(0, 5, 40), RNG.integers(0, 6, 40)
    labels[labels == 2] = 3  # a class that is only predicted, and so counts with F1 = 0
    labels[labels == 1] = predictions[predictions == 1] = 0  # one that is never met, and does not

    def expected(rows: metrics.Array) -> float:
        score = truth.f1_score(labels[rows], predictions[rows], average="macro", zero_division=0)
        return float(score)

    index, counts = resampled(40)
    assert metrics.f1_macro(labels, predictions) == close(expected(np.arange(40)))
    found = metrics.f1_macro(labels, predictions, counts)
    assert found == close([expected(rows) for rows in index])


def test_scores_of_resamples_are_those_of_repeated_samples() -> None:
    labels = RNG.normal(1e3, size=30)
    predictions = labels + RNG.normal(size=30)
    index, counts = resampled(30)
    index[0], counts[0] = 7, 30 * (np.arange(30) == 7)  # constant labels
    for metric in (metrics.mse, metrics.r2):
        expected = metric(labels[index], predictions[index])
        found = metric(labels, predictions, counts)
        assert found == pytest.approx(expected, rel=1e-9)
    assert metrics.mean(labels, counts) == close(labels[index].mean(axis=1))


def test_regression_is_scikit_learns_and_scores_blocks() -> None:
    labels = RNG.normal(size=(4, 30))
    predictions = labels + RNG.normal(size=(4, 30))
    for y, p, error, r2 in zip(
        labels,
        predictions,
        metrics.mse(labels, predictions),
        metrics.r2(labels, predictions),
        strict=True,
    ):
        assert error == close(truth.mean_squared_error(y, p))
        assert r2 == close(truth.r2_score(y, p))


@pytest.mark.parametrize(("prediction", "expected"), [(2.0, 1.0), (2.5, 0.0)])
def test_r2_of_constant_labels(prediction: float, expected: float) -> None:
    labels, predictions = np.full(3, 2.0), np.full(3, prediction)
    assert truth.r2_score(labels, predictions) == expected
    assert metrics.r2(labels, predictions) == expected


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_squared_errors_are_one_mse_per_sample(dtype: str) -> None:
    targets = RNG.normal(size=(6, 2, 5)).astype(np.float32)
    values = (targets + RNG.normal(size=(6, 2, 5))).astype(dtype)
    expected = [truth.mean_squared_error(t, v) for t, v in zip(targets, values, strict=True)]
    assert metrics.squared_errors(targets, values) == pytest.approx(expected, rel=1e-6)
    large = np.full((1, 2), 6e4, dtype)
    assert metrics.squared_errors(-large, large) == pytest.approx([(2 * float(large[0, 0])) ** 2])
    assert metrics.squared_errors(large, large * np.inf).tolist() == [np.inf]
    assert metrics.squared_errors(large[:0], large[:0]).shape == (0,)


def test_infinite_predictions_do_not_warn() -> None:
    labels, predictions = np.array([1.0, 2.0]), np.array([np.inf, 2.0])
    assert metrics.mse(labels, predictions) == math.inf
    assert metrics.r2(labels, predictions) == -math.inf


def test_kl() -> None:
    p, q = np.array([[0.5, 0.25, 0.25], [1, 0, 0]]), np.array([[0.25, 0.5, 0.25], [1, 0, 0]])
    expected = 0.5 * math.log(2) - 0.25 * math.log(2)
    assert metrics.kl_divergence(p, q) == pytest.approx([expected, 0], abs=1e-6)
    assert metrics.kl_divergence(p, p).tolist() == [0, 0]
    # a zero where the reference has mass costs log(1 / 1e-7), not infinity
    lost = metrics.kl_divergence(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))
    assert lost == pytest.approx([math.log(1e7)], rel=1e-5)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[0.5, 0.5], [1, 0]], True),
        ([[0.5, 0.5], [1, 0.1]], False),
        ([[1.5, -0.5]], False),
        ([[np.nan, 1]], False),
    ],
)
def test_probabilities_are_told_from_other_scores(rows: list[list[float]], expected: bool) -> None:
    assert metrics.is_probability(np.array(rows, np.float32)) is expected
