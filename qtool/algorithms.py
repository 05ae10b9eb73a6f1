"""The algorithms that a recipe can list: when each has its turn, and what it needs.

    transform    model -> model of the same function, easier to quantize; comes first
    ranges       what was measured -> the ranges that the codes cover
    refinement   a plan, judged by running it -> other codes or biases

What needs nothing, or the statistics of a calibration file, works without samples; `qtool quantize
--calibration FILE` refuses what needs samples, unless they are given too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from qtool.errors import UsageError, did_you_mean

Stage = Literal["transform", "ranges", "refinement"]
Needs = Literal["nothing", "statistics", "samples"]


@dataclass(frozen=True)
class Algorithm:
    """One row: what it does, in a few words for tables, and what of."""

    stage: Stage
    needs: Needs
    summary: str


ALGORITHMS: dict[str, Algorithm] = {
    "equalize": Algorithm(
        "transform", "nothing", "evens out channels between layers, by their weights"
    ),
    "smooth": Algorithm(
        "transform", "samples", "evens out channels of activations at the cost of weights"
    ),
    "masks": Algorithm("ranges", "statistics", "keeps huge constants of masks out of ranges"),
    "gptq": Algorithm("refinement", "samples", "rounds weights column by column, mending errors"),
    "adaround": Algorithm("refinement", "samples", "learns which weights to round up or down"),
    "bias": Algorithm("refinement", "samples", "corrects the mean of what each layer gives"),
}


def check_algorithms(names: Iterable[str]) -> None:
    """Raises UsageError for a name that is not known, or stands twice."""
    seen = set()
    for name in names:
        if name not in ALGORITHMS:
            raise UsageError(
                f"algorithm {name!r} is not known",
                f"known: {', '.join(ALGORITHMS)}",
                did_you_mean(name, ALGORITHMS),
            )
        if name in seen:
            raise UsageError(f"algorithm {name!r} is listed twice", fix="list it once")
        seen.add(name)


def of_stage(names: Iterable[str], stage: Stage) -> tuple[str, ...]:
    """Those of the names that have their turn then, in their order."""
    return tuple(name for name in names if ALGORITHMS[name].stage == stage)


def needing_samples(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that samples must be run for."""
    return tuple(name for name in names if ALGORITHMS[name].needs == "samples")
