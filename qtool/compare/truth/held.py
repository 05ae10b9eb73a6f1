"""What every way of judging outputs by a truth has in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qtool.compare.result import Score

Array = NDArray[Any]
Outputs = Mapping[str, Any]


@dataclass(frozen=True)
class Judged:
    """The output that was judged, its scores by name, and sentences on what was not."""

    output: str | None = None
    scores: Mapping[str, Score] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Truth(Protocol):
    """Sees what both models make of the samples, in order, and judges them at the end."""

    inputs: bool
    """Whether it looks at what was fed."""
    alone: bool
    """Whether it must see each run alone: what is one sample of several rows looks like several."""

    def see(self, feeds: Outputs, reference: Outputs, candidate: Outputs, count: int) -> None:
        """Take in the next `count` samples."""

    def judge(self) -> Judged:
        """Both models' scores."""


def fits(count: int, *values: Any) -> bool:
    """Whether these are float arrays of one shape with a row for each of `count` samples."""
    first = values[0]
    return all(
        isinstance(value, np.ndarray)
        and value.dtype.kind == "f"
        and value.shape == first.shape
        and value.shape[:1] == (count,)
        for value in values
    )


def unused(what: str, why: str) -> Judged:
    """Nothing was judged, and why not."""
    return Judged(notes=(f"{what} were not used: {why}",))
