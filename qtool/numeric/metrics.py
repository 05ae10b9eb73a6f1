"""How well predictions meet the labels, and how far two models' predictions are apart.

The scores by label take the samples on the *last* axis and reduce it. For resamples of the
bootstrap they take `counts` as well, (resamples, n): how often each of n samples occurs in each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.distances import Errors as Errors
from qtool.numeric.distances import total

Array = NDArray[Any]
Floats = NDArray[np.float64]

SMALLEST_PROBABILITY = 1e-7
"""A step of float32 at 1. A quantized softmax gives exact zeros, and KL would be infinite."""


def sqnr_db(reference: Array, candidate: Array) -> float:
    """10 log10(sum r^2 / sum (r - c)^2) in dB over arrays of equal shape; inf when equal."""
    return Errors().add(reference, candidate).sqnr_db


def cosine(reference: Array, candidate: Array) -> float:
    """Cosine of the angle between two arrays of equal shape, in -1 … 1."""
    return Errors().add(reference, candidate).cosine


def max_abs_error(reference: Array, candidate: Array) -> float:
    """The largest |r - c| of two arrays of equal shape."""
    return Errors().add(reference, candidate).max_abs_error


def mean_abs_error(reference: Array, candidate: Array) -> float:
    """The mean |r - c| of two arrays of equal shape."""
    return Errors().add(reference, candidate).mean_abs_error


def best_classes(scores: Array, k: int) -> NDArray[np.int64]:
    """The k best classes of each row, best first, (n, classes) -> (n, k).

    Of equal scores the lower class comes first. NaN comes last, and as -1, which is no class.
    """
    descending = -scores.astype(np.float64)
    order = np.argsort(descending, axis=-1, kind="stable")[:, :k]  # numpy sorts NaN to the end
    unknown = np.isnan(np.take_along_axis(descending, order, axis=-1))
    return np.where(unknown, -1, order)


def top_k(scores: Array, labels: NDArray[np.int64], k: int = 1) -> float:
    """The share of rows, in 0 … 1, whose label (n,) is among the k best of scores (n, classes)."""
    return float((best_classes(scores, k) == labels[:, None]).any(axis=-1).mean())


def top1_agreement(reference: Array, candidate: Array) -> float:
    """The share of rows of two (n, classes) arrays that put the same class first."""
    return float((best_classes(reference, 1) == best_classes(candidate, 1)).mean())


def mean(values: Array, counts: Array | None = None) -> Floats:
    """The mean over samples, as for `total`: the score made of hits."""
    if counts is None:
        return np.asarray(np.mean(values, axis=-1, dtype=np.float64))
    return np.asarray(total(values, counts) / counts.sum(axis=-1))


def f1_macro(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], counts: Array | None = None
) -> Floats:
    """F1 averaged over the classes met in either, (n,) twice; classes from 0 on.

    `counts` (..., n) says how often each sample occurs: one number for each row.
    """
    times = np.ones(len(labels)) if counts is None else counts
    classes = int(max(labels.max(), predictions.max())) + 1
    # F1 = 2 TP / (2 TP + FP + FN) = 2 TP / (labelled + predicted)
    hits = _by_class(labels, times * (labels == predictions), classes)
    met = _by_class(labels, times, classes) + _by_class(predictions, times, classes)
    f1 = 2 * hits / np.maximum(met, 1)
    return np.asarray(f1.sum(axis=-1) / (met > 0).sum(axis=-1))


def _by_class(labels: NDArray[np.int64], counts: Array, classes: int) -> Floats:
    """How often each class occurs, (n,) and (..., n) -> (..., classes)."""
    order = np.argsort(labels, kind="stable")
    there, starts = np.unique(labels[order], return_index=True)
    found = np.zeros((*counts.shape[:-1], classes))
    found[..., there] = np.add.reduceat(np.take(counts, order, axis=-1), starts, axis=-1)
    return found


def mse(labels: Array, predictions: Array, counts: Array | None = None) -> Floats:
    """The mean squared error over samples, as for `total`."""
    with np.errstate(over="ignore", invalid="ignore"):
        return mean((labels.astype(np.float64) - predictions) ** 2, counts)


def squared_errors(targets: Array, values: Array) -> Floats:
    """The mean squared error of each sample, (n, …) twice -> (n,); one is widened at a time."""
    with np.errstate(over="ignore", invalid="ignore"):
        pairs = zip(targets, values, strict=True)
        return np.array([np.square(v.astype(np.float64) - t).mean() for t, v in pairs])


def r2(labels: Array, predictions: Array, counts: Array | None = None) -> Floats:
    """The coefficient of determination over samples, as for `total`.

    Where the labels are constant: 1 if they are met exactly, else 0 (as scikit-learn has it).
    """
    # R2 = 1 - sum (y - p)^2 / sum (y - mean y)^2
    truth = labels.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        away = truth - mean(truth)[..., None]
        power = mean(away**2, counts)
        spread = power - mean(away, counts) ** 2  # a resample has a mean of its own
        varied = spread > 1e-12 * power
        missed = mse(truth, predictions, counts)
        return np.asarray(
            np.where(varied, 1 - missed / np.where(varied, spread, 1), missed == 0),
            dtype=np.float64,
        )


def is_probability(rows: Array) -> bool:
    """Whether each row of (n, classes) is nonnegative and sums to 1 within 0.1 %."""
    return bool(
        (rows >= 0).all() and np.allclose(rows.sum(axis=-1, dtype=np.float64), 1, atol=1e-3)
    )


def kl_divergence(reference: Array, candidate: Array) -> Floats:
    """KL(reference || candidate) of each row in nats, (n, classes) twice -> (n,).

    Both are raised to at least 1e-7 and brought to sum 1, so that a zero costs much, not infinity.
    """
    # KL(p || q) = sum p (log p - log q)
    p, q = _smoothed(reference), _smoothed(candidate)
    return np.asarray(np.sum(p * (np.log(p) - np.log(q)), axis=-1))


def _smoothed(rows: Array) -> Floats:
    raised = np.maximum(rows.astype(np.float64), SMALLEST_PROBABILITY)
    with np.errstate(invalid="ignore"):  # inf / inf: NaN is the answer for a row that holds inf
        return np.asarray(raised / raised.sum(axis=-1, keepdims=True))
