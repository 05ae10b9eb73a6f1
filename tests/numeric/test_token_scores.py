"""Likelihoods of tokens against scikit-learn and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special
from sklearn.metrics import log_loss

from qtool.numeric import tokens
from qtool.numeric.tokens import perplexity, token_nll

RNG = np.random.default_rng(6)
LOGITS = RNG.normal(scale=4, size=(5, 8, 11))
TARGETS = RNG.integers(0, 11, (5, 8))
KEEP = RNG.random((5, 8)) < 0.7


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("normal", [False, True])
def test_nll_is_the_log_loss(dtype: str, normal: bool) -> None:
    logits = LOGITS.astype(dtype)
    given = scipy.special.log_softmax(logits.astype(np.float64), axis=-1) if normal else logits
    nll, count = token_nll(given, TARGETS, KEEP)
    chances = scipy.special.softmax(logits.astype(np.float64), axis=-1)
    for row in range(5):
        kept = KEEP[row]
        expected = log_loss(TARGETS[row][kept], chances[row][kept], labels=range(11))
        assert nll[row] / count[row] == pytest.approx(expected, rel=1e-12)
    assert count.tolist() == KEEP.sum(axis=1).tolist()


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = token_nll(LOGITS, TARGETS, KEEP)
    for chunk in (1, 30):
        monkeypatch.setattr(tokens, "CHUNK", chunk)
        assert token_nll(LOGITS, TARGETS, KEEP)[0].tolist() == whole[0].tolist()


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[[6e4, 0], [0, 6e4]]], np.float16)
    nll, _ = token_nll(logits, np.array([[0, 0]]), np.array([[True, True]]))
    assert nll[0] == pytest.approx(float(np.float16(6e4)))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([np.nan, 0, 0], math.inf),
        ([0, np.nan, 0], math.inf),
        ([0, np.inf, 0], math.inf),
        ([np.inf, 0, 0], math.inf),
        ([-np.inf, 0, 0], math.inf),
        ([0, -np.inf, 0], math.log(2)),
        ([-np.inf] * 3, math.inf),
    ],
)
def test_no_distribution_costs_infinity(row: list[float], expected: float) -> None:
    one = np.array([[True]])
    assert token_nll(np.array([[row]]), np.array([[0]]), one)[0] == pytest.approx([expected])
    # what is not kept costs nothing, and its target may be no token
    nll, count = token_nll(np.array([[row]]), np.array([[-100]]), ~one)
    assert (nll.tolist(), count.tolist()) == ([0], [0])


def test_perplexity() -> None:
    nll, count = token_nll(LOGITS, TARGETS, KEEP)
    chances = scipy.special.softmax(LOGITS, axis=-1)
    expected = math.exp(log_loss(TARGETS[KEEP], chances[KEEP], labels=range(11)))
    assert perplexity(nll, count) == pytest.approx(expected, rel=1e-12)
    index = RNG.integers(0, 5, (4, 5))
    counts = np.stack([np.bincount(row, minlength=5) for row in index])
    blocks = perplexity(nll[index], count[index])
    assert blocks.shape == (4,)
    assert perplexity(nll, count, counts) == pytest.approx(blocks, rel=1e-12)
    assert perplexity(np.zeros(2), np.zeros(2, np.int64)) == math.inf
    assert perplexity(np.array([np.inf, 1]), np.array([1, 1])) == math.inf
    assert perplexity(np.array([4000.0]), np.array([1])) == math.inf
