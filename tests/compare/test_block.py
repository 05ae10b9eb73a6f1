"""Runs that are looked at together give what each gives alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qtool.compare import block
from qtool.compare.block import Block, Part

Array = NDArray[Any]
shapes = st.tuples(st.integers(1, 3), st.integers(1, 3), st.booleans(), st.booleans())


def joined(runs: list[tuple[Any, Any, Any, int]], inputs: bool) -> list[Part]:
    made = Block(inputs)
    parts = [part for run in runs for part in made.add(*run)]
    return [*parts, *made.rest()]


@given(st.lists(shapes, max_size=30), st.booleans())
@settings(max_examples=60)
def test_nothing_is_lost_or_moved(forms: list[tuple[int, int, bool, bool]], inputs: bool) -> None:
    runs: list[tuple[Any, Any, Any, int]] = []
    for number, (count, width, whole, text) in enumerate(forms):
        base = np.full((count, width), float(number))
        outputs: dict[str, Any] = {"y": base, "z": np.array(number) if whole else base[:, 0]}
        if text:
            outputs["z"] = [{1: 0.5}] * count
        runs.append(({"x": base + 0.5}, outputs, {**outputs, "y": base + 0.25}, count))
    parts = joined(runs, inputs)
    assert sum(part.samples for part in parts) == sum(run[3] for run in runs)
    assert sum(part.runs for part in parts) == len(runs)
    rows = [row.tolist() for part in parts for row in part.reference["y"]]
    assert rows == [row.tolist() for run in runs for row in run[1]["y"]]
    for part in parts:
        assert (part.candidate["y"] - part.reference["y"] == 0.25).all()
        assert len(part.reference["y"]) == part.samples
        if inputs:
            assert (part.feeds["x"] - part.reference["y"] == 0.5).all()
        if part.runs > 1:
            assert isinstance(part.reference["z"], np.ndarray)
            assert len(part.reference["z"]) == part.samples


def test_equal_runs_are_joined_up_to_a_bound() -> None:
    y = {"y": np.ones((1, 4))}
    parts = joined([({}, y, y, 1)] * (block.SAMPLES + 3), inputs=False)
    assert [part.samples for part in parts] == [block.SAMPLES, 3]
    large = {"y": np.ones((1, block.BYTES // 16))}
    assert [part.samples for part in joined([({}, large, large, 1)] * 3, inputs=False)] == [1, 1, 1]


def test_inputs_of_other_shapes_part_runs_only_where_they_are_wanted() -> None:
    y = {"y": np.ones((1, 4))}
    runs = [({"x": np.ones((1, length))}, y, y, 1) for length in (3, 5, 3)]
    assert len(joined(runs, inputs=False)) == 1
    assert len(joined(runs, inputs=True)) == 3
