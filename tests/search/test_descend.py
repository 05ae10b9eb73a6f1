"""Few choices are measured, and the one that is found is as far up as any that is inside."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from qtool.search.bounded import MOST, Trial, closest, descend, largest, taken_back
from qtool.search.budget import Loss
from qtool.search.noise import Choice
from tests.search.test_ladder import noise_of
from tests.search.worlds import chain


def trial(loss: float, inside: bool, size: int = 1) -> Trial:
    return Trial("", size, 1.0, 8.0, Loss(loss, loss, loss), inside, 0.0, math.nan)


def rung(index: int) -> Choice:
    return Choice(frozenset(f"c{i}" for i in range(index)))


class Attempts:
    """Says of rungs from `first` on that they are inside, and counts."""

    def __init__(self, holds: Callable[[Choice], bool]) -> None:
        self.holds, self.tried = holds, list[Choice]()

    def __call__(self, choice: Choice) -> Trial:
        self.tried.append(choice)
        return trial(len(choice.floats), self.holds(choice))


@pytest.mark.parametrize("first", [0, 1, 2, 7, 30, 99])
def test_the_first_rung_inside_is_found_in_few_trials(first: int) -> None:
    attempts = Attempts(lambda choice: len(choice.floats) >= first)
    found = descend(rung(0), lambda: [rung(i) for i in range(100)], attempts, lambda choice: None)
    assert found == rung(first)
    assert len(attempts.tried) <= (1 if first == 0 else 8)
    assert len(set(attempts.tried)) == len(attempts.tried)


def test_the_ladder_is_not_built_where_nothing_has_to_be_given_up() -> None:
    def ladder() -> list[Choice]:
        raise AssertionError

    assert descend(rung(0), ladder, Attempts(lambda choice: True), lambda choice: None) == rung(0)


def test_none_is_inside() -> None:
    attempts = Attempts(lambda choice: False)
    assert descend(rung(0), lambda: [rung(i) for i in range(9)], attempts, lambda c: None) is None
    assert len(attempts.tried) < MOST
    assert rung(8) in attempts.tried  # the last one was tried


def test_what_need_not_be_given_up_is_taken_back() -> None:
    """c5 alone is to blame; c0 was given up in vain."""
    names = [f"c{i}" for i in range(6)]
    noise = noise_of([1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1.0], {})
    graph = chain(6).graph
    attempts = Attempts(lambda choice: "c5" in choice.floats)
    start = Choice(frozenset({"c0", "c5"}))

    def back(choice: Choice) -> Choice | None:
        failed = [each for each in attempts.tried if "c5" not in each.floats]
        return taken_back(graph, noise, choice, failed, attempts.tried)

    found = descend(Choice(), lambda: [Choice(), start, Choice(frozenset(names))], attempts, back)
    assert found == Choice(frozenset({"c5"}))
    assert len(attempts.tried) <= MOST


def test_a_part_of_a_segment_goes_back() -> None:
    """Of ten layers in float the five at the end are loud: the others need not be."""
    noise = noise_of([1e-4] * 6 + [1.0] * 5, {})
    graph = chain(10).graph
    loud = {f"c{i}" for i in range(5, 10)}
    attempts = Attempts(lambda choice: choice.floats >= loud)
    every = Choice(frozenset(f"c{i}" for i in range(10)))

    def back(choice: Choice) -> Choice | None:
        failed = [each for each in attempts.tried if not each.floats >= loud]
        return taken_back(graph, noise, choice, failed, attempts.tried)

    found = descend(Choice(), lambda: [Choice(), every], attempts, back)
    assert found is not None
    assert found.floats >= loud
    assert len(found.floats) <= 6  # c4 makes what c5 reads, and is quieter with it


def test_the_largest_that_fits() -> None:
    choices = [rung(i) for i in range(10)]
    for most in range(10):
        assert largest(choices, lambda choice, most=most: len(choice.floats) <= most) == most  # type: ignore[misc]
    assert largest(choices, lambda choice: False) is None


def test_the_closest_loses_least_and_is_small() -> None:
    few = [trial(3.0, False), trial(1.0, False, size=9), trial(1.0, False, size=5)]
    assert closest(few) is few[2]
