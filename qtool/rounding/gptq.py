"""GPTQ: column by column, what rounding one loses is made good by those that are not rounded yet.

With H^-1 = U^T U, U upper triangular, rounding column j to q_j leaves e = (w_j - q_j) / U_jj, and
the best that the later columns can do is w_k - e U_jk. (Frantar, Ashkboos, Hoefler and Alistarh,
GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers, 2022.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.affine import Codes
from qtool.rounding.descent import descend
from qtool.rounding.problem import Problem, Reals

_COLUMNS = 128  # whose losses are carried to all later columns at once, in one product
_DAMPING = 0.01  # of the mean of the diagonal, added to it


def gptq(problem: Problem) -> Codes:
    """Codes (groups, rows, columns), int32; no row costs more than rounded to nearest.

    Columns go in the order of their moments, greatest first, so that what is left to the end is
    what counts least; coordinate descent mends what the order made bad. It costs columns^3, and a
    few times rows x columns^2.
    """
    if not has_moments(problem):
        return problem.nearest()
    return descend(problem, in_turn(problem, Turn.of(problem.moments)))


def has_moments(problem: Problem) -> bool:
    """Whether they tell what an error costs."""
    return bool(np.isfinite(problem.moments).all() and problem.moments.any())


@dataclass(frozen=True, eq=False)
class Turn:
    """The order (groups, columns) of columns, and the factor U of H^-1 for it."""

    order: NDArray[np.int64]
    factor: Reals

    @classmethod
    def of(cls, moments: NDArray[Any]) -> Turn:
        """Of moments that are finite; the factor depends on nothing else."""
        order = np.argsort(-np.diagonal(moments, axis1=1, axis2=2), axis=1, kind="stable")
        groups = np.arange(len(order))[:, None, None]
        return cls(order, _factor(moments[groups, order[:, :, None], order[:, None, :]]))


def in_turn(problem: Problem, turn: Turn) -> Codes:
    """GPTQ's codes as they are, before any descent; no row costs more than rounded to nearest."""
    order, factor = turn.order, turn.factor
    # (groups, columns, rows): of one column, all rows lie side by side
    steps, exact = (
        np.take_along_axis(each.swapaxes(1, 2), order[:, :, None], 1)
        for each in (problem.steps, problem.exact)
    )
    lost = np.zeros_like(exact)  # what is to be made good, added to each weight
    found = np.empty_like(exact)
    columns = exact.shape[1]
    for start in range(0, columns, _COLUMNS):
        block = slice(start, min(start + _COLUMNS, columns))
        losses = np.empty_like(exact[:, block])
        for i, j in enumerate(range(start, block.stop)):
            wish = exact[:, j] + lost[:, j] / steps[:, j]
            found[:, j] = problem.snapped(wish)
            losses[:, i] = (wish - found[:, j]) * steps[:, j] / factor[:, j, j, None]
            rest = factor[:, j, j + 1 : block.stop, None]
            lost[:, j + 1 : block.stop] -= rest * losses[:, i, None]
        lost[:, block.stop :] -= factor[:, block, block.stop :].swapaxes(1, 2) @ losses
    values = np.empty(problem.weight.shape)
    np.put_along_axis(values, order[:, None, :], found.swapaxes(1, 2), 2)
    return problem.best(problem.nearest(), problem.codes(values))


def _factor(moments: NDArray[Any]) -> Reals:
    """U with U^T U = (H + damping)^-1, of finite moments, in whose place H + damping is left.

    It is the inverse of R with R R^T = H, which is a Cholesky factor from the last column upwards.
    """
    diagonal = np.einsum("gcc->gc", moments)  # a view: what is added to it is in `moments`
    mean = diagonal.mean(1, keepdims=True)
    damping = _DAMPING * np.where(mean > 0, mean, 1)  # a group of zeros takes any codes
    while True:
        diagonal += damping
        try:
            lower = np.linalg.cholesky(moments[:, ::-1, ::-1])
        except np.linalg.LinAlgError:  # rounding had made an eigenvalue negative
            damping *= 10
        else:
            return _inverse(lower[:, ::-1, ::-1].astype(np.float64, copy=False))


def _inverse(upper: Reals) -> Reals:
    """The inverse of upper triangular matrices, by halves:

    (A B; 0 C)^-1 = (A^-1  -A^-1 B C^-1; 0  C^-1)
    """
    columns = upper.shape[1]
    if columns <= 64:
        return np.triu(np.linalg.inv(upper))
    half = columns // 2
    first, last = _inverse(upper[:, :half, :half]), _inverse(upper[:, half:, half:])
    inverse = np.zeros_like(upper)
    inverse[:, :half, :half], inverse[:, half:, half:] = first, last
    inverse[:, :half, half:] = -first @ upper[:, :half, half:] @ last
    return inverse
