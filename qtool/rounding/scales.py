"""Scales and zero points of a matrix, by what they cost its output: before its codes are chosen,
and for codes that are chosen.

Of few codes the step matters as much as the codes. With d = s (q - z) - W and g = d H, of a row:

    before    least sum over j of H_jj d_j^2, codes nearest      among shares of the scale
    after     s' = s - g_b q / (q H_bb q),   q = q_b - z          exact, while all others stay
              z' = z + round(g_b 1 / (s 1 H_bb 1))

b are the columns of one block, all of a row where it has one scale. Blocks take their turns, then
codes descend again (see `descent`). What does not make the row cheaper is undone.

The first is the clipping of GPTQ and AWQ, the second the closed form for scales in Lin et al. 2023,
DuQuant, and COMQ (Zhang et al. 2024), here under H.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.affine import Codes
from qtool.rounding.descent import descend
from qtool.rounding.gptq import Turn, has_moments, in_turn
from qtool.rounding.problem import Problem, Reals

Hold: TypeAlias = Callable[[Reals], Reals]  # sizes of scales -> those that can be stored

_SHARES = np.concatenate([np.linspace(0.6, 0.95, 8), np.linspace(1.05, 1.3, 6)])
_TRIED = 0.85, 1.15  # shares by which GPTQ itself is tried: what it mends moves the best step
_ROUNDS, _SWEEPS = 3, 2
_ZEROS = 1  # by which a zero point may move at once


@dataclass(frozen=True, eq=False)
class Grid:
    """Scales and zero points as they are shared: (groups, rows, blocks), `block` columns to each;
    (1, 1, 1) for one of all. `moves`: zero points may differ from what they are."""

    scale: Reals
    zero_point: Codes
    block: int
    moves: bool

    @property
    def whole(self) -> bool:
        """Whether there is one scale for all."""
        return self.scale.size == 1

    def over(self, problem: Problem) -> Problem:
        """The problem with these."""
        shape = problem.weight.shape
        scale, zero = (self._spread(each, shape) for each in (self.scale, self.zero_point))
        return replace(problem, scale=scale, zero_point=zero)

    def sums(self, values: Reals) -> Reals:
        """(groups, rows, columns) -> sums over what shares a scale."""
        if self.whole:
            return np.asarray(values.sum(keepdims=True))
        starts = np.arange(0, values.shape[2], self.block)
        return np.asarray(np.add.reduceat(values, starts, axis=2))

    def _spread(self, values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        if self.whole:
            return np.broadcast_to(values, shape)
        return np.repeat(values, self.block, axis=2)[:, :, : shape[2]]


def fitted(
    problem: Problem, grid: Grid, algorithm: Callable[[Problem], Codes], hold: Hold, least: Reals
) -> tuple[Grid, Codes]:
    """Codes by an algorithm, and scales that suit them and the moments.

    No row costs more than by the algorithm with the scales as they are; where one scale is for all
    rows, all of them together do not. No scale becomes less than `least`, which broadcasts.
    """
    best = grid, algorithm(grid.over(problem))
    if not has_moments(problem):
        return best
    turn = Turn.of(problem.moments)
    likely = grid, in_turn(grid.over(problem), turn)
    for first in (
        clipped(problem, grid, hold, least),
        *(replace(grid, scale=_held(grid.scale * share, hold, least)) for share in _TRIED),
    ):
        likely = _better(problem, likely, (first, in_turn(first.over(problem), turn)))
    if likely[0] is not grid:
        best = _better(problem, best, (likely[0], algorithm(likely[0].over(problem))))
    for _ in range(_ROUNDS):
        found = refitted(problem, *best, hold, least)
        trial = _better(problem, best, (found, descend(found.over(problem), best[1], _SWEEPS)))
        if trial is best:
            break
        best = trial
    return best


def clipped(problem: Problem, grid: Grid, hold: Hold, least: Reals) -> Grid:
    """The grid with the scales, among shares of what they are, of the least error of nearest codes,
    each as it counts in the diagonal of the moments."""
    counts = np.diagonal(problem.moments, axis1=1, axis2=2)[:, None]

    def error(trial: Grid) -> Reals:
        asked = trial.over(problem)
        lost = (asked.stood_for(asked.nearest()) - asked.exact) * asked.steps
        return trial.sums(counts * lost * lost)

    best, lowest = grid, error(grid)
    for share in _SHARES:
        trial = replace(grid, scale=hold(_at_least(grid.scale * share, least)))
        found = error(trial)
        best = replace(best, scale=np.where(found < lowest, trial.scale, best.scale))
        lowest = np.minimum(found, lowest)
    return best


def refitted(problem: Problem, grid: Grid, codes: Codes, hold: Hold, least: Reals) -> Grid:
    """The grid with the scale, then the zero point, of each block in turn of least cost."""
    asked = grid.over(problem)
    moments = problem.moments.astype(np.float64, copy=False)
    steps = asked.stood_for(codes) - asked.zero_point.astype(np.float64)
    slope = (steps * asked.steps - problem.weight) @ moments
    scale, zero = grid.scale.copy(), grid.zero_point.copy()
    size = problem.weight.shape[2] if grid.whole else grid.block
    for i, start in enumerate(range(0, problem.weight.shape[2], size)):
        block = slice(start, start + size)
        seen = steps[:, :, block] @ moments[:, block]
        gain = (slope[:, :, block] * steps[:, :, block]).sum(2, keepdims=True)
        curve = (seen[:, :, block] * steps[:, :, block]).sum(2, keepdims=True)
        if grid.whole:
            gain, curve = gain.sum(keepdims=True), curve.sum(keepdims=True)
        old = scale[:, :, i : i + 1]
        wish = old - np.divide(gain, curve, out=np.zeros_like(gain), where=curve > 0)
        wish = old * np.clip(wish / old, 0.5, 2.0)
        wish = hold(_at_least(wish, np.minimum(least, np.abs(old))))
        slope += (wish - old) * seen
        scale[:, :, i : i + 1] = wish
        if grid.moves:
            ones = moments[:, block].sum(1)[:, None]
            curve = wish * ones[:, :, block].sum(2, keepdims=True)
            gain = slope[:, :, block].sum(2, keepdims=True)
            if grid.whole:
                gain, curve = gain.sum(keepdims=True), curve.sum(keepdims=True) * len(wish)
            move = np.rint(np.divide(gain, curve, out=np.zeros_like(gain), where=curve > 0))
            at = zero[:, :, i : i + 1]
            moved = np.clip(at + np.clip(move, -_ZEROS, _ZEROS), problem.lowest, problem.highest)
            slope -= wish * (moved - at) * ones
            steps[:, :, block] -= moved - at
            zero[:, :, i : i + 1] = moved.astype(np.int32)
    return replace(grid, scale=scale, zero_point=zero)


def _at_least(scale: Reals, least: Reals) -> Reals:
    """Scales, which may be below 0, no nearer to 0 than that."""
    return np.copysign(np.maximum(np.abs(scale), least), scale)


def _held(scale: Reals, hold: Hold, least: Reals) -> Reals:
    """The scales that can be stored and are large enough; some may be below 0."""
    return np.copysign(hold(np.maximum(np.abs(scale), least)), scale)


def _better(
    problem: Problem, one: tuple[Grid, Codes], other: tuple[Grid, Codes]
) -> tuple[Grid, Codes]:
    """Of two the one that costs less, row by row where rows have scales of their own; the first as
    it is where it wins everywhere."""
    costs = [grid.over(problem).costs(codes)[:, :, None] for grid, codes in (one, other)]
    if one[0].whole:
        costs = [each.sum(keepdims=True) for each in costs]
    less = costs[1] < costs[0]
    if not less.any():
        return one
    scale = np.where(less, other[0].scale, one[0].scale)
    zero = np.where(less, other[0].zero_point, one[0].zero_point)
    codes = np.where(less, other[1], one[1])
    return replace(one[0], scale=scale, zero_point=zero), codes
