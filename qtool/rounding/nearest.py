"""Rounding to the nearest code, each weight by itself: what the others are held against."""

from __future__ import annotations

from qtool.numeric.affine import Codes
from qtool.rounding.problem import Problem


def nearest(problem: Problem) -> Codes:
    """clip(round(W / s) + z), (groups, rows, columns), int32."""
    return problem.nearest()
