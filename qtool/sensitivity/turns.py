"""Which sample meets which source: each source is met by about as many, and no run is wasted.

    turn t = 0, 1, …    source  t mod sources,    unit  order[(t + t div period) mod units]
                        period = the least common multiple of both: no pair comes twice

A unit is what has one gate open from its first run to its last: a batch, or the sequence that a
state goes through. Their order is that of the hashes of what they hold: neighbours, which may be
alike, favour no source, and the data may come in any order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from qtool.data.dataset import Dataset
from qtool.data.fed import fingerprint

FEWEST = 32  # units that each source is met by, as long as twice the samples are enough


@dataclass(frozen=True)
class Turns:
    """The sources that each unit meets, none of them twice."""

    data: Dataset
    batch_size: int
    blocks: tuple[range, ...]
    sources: tuple[tuple[int, ...], ...]
    longest: int
    """Runs of a sequence, of which there may be fewer than sources: they are cut then."""

    @property
    def runs(self) -> int:
        """Units, each as often as it is met."""
        return sum(map(len, self.sources))

    def batches(self, block: range) -> Iterator[Mapping[str, NDArray[Any]]]:
        """What a unit feeds, run by run."""
        found = self.data.batches(self.batch_size, [block])
        yield from (feeds for _, feeds in zip(range(self.longest), found, strict=False))


@dataclass(frozen=True)
class Order:
    """The units of some data in the order of what they hold, and the data's fingerprint."""

    units: tuple[int, ...]
    fingerprint: str


def ranked(data: Dataset, batch_size: int) -> Order:
    """Reads every sample.

    Raises:
        DataError: one cannot be read.
        UsageError: as `Dataset.blocks`.
    """
    hashes, total = list[int](), 0
    for block in data.blocks(batch_size):
        last, unit = 0, 0
        for batch in data.batches(batch_size, [block]):
            found = data.hashes(batch, last)
            last, unit, total = found[-1], unit + sum(found), total + sum(found)
        hashes.append(unit)
    units = sorted(range(len(hashes)), key=lambda each: hashes[each])
    return Order(tuple(units), fingerprint([total]))


def turns_of(data: Dataset, batch_size: int, sources: int, order: Order) -> Turns:
    """At most two turns for each unit, unless there are fewer units than that for all sources."""
    blocks = tuple(data.blocks(batch_size))
    units = len(blocks)
    met: list[list[int]] = [[] for _ in blocks]
    wanted = max(units, min(FEWEST * sources, 2 * units), sources)
    runs = min(wanted, units * sources)
    period = math.lcm(units, sources) or 1
    for turn in range(runs):
        met[order.units[(turn + turn // period) % units]].append(turn % sources)
    longest = max(_SHORTEST, 2 * len(data) // max(1, runs)) if data.states else len(data)
    return Turns(data, batch_size, blocks, tuple(map(tuple, met)), longest)


_SHORTEST = 4  # runs in which a state has something to carry


def first(data: Dataset, batch_size: int, order: Order, samples: int) -> Dataset:
    """About so many samples, those that come first in this order, and in it; sequences whole."""
    blocks, rows = data.blocks(batch_size), list[int]()
    for unit in order.units:
        if len(rows) >= samples:
            break
        rows += blocks[unit]
    return data.take(rows)
