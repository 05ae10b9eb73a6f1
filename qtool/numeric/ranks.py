"""Rank correlation, and how alike two vectors are: what embeddings are judged by."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]


def ranks(values: Array) -> Floats:
    """The ranks 1 … n along the last axis, (..., n) -> (..., n); equal values share their mean.

    No value may be NaN.
    """
    n = values.shape[-1]
    order = np.argsort(values, axis=-1)
    ordered = np.take_along_axis(values, order, axis=-1).reshape(-1, n)
    new = np.ones(ordered.shape, bool)  # where a run of equal values begins; each row begins one
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    starts = np.flatnonzero(new)
    lengths = np.diff(starts, append=new.size)
    shared = np.repeat(starts % max(n, 1) + (lengths + 1) / 2, lengths)
    found = np.empty(values.shape)
    np.put_along_axis(found, order, shared.reshape(values.shape), axis=-1)
    return found


def spearman(truth: Array, values: Array, counts: Array | None = None) -> Floats:
    """The rank correlation over the last axis, (..., n) twice -> (...); NaN of a constant or a NaN.

    `counts` (..., n) says how often each sample occurs; truth and values are (n,) then. That is the
    same as to repeat them, and several times as fast for many resamples.

    Spearman, C. (1904), "The proof and measurement of association between two things": Pearson's
    correlation of the ranks, ties at their mean.
    """
    unknown = np.isnan(truth).any(axis=-1) | np.isnan(values).any(axis=-1)
    if counts is None:
        first, second = ranks(truth), ranks(values)
        weights = np.ones(truth.shape[-1:])
    else:
        first, second = _counted_ranks(truth, counts), _counted_ranks(values, counts)
        weights = counts.astype(np.float64)
    center = (weights.sum(axis=-1, keepdims=True) + 1) / 2  # the mean of 1 … n, whatever the ties
    first -= center
    second -= center
    weighted = first * weights
    both = np.einsum("...n,...n->...", weighted, second)
    powers = np.einsum("...n,...n->...", weighted, first)
    np.multiply(second, weights, out=weighted)
    powers = powers * np.einsum("...n,...n->...", weighted, second)
    # rho = sum a b / sqrt(sum a^2 sum b^2), a and b the ranks less their mean
    known = (powers > 0) & ~unknown
    found = both / np.sqrt(np.where(known, powers, 1))
    return np.asarray(np.where(known, np.clip(found, -1, 1), np.nan))


def _counted_ranks(values: Array, counts: Array) -> Floats:
    """The ranks of values (n,) that occur counts (..., n) times; those of absent ones mean nothing.

    Ranks follow from how many there are of each value, so that one sort serves all resamples.
    """
    order = np.argsort(values)
    ends = np.append(np.diff(values[order]) != 0, True)  # where a run of equal values ends
    group = np.empty(len(values), np.int64)
    group[order] = np.cumsum(ends) - ends
    seen = np.cumsum(np.take(counts, order, axis=-1), axis=-1)
    last = np.take(seen, np.flatnonzero(ends), axis=-1)
    # of a value met from the (a + 1)th to the bth place the rank is (a + 1 + b) / 2
    shared = last + 1.0
    shared[..., 1:] += last[..., :-1]
    shared /= 2
    return np.take(shared, group, axis=-1)


def cosines(first: Array, second: Array) -> Floats:
    """The cosine of each row of one with the same row of the other, (n, …) twice -> (n,).

    A zero vector is at right angles to everything. NaN where a value is NaN or infinite.
    """
    # cos = a.b / (|a| |b|)
    shape = len(first), math.prod(first.shape[1:])
    left, right = (array.reshape(shape).astype(np.float64) for array in (first, second))
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        dots = np.einsum("nd,nd->n", left, right)
        found = np.clip(dots / np.where(norms == 0, 1, norms), -1, 1)
    return np.asarray(found)
