"""Whether the second half of the samples still moved the ranges."""

from __future__ import annotations

import numpy as np

from qtool.calibrate.settled import settled
from qtool.numeric.histogram import Histogram


def seen(*arrays: object) -> Histogram:
    made = Histogram.empty()
    for x in arrays:
        made = made.observe(np.asarray(x))
    return made


FIRST = np.random.default_rng(0).normal(size=200_000)
SECOND = np.random.default_rng(1).normal(size=200_000)


def test_more_of_the_same_moves_nothing() -> None:
    said = settled({"a": seen(FIRST)}, {"a": seen(FIRST, SECOND)})
    assert "moved no range by more than 5%" in said


def test_the_range_that_moved_most_is_named() -> None:
    half = {"a": seen(FIRST), "b": seen(FIRST), "c": seen(FIRST)}
    whole = {
        "a": seen(FIRST, SECOND), "b": seen(FIRST, 2 * SECOND), "c": seen(FIRST, 1.3 * SECOND),
    }  # fmt: skip
    said = settled(half, whole)
    assert "2 of 3 ranges, that of 'b' by" in said
    assert "more samples may help" in said


def test_one_huge_value_is_not_yet_a_move() -> None:
    assert "no range" in settled({"a": seen(FIRST)}, {"a": seen(FIRST, SECOND, [1e30])})


def test_constants_and_nothing_say_nothing_wrong() -> None:
    assert settled({"a": Histogram.empty()}, {"a": seen([1.0])}) == ""
    assert "no range" in settled({"a": seen([0.0])}, {"a": seen([0.0, 0.0])})
