"""Histograms of many tensors while arrays of them go by: exact ends, and a choice of the values.

Counting every value would cost several times what computing it did. Of each sample's share of a
tensor, one value is counted from each of `most` equal stretches (all of them where it has no more
than twice as many):

    position k = floor((k + frac(jitter_k + shift)) * size / most)

The jitter, fixed for good, keeps positions off any beat with channels and rows; the shift, which
follows from what the sample holds, lets other samples tell of other positions. So neither the order
of the samples nor how they are batched, where the batch is the first axis, changes what is counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.half import narrowed
from qtool.numeric.histogram import Histogram, ends, merged

SHIFTS = 64
_TOGETHER = 1 << 19  # values of a tensor that all samples together should count
_LEAST, _MOST = 256, 4096  # in one sample
_HELD = 1 << 21  # values that wait to be counted, of all tensors: 8 MB
_HELD_OF_ONE = 1 << 17  # of one tensor: counting them takes several times their memory

Shifts: TypeAlias = tuple[int, ...]


def counted(samples: int) -> int:
    """How many values of a tensor are counted in each of so many samples: a power of two."""
    share = max(1, _TOGETHER // max(1, samples))
    return min(_MOST, max(_LEAST, 1 << (share.bit_length() - 1)))


@lru_cache(maxsize=2 * SHIFTS)
def stretches(shifts: Shifts, most: int) -> NDArray[np.float64]:
    """k + frac(jitter_k + 633 shift / 1024), one sample behind the other, (2 * samples * most,).

    The second half goes on from the first, for those who take all of up to twice as many. All are
    multiples of 2**-10, so that products with a size up to 2**27 are exact.
    """
    # 633 is the golden part of 1024, and odd: shifts lie far apart, and on no beat either.
    # Raw bits, since numpy promises these to stay the same, and not what it makes of them.
    jitter = np.random.PCG64(0).random_raw(most) >> np.uint64(54)
    moved = (jitter + np.array(shifts, np.uint64)[:, None] * np.uint64(633)) % 1024
    first = np.arange(len(shifts) * most) + moved.reshape(-1) / 1024
    return np.concatenate([first, np.arange(len(first), 2 * len(first))]).astype(np.float64)


LOTS = 2**31 - 1  # lots are drawn as n / LOTS, n from 1 on


@lru_cache(maxsize=2 * SHIFTS)
def seeds(shifts: Shifts, most: int) -> NDArray[np.int64]:
    """Where each slot of each sample begins to draw lots, from 1 to LOTS - 1, (samples * most,)."""
    drawn = [np.random.PCG64(1 + shift).random_raw(most) >> np.uint64(32) for shift in shifts]
    return (np.concatenate(drawn) % np.uint64(LOTS - 1)).astype(np.int64) + 1


@lru_cache(maxsize=2 * SHIFTS)
def positions(size: int, shifts: Shifts, most: int) -> NDArray[np.int64] | None:
    """Which of `size` values, of as many samples, are counted, ascending; None for all of them."""
    together = most * len(shifts)
    if size <= 2 * together:
        return None
    return (stretches(shifts, most)[:together] * (size / together)).astype(np.int64)


class Tally:
    """Sees arrays by name, and counts at most so many values of each in a sample."""

    def __init__(self, seen: dict[str, Histogram] | Iterable[str], most: int) -> None:
        self._seen = seen if isinstance(seen, dict) else {n: Histogram.empty() for n in seen}
        self._waiting: dict[str, _Waiting] = {name: _Waiting() for name in self._seen}
        self._most = most
        self._held = 0

    def see(self, name: str, x: NDArray[Any], shifts: Shifts) -> None:
        """An array that holds as many samples as there are shifts, each from 0 to SHIFTS.

        Raises:
            ValueError: a value is NaN or infinite.
        """
        if x.size == 0:
            return
        if x.dtype == np.float64:
            x = narrowed(x, "float32")
        flat = np.ascontiguousarray(x, np.float32).reshape(-1)
        low, high = ends(flat)
        chosen = positions(flat.size, shifts, self._most)
        self.add(name, low, high, flat.copy() if chosen is None else flat.take(chosen))

    def add(self, name: str, low: float, high: float, values: NDArray[np.float32]) -> None:
        """Values that were chosen elsewhere, of more between `low` and `high`."""
        waiting = self._waiting[name]
        waiting.low = min(waiting.low, low)
        waiting.high = max(waiting.high, high)
        waiting.values.append(values)
        waiting.size += values.size
        self._held += values.size
        if waiting.size > _HELD_OF_ONE:
            self._count(name)
        elif self._held > _HELD:
            self.histograms()

    def histograms(self) -> dict[str, Histogram]:
        """What has been seen so far."""
        for name, waiting in self._waiting.items():
            if waiting.size:
                self._count(name)
        return dict(self._seen)

    def _count(self, name: str) -> None:
        waiting = self._waiting[name]
        new = Histogram.of(np.concatenate(waiting.values), waiting.low, waiting.high)
        self._seen[name] = merged([self._seen[name], new])
        self._waiting[name] = _Waiting()
        self._held -= waiting.size


class _Waiting:
    """Values of one tensor that are not counted yet, and the ends of what they are from."""

    __slots__ = ("high", "low", "size", "values")

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf
        self.values: list[NDArray[np.float32]] = []
        self.size = 0
