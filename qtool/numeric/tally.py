"""Histograms of many tensors while arrays of them go by: exact ends, and a choice of the values.

Counting every value would cost several times what computing it did. Of each sample's share of a
tensor, one value is counted from each of `MOST` equal stretches (all of them where it has no more):

    position k = floor((k + frac(jitter_k + shift)) * size / MOST)

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

from qtool.numeric.histogram import Histogram, ends, merged

MOST = 1024
SHIFTS = 64
_HELD = 1 << 22  # values that wait to be counted, of all tensors: 16 MB

Shifts: TypeAlias = tuple[int, ...]


@lru_cache(maxsize=2 * SHIFTS)
def stretches(shifts: Shifts) -> NDArray[np.float64]:
    """k + frac(jitter_k + 633 shift / 1024), one sample behind the other, (samples * MOST,).

    All are multiples of 2**-10, so that products with a size up to 2**27 are exact.
    """
    # 633 is the golden part of 1024, and odd: shifts lie far apart, and on no beat either.
    # Raw bits, since numpy promises these to stay the same, and not what it makes of them.
    jitter = np.random.PCG64(0).random_raw(MOST) >> np.uint64(54)
    moved = (jitter + np.array(shifts, np.uint64)[:, None] * np.uint64(633)) % 1024
    return (np.arange(len(shifts) * MOST) + moved.reshape(-1) / 1024).astype(np.float64)


@lru_cache(maxsize=2 * SHIFTS)
def positions(size: int, shifts: Shifts) -> NDArray[np.int64] | None:
    """Which of `size` values, of as many samples, are counted, ascending; None for all of them."""
    most = MOST * len(shifts)
    if size <= most:
        return None
    return (stretches(shifts) * (size / most)).astype(np.int64)


class Tally:
    """Sees arrays by name; gives histograms."""

    def __init__(self, seen: dict[str, Histogram] | Iterable[str]) -> None:
        self._seen = seen if isinstance(seen, dict) else {n: Histogram.empty() for n in seen}
        self._ends: dict[str, tuple[float, float]] = {}
        self._waiting: dict[str, list[NDArray[np.float32]]] = {name: [] for name in self._seen}
        self._held = 0

    def see(self, name: str, x: NDArray[Any], shifts: Shifts) -> None:
        """An array that holds as many samples as there are shifts, each from 0 to SHIFTS.

        Raises:
            ValueError: a value is NaN or infinite.
        """
        if x.size == 0:
            return
        flat = np.ascontiguousarray(x, np.float32).reshape(-1)
        low, high = ends(flat)
        chosen = positions(flat.size, shifts)
        self.add(name, low, high, flat.copy() if chosen is None else flat.take(chosen))

    def add(self, name: str, low: float, high: float, values: NDArray[np.float32]) -> None:
        """Values that were chosen elsewhere, of more between `low` and `high`."""
        least, most = self._ends.get(name, (low, high))
        self._ends[name] = min(least, low), max(most, high)
        self._waiting[name].append(values)
        self._held += values.size
        if self._held > _HELD:
            self._count()

    def histograms(self) -> dict[str, Histogram]:
        """What has been seen so far."""
        self._count()
        return dict(self._seen)

    def _count(self) -> None:
        for name, (low, high) in self._ends.items():
            new = Histogram.of(np.concatenate(self._waiting[name]), low, high)
            self._seen[name] = merged([self._seen[name], new])
            self._waiting[name].clear()
        self._ends.clear()
        self._held = 0
