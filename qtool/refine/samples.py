"""The samples that algorithms learn from, and those that they are judged on.

They are chosen by what they hold, not by their names or places: the same data in another order, or
cut into other files, gives the same model.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import TypeAlias

import numpy as np

from qtool.algorithms import find, needing_samples
from qtool.data.dataset import Dataset
from qtool.recipe import Recipe
from qtool.refine.taps import Feeds

LEARNED, JUDGED = 64, 32
ROUNDERS = ("gptq", "adaround", "levels")
FEW = 384  # learned from where weights of few bits are rounded: there is more to be mended
BYTES = 128 << 20  # that they may hold, all together

_Ranked: TypeAlias = tuple[int, int, Feeds]  # the hash, negative: a heap gives its least


@dataclass(frozen=True)
class Samples:
    """One run each: `fit` to learn from, `check` apart from them to judge on."""

    fit: tuple[Feeds, ...]
    check: tuple[Feeds, ...]

    @property
    def apart(self) -> bool:
        """Whether they are others that judge; of one run there are none."""
        return not any(x is y for x, y in zip(self.fit, self.check, strict=False))


def learned(recipe: Recipe) -> int:
    """How many samples the recipe's algorithms learn from."""
    rounding = any(find(recipe.algorithms, name) for name in ROUNDERS)
    return FEW if rounding and min(recipe.weight_bits(), default=8) < 8 else LEARNED


def drawn_for(recipe: Recipe, data: Dataset | None, batch_size: int) -> Samples | None:
    """The samples that the recipe's algorithms run, or None where none of them does."""
    if data is None or not needing_samples(recipe.algorithms):
        return None
    return drawn(data, batch_size, learned(recipe))


def drawn(data: Dataset, batch_size: int = 1, learned: int = LEARNED) -> Samples:
    """Reads all samples once and keeps those with the least hashes, `learned` and `JUDGED` of them;
    at most one of three is set apart.

    Where states are carried, only those that start a sequence tell something by themselves. Batches
    are made of what was chosen: those of the data depend on its order.

    Raises:
        DataError: a sample cannot be read or does not fit.
        UsageError: as `Dataset.blocks`.
    """
    data.blocks(batch_size)
    kept: list[_Ranked] = []
    held, seen, bound = 0, count(), -inf
    most = max(2, (learned + JUDGED) // batch_size) * batch_size
    for block in data.blocks(1):
        feeds = next(data.batches(1, [block]))
        rank = -min(data.hashes(feeds, 0))
        if rank < bound:  # else what is kept of large samples would depend on their order
            continue
        heapq.heappush(kept, (rank, next(seen), feeds))
        held += _bytes(feeds)
        while len(kept) > 2 * batch_size and (len(kept) > most or held > BYTES):
            bound, _, left_out = heapq.heappop(kept)
            held -= _bytes(left_out)
    chosen = [feeds for _, _, feeds in sorted(kept, key=lambda each: -each[0])]
    if bound > -inf:  # there were more: the last batch need not be short
        del chosen[len(chosen) // batch_size * batch_size :]
    runs = chosen if batch_size == 1 else list(_batches(chosen, batch_size))
    apart = max(1, min(len(runs) // 3, JUDGED // batch_size)) if len(runs) > 1 else 0
    return Samples(tuple(runs[apart:]), tuple(runs[:apart] or runs))


def _batches(every: list[Feeds], size: int) -> Iterator[Feeds]:
    """Those of one shape side by side, in order; what does not fill a batch comes last."""
    waiting: dict[tuple[tuple[int, ...], ...], list[Feeds]] = {}
    for feeds in every:
        alike = waiting.setdefault(tuple(x.shape for x in feeds.values()), [])
        alike.append(feeds)
        if len(alike) == size:
            yield _stacked(alike)
            alike.clear()
    yield from (_stacked(alike) for alike in waiting.values() if alike)


def _stacked(batch: list[Feeds]) -> Feeds:
    return {name: np.concatenate([feeds[name] for feeds in batch]) for name in batch[0]}


def _bytes(feeds: Feeds) -> int:
    return sum(array.nbytes for array in feeds.values())
