"""Coordinate descent: one code after the other takes its best value while the others stay.

With g = d H, the cost of row d changes by 2 t g_j + t^2 H_jj when weight j moves by t, least at
t = -g_j / H_jj; of the levels that there are the nearest one to that is best. So no move makes the
cost greater, and where none makes it less it ends. (Nair and Suggala, CDQuant, 2024.)
"""

from __future__ import annotations

import numpy as np

from qtool.numeric.affine import Codes
from qtool.rounding.problem import Problem

_SWEEPS = 16
_COLUMNS = 64  # whose moves are carried to all other columns at once, in one product


def descend(problem: Problem, codes: Codes, sweeps: int = _SWEEPS) -> Codes:
    """Codes of which no row costs more than of `codes`; all rows at once, column by column.

    A sweep costs as much as one product of the weights with the moments. It ends after `sweeps`, or
    where one changes nothing.
    """
    moments = problem.moments.astype(np.float32)
    values = problem.stood_for(codes)
    # (groups, columns, rows): of one column, all rows lie side by side
    steps, found, lost = (
        np.ascontiguousarray(each.swapaxes(1, 2), np.float32)
        for each in (problem.steps, values, (values - problem.exact) * problem.steps)
    )
    slope = moments @ lost
    curve = steps * np.diagonal(moments, axis1=1, axis2=2)[:, :, None]
    per_slope = np.divide(1, curve, out=np.zeros_like(curve), where=curve > 0)
    columns = found.shape[1]
    for _ in range(sweeps):
        moved = False
        for start in range(0, columns, _COLUMNS):
            block = slice(start, min(start + _COLUMNS, columns))
            within, near = moments[:, block, block], slope[:, block].copy()
            before = found[:, block].copy()
            for i, j in enumerate(range(start, block.stop)):
                wish = problem.snapped(found[:, j] - near[:, i] * per_slope[:, j])
                moves = (wish - found[:, j]) * steps[:, j]
                if moves.any():
                    near += within[:, :, i, None] * moves[:, None]
                    found[:, j] = wish
            change = (found[:, block] - before) * steps[:, block]
            if change.any():
                slope += moments[:, :, block] @ change
                moved = True
        if not moved:
            break
    return problem.best(codes, problem.codes(found.swapaxes(1, 2)))
