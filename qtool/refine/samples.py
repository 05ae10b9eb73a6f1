"""The samples that algorithms learn from, and those that they are judged on.

They are chosen by what they hold, not by their names or places: the same data in another order, or
cut into other files, gives the same model.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias

from qtool.data.dataset import Dataset
from qtool.refine.taps import Feeds

LEARNED, JUDGED = 64, 32
BYTES = 128 << 20  # that they may hold, all together

_Ranked: TypeAlias = tuple[int, int, Feeds]  # the hash, negative: a heap gives its least


@dataclass(frozen=True)
class Samples:
    """One run each: `fit` to learn from, `check` apart from them to judge on."""

    fit: tuple[Feeds, ...]
    check: tuple[Feeds, ...]


def drawn(data: Dataset, batch_size: int = 1) -> Samples:
    """Reads all samples once and keeps those with the least hashes; one of three is set apart.

    Where states are carried, only those that start a sequence tell something by themselves.

    Raises:
        DataError: a sample cannot be read or does not fit.
        UsageError: as `Dataset.blocks`.
    """
    kept: list[_Ranked] = []
    held, seen = 0, count()
    most = LEARNED + JUDGED
    for block in data.blocks(batch_size):
        for number, feeds in enumerate(data.batches(batch_size, [block])):
            if data.states and number:
                break
            rank = -min(data.hashes(feeds, 0))
            heapq.heappush(kept, (rank, next(seen), feeds))
            held += _bytes(feeds)
            while len(kept) > 2 and (len(kept) > most or held > BYTES):
                held -= _bytes(heapq.heappop(kept)[2])
    chosen = [feeds for _, _, feeds in sorted(kept, key=lambda each: -each[0])]
    share = len(chosen) * JUDGED // most
    apart = max(1, share) if len(chosen) > 1 else 0
    return Samples(tuple(chosen[apart:]), tuple(chosen[:apart] or chosen))


def _bytes(feeds: Feeds) -> int:
    return sum(array.nbytes for array in feeds.values())
