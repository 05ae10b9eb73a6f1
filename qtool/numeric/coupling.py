"""Probabilities of classes from those of pairs: Wu, Lin, Weng (2004), their second method, as
libsvm and onnxruntime iterate it. Where it stops is part of the result.

    r_ij       how likely i is, if it is i or j:  1 - logistic(a s + b), from 1e-7 to 1 - 1e-7
    Q          Q_ii = sum of r_ji^2 over j,  Q_ij = -r_ji r_ij
    p          1 / classes at first
    a sweep    for each class t:  d = (pQp - (Qp)_t) / Q_tt,  p <- (p + d e_t) / (1 + d)
    the end    max |Qp - pQp| < 0.005 / classes

With w = p - e_t and g = w Qp this is  p <- p - w g / (g + Q_tt).
"""

from __future__ import annotations

from itertools import combinations
from math import isqrt

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
LEAST = 1e-7
NEAR = 0.005
_MOST = 100  # sweeps, after which the runtime gives up
_ROWS = 500  # of each kind that is tried


def couple(chances: Reals) -> tuple[Reals, int]:
    """(rows, pairs) -> (rows, classes), and the sweeps after which every row had stopped."""
    count = classes_of(chances.shape[1])
    both = np.zeros((len(chances), count, count))
    first, second = np.array(list(combinations(range(count), 2))).T
    both[:, first, second], both[:, second, first] = chances, 1 - chances
    q = -both * both.transpose(0, 2, 1)
    q[:, range(count), range(count)] = (both**2).sum(axis=1)
    p = np.full((len(chances), count), 1 / count)
    for sweep in range(_MOST):
        qp = np.einsum("nij,nj->ni", q, p)
        goes = np.abs(qp - (p * qp).sum(axis=1, keepdims=True)).max(axis=1) >= NEAR / count
        if not goes.any():
            return p, sweep
        p[goes] = _swept(q[goes], p[goes])
    return p, _MOST


def _swept(q: Reals, p: Reals) -> Reals:
    for each, unit in enumerate(np.eye(q.shape[1])):
        w = p - unit
        gain = np.einsum("ni,nij,nj->n", w, q, p)
        p = p - w * (gain / (gain + q[:, each, each]))[:, None]
    return p


def classes_of(pairs: int) -> int:
    """How many classes have so many pairs."""
    return (1 + isqrt(1 + 8 * pairs)) // 2


def sweeps(slope: Reals, shift: Reals) -> int:
    """How many sweeps scores of many kinds take: of classes that are near to each other and far
    apart, of pairs that contradict each other, ties, and scores without end."""
    rng = np.random.default_rng(0)
    first, second = np.array(list(combinations(range(classes_of(len(slope))), 2))).T
    tried = [np.zeros((1, len(slope)))]
    for spread in (0.3, 1.0, 3.0, 10.0, 100.0):
        centres = rng.normal(size=(_ROWS, second.max() + 1))
        noise = rng.normal(size=(_ROWS, len(slope)))
        apart = centres[:, first] - centres[:, second]
        tried += [spread * (apart + noise / 4), spread * noise]
    with np.errstate(over="ignore"):
        chances = 1 / (1 + np.exp(slope * np.vstack(tried) + shift))
    return couple(np.clip(chances, LEAST, 1 - LEAST))[1]
