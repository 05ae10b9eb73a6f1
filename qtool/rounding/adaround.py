"""AdaRound: whether each weight goes up or down is learned, by gradients, for all at once.

    codes = base + h(V)     h(V) = clip(1.2 sigmoid(V) - 0.1, 0, 1)
    minimise  d H d^T + lambda sum s^2 H_jj (1 - |2 h(V) - 1|^beta)

The second term is nothing where h is 0 or 1; beta falls, so that first the cost leads and then
every h is drawn to one end. The first is quadratic, so its gradient is 2 d H s h'(V). (Nagel,
Amjad, van Baalen, Louizos and Blankevoort, Up or Down? Adaptive Rounding for Post-Training
Quantization, 2020.)

Here GPTQ's codes are the start: base and base + 1 are its code and the next one towards the
weight. Hundreds of iterations so do what took ten thousand from the weight itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.affine import Codes
from qtool.rounding.descent import descend
from qtool.rounding.gptq import gptq
from qtool.rounding.problem import Problem

_LOW, _HIGH = -0.1, 1.1  # the sigmoid stretched, so that 0 and 1 are reached
_BETA = 8.0, 2.0
_WARM = 0.1  # of the iterations are without the second term
_LAMBDA = 0.3  # of what it costs to move a weight by a step
_RATE = 0.1
_FIRST, _SECOND = 0.9, 0.999  # what Adam keeps of its means
_MOST, _LEAST = 400, 50  # iterations
_WORK = 4e10  # multiplications that one layer may cost


def adaround(problem: Problem) -> Codes:
    """Codes (groups, rows, columns), int32; no row costs more than by GPTQ, nor to nearest.

    An iteration costs rows x columns^2. The more that is, the fewer they are; where too few would
    be left, from about 512 rows of 1,250 columns, GPTQ's codes stay; of a codebook too.
    """
    start = gptq(problem)
    affordable = int(_WORK / max(problem.weight.size * problem.weight.shape[2], 1))
    uneven = problem.levels is not None  # up and down are not one step
    if uneven or affordable < _LEAST or not np.isfinite(problem.moments).all():
        return start
    learned = _learn(problem, start, min(affordable, _MOST))
    return problem.best(start, descend(problem, learned))


def _learn(problem: Problem, start: Codes, iterations: int) -> Codes:
    exact, steps = problem.exact, problem.steps
    curve = np.diagonal(problem.moments, axis1=1, axis2=2)[:, None]
    # In this unit the costs of all layers are of one size, as Adam's small term wants them.
    unit = float(np.mean(steps**2 * curve))
    if not unit > 0:
        return start
    base = np.where(start <= exact, start, start - 1.0)
    base = np.clip(base, problem.lowest, problem.highest - 1)
    likely = np.clip((exact + start) / 2 - base, 0.01, 0.99)
    scaled = (steps / np.sqrt(unit)).astype(np.float32)
    offset = (base - exact).astype(np.float32)
    moments = problem.moments.astype(np.float32)
    likely = (likely - _LOW) / (_HIGH - _LOW)
    v = np.log(likely / (1 - likely)).astype(np.float32)
    weight = (_LAMBDA * steps**2 * curve / unit).astype(np.float32)
    mean, square = np.zeros_like(v), np.zeros_like(v)
    for turn in range(iterations):
        sigmoid = 1 / (1 + np.exp(-v))
        h = np.clip(sigmoid * (_HIGH - _LOW) + _LOW, 0, 1)
        slope = 2 * (((offset + h) * scaled) @ moments) * scaled
        done = (turn / iterations - _WARM) / (1 - _WARM)
        if done >= 0:
            slope += weight * _pull(h, done)
        free = (h > 0) & (h < 1)
        slope *= (_HIGH - _LOW) * sigmoid * (1 - sigmoid) * free
        mean += (1 - _FIRST) * (slope - mean)
        square += (1 - _SECOND) * (slope**2 - square)
        level = np.sqrt(square / (1 - _SECOND ** (turn + 1))) + 1e-12
        v -= _RATE / (1 - _FIRST ** (turn + 1)) * mean / level
    return (base + (v > 0)).astype(np.int32)


def _pull(h: NDArray[Any], done: float) -> NDArray[np.float32]:
    """The derivative of 1 - |2 h - 1|^beta by h, beta falling as a cosine does."""
    first, last = _BETA
    beta = last + (first - last) * (1 + np.cos(np.pi * done)) / 2
    centred = 2 * h - 1
    return np.asarray(-2 * beta * np.sign(centred) * np.abs(centred) ** (beta - 1), np.float32)
