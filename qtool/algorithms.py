"""The algorithms that a recipe can list: when each has its turn, and what it needs.

    transform    model -> model of the same function, easier to quantize; comes first
    ranges       what was measured -> the ranges that the codes cover
    refinement   a plan, judged by running it -> other codes or biases

What needs nothing, or the statistics of a calibration file, works without samples; `qtool quantize
--calibration FILE` refuses what needs samples, unless they are given too.

What chooses codes or scales of weights may be kept from weights of many bits: "gptq<8" is for those
of fewer than eight.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from qtool.errors import UsageError, did_you_mean

Stage = Literal["transform", "ranges", "refinement"]
Needs = Literal["nothing", "statistics", "samples"]


@dataclass(frozen=True)
class Algorithm:
    """One row: what it does, in a few words for tables, and what of. `limits` tells whether it may
    be kept to weights of few bits."""

    stage: Stage
    needs: Needs
    summary: str
    limits: bool = False


ALGORITHMS: dict[str, Algorithm] = {
    "equalize": Algorithm(
        "transform", "nothing", "evens out channels between layers, by their weights"
    ),
    "smooth": Algorithm(
        "transform", "samples", "evens out channels of activations at the cost of weights"
    ),
    "awq": Algorithm(
        "transform", "samples", "scales up the channels of weights that meet large values", True
    ),
    "masks": Algorithm("ranges", "statistics", "keeps huge constants of masks out of ranges"),
    "hqq": Algorithm(
        "ranges", "nothing", "fits scales of weights to most of the values, not to the few", True
    ),
    "levels": Algorithm(
        "refinement", "samples", "fits codebooks to what layers read, and rounds weights to them"
    ),
    "gptq": Algorithm(
        "refinement", "samples", "rounds weights column by column, mending errors", True
    ),
    "adaround": Algorithm(
        "refinement", "samples", "learns which weights to round up or down", True
    ),
    "bias": Algorithm("refinement", "samples", "corrects the mean of what each layer gives"),
}


_FEWEST, _MOST = 3, 16  # bits that a limit may name: below 3 there is 2, above 16 nothing


@dataclass(frozen=True)
class Listed:
    """An entry of a list: an algorithm, and the bits that a weight must have fewer of, if any."""

    name: str
    below: int | None = None

    def takes(self, bits: int) -> bool:
        """Whether it is for weights of so many bits."""
        return self.below is None or bits < self.below


def listed(entry: str) -> Listed:
    """`gptq` or `gptq<8` -> what it asks for.

    Raises:
        UsageError: the algorithm is not known, has no limit, or the limit is no number of bits.
    """
    name, sign, limit = (part.strip() for part in entry.partition("<"))
    if name not in ALGORITHMS:
        raise UsageError(
            f"algorithm {name!r} is not known",
            f"known: {', '.join(ALGORITHMS)}",
            did_you_mean(name, ALGORITHMS),
        )
    if not sign:
        return Listed(name)
    if not ALGORITHMS[name].limits:
        raise UsageError(
            f"algorithm {entry!r}: {name} is not about the codes of single weights",
            "a limit of bits is for " + ", ".join(n for n, a in ALGORITHMS.items() if a.limits),
            f"list it as  {name!r}",
        )
    if not re.fullmatch("[0-9]{1,2}", limit) or not _FEWEST <= int(limit) <= _MOST:
        raise UsageError(
            f"algorithm {entry!r}: {limit!r} is no limit",
            f"a limit is a number of bits from {_FEWEST} to {_MOST}, which weights are below",
            f"list it as  '{name}<8'  or  {name!r}",
        )
    return Listed(name, int(limit))


def find(entries: Iterable[str], name: str) -> Listed | None:
    """The entry of an algorithm, or None where it is not listed."""
    return next((each for each in map(listed, entries) if each.name == name), None)


def check_algorithms(entries: Iterable[str]) -> None:
    """Raises UsageError for an entry that cannot be read, or an algorithm that stands twice."""
    seen = set()
    for each in map(listed, entries):
        if each.name in seen:
            raise UsageError(f"algorithm {each.name!r} is listed twice", fix="list it once")
        seen.add(each.name)


def of_stage(entries: Iterable[str], stage: Stage) -> tuple[str, ...]:
    """Those of the entries that have their turn then, in their order."""
    return tuple(entry for entry in entries if ALGORITHMS[listed(entry).name].stage == stage)


def needing_samples(entries: Iterable[str]) -> tuple[str, ...]:
    """Those of the entries that samples must be run for."""
    return tuple(entry for entry in entries if ALGORITHMS[listed(entry).name].needs == "samples")
