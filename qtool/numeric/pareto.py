"""The best of several, where several things count.

a dominates b   if  a <= b in everything  and  a < b in something
a is optimal    if  nothing dominates it
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Costs = tuple[Any, ...]
"""What is the better the less of it there is, in one order for all; none of it is NaN."""


def optimal(points: Sequence[Costs]) -> list[bool]:
    """Which points nothing dominates; those that are equal are so together."""
    return [not any(_dominates(other, point) for other in points) for point in points]


def _dominates(left: Costs, right: Costs) -> bool:
    return left != right and all(a <= b for a, b in zip(left, right, strict=True))
