"""The law of the best: nothing dominates them, and something dominates all others."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from qtool.numeric.pareto import optimal

COSTS = st.integers(0, 6)
POINTS = st.lists(st.tuples(COSTS, COSTS, COSTS), max_size=12)


def dominates(left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    pairs = list(zip(left, right, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


@settings(max_examples=50)
@given(POINTS)
def test_what_is_optimal_is_dominated_by_nothing_and_dominates_the_rest(
    points: list[tuple[int, int, int]],
) -> None:
    flags = optimal(points)
    best = [point for point, flag in zip(points, flags, strict=True) if flag]
    assert bool(best) == bool(points)
    for point, flag in zip(points, flags, strict=True):
        assert flag == (not any(dominates(other, point) for other in points))
        assert flag or any(dominates(other, point) for other in best)


@settings(max_examples=50)
@given(POINTS)
def test_the_order_does_not_matter(points: list[tuple[int, int, int]]) -> None:
    turned = points[::-1]
    assert optimal(turned) == optimal(points)[::-1]


def test_parts_that_count_one_after_the_other_are_tuples() -> None:
    assert optimal([(1, (0.0, -30.0)), (1, (0.0, -20.0)), (0, (0.1, -5.0))]) == [True, False, True]
