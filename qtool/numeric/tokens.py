"""How likely a language model finds the tokens that are right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.distances import CHUNK, total

Array = NDArray[Any]
Floats = NDArray[np.float64]


def token_nll(
    logits: Array, targets: NDArray[np.int64], keep: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.int64]]:
    """The sum of -log p(target) of each sample in nats (n,), and of how many tokens (n,).

    logits (n, T, V) of any float type, log-probabilities among them; targets (n, T), where `keep`
    (n, T) is true in 0 … V - 1. Logits that make no distribution, or leave the target no chance,
    cost infinity.
    """
    count = keep.sum(axis=-1)
    rows = np.flatnonzero(keep)
    flat = logits.reshape(-1, logits.shape[-1])
    wanted = targets.reshape(-1)[rows]
    lost = np.zeros(keep.shape)
    step = max(1, CHUNK // max(1, flat.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        lost.reshape(-1)[rows[part]] = _nll(flat, rows[part], wanted[part])
    return lost.sum(axis=-1), count


def _nll(logits: Array, rows: NDArray[np.int64], targets: NDArray[np.int64]) -> Floats:
    """-log softmax(logits[row])[target] for each of the rows."""
    # -log p = log sum exp(x - m) - (x_target - m), m the largest
    wide = logits[rows].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        wide -= wide.max(axis=-1, keepdims=True)
        target = wide[np.arange(len(rows)), targets]
        found = np.log(np.exp(wide, out=wide).sum(axis=-1)) - target
    return np.where(np.isnan(found), np.inf, found)


def perplexity(nll: Array, count: Array, counts: Array | None = None) -> Floats:
    """exp of the mean negative log-likelihood of a token, sums of samples as for `total`.

    Jelinek, F. et al. (1977), "Perplexity, a measure of the difficulty of speech recognition
    tasks". Inf where no token counts.
    """
    # PPL = exp(sum nll / sum count): tokens weigh the same, however they are spread over samples
    tokens = total(count, counts)
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.exp(total(nll, counts) / np.where(tokens > 0, tokens, 1))
    return np.asarray(np.where(tokens > 0, found, np.inf))
