"""What the sums of all runs come to, for one place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qtool.compare.layers.sums import LARGEST, Sums


@dataclass
class Totals:
    """Counts, and sums of squares in float64: of the reference, and of three differences."""

    count: int = 0
    signal: float = 0.0
    total: float = 0.0
    own: float = 0.0
    inherited: float = 0.0
    clipped: float = 0.0
    is_clipped: bool = False

    def add(self, sums: Sums, results: Mapping[str, Any]) -> None:
        """Take in one run."""
        self.count += int(results[sums.count])
        self.signal += float(results[sums.signal])
        self.total += float(results[sums.total])
        self.own += float(results[sums.own]) if sums.own else 0.0
        self.inherited += float(results[sums.inherited])
        self.clipped += float(results[sums.clipped]) if sums.clipped else 0.0
        self.is_clipped = bool(sums.clipped)

    def noise(self, which: str) -> float:
        """One of the differences over the signal; infinite where something is NaN."""
        difference: float = getattr(self, which)
        if difference == 0:
            return 0.0
        noise = difference / self.signal if self.signal else math.inf
        return noise if math.isfinite(noise) else math.inf

    def sqnr_db(self, which: str) -> float:
        """Signal over one of the differences; inf for none, -inf for NaN or no signal."""
        noise = self.noise(which)
        if 0 < noise < math.inf:
            return -10 * math.log10(noise)
        return math.inf if noise == 0 else -math.inf


def overflows(sums: Sums, results: Mapping[str, Any]) -> bool:
    """Whether what a run gave cannot be added up: NaN, infinite, or too large to be squared."""
    numbers = [float(results[name]) for name in (sums.signal, sums.total, sums.inherited)]
    return not all(math.isfinite(n) for n in numbers) or numbers[0] > LARGEST**2
