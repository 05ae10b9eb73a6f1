"""What really went into the model: dtype, shapes and range of each input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Sample = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Fed:
    """One input's samples so far: dtype, least and greatest size of each axis, and range."""

    dtype: str
    least: tuple[int, ...]
    greatest: tuple[int, ...]
    low: float
    high: float

    @classmethod
    def of(cls, batch: NDArray[Any]) -> Fed:
        """One batch, its first axis being the samples."""
        strings = batch.dtype.kind == "U"
        known = batch.size and not strings
        low, high = (float(batch.min()), float(batch.max())) if known else (np.inf, -np.inf)
        return cls(
            "str" if strings else str(batch.dtype), batch.shape[1:], batch.shape[1:], low, high
        )

    def merge(self, other: Fed) -> Fed:
        """Both together."""
        least = tuple(map(min, self.least, other.least))
        greatest = tuple(map(max, self.greatest, other.greatest))
        return Fed(
            self.dtype, least, greatest, min(self.low, other.low), max(self.high, other.high)
        )

    def __str__(self) -> str:
        pairs = zip(self.least, self.greatest, strict=True)
        sizes = [str(a) if a == b else f"{a}…{b}" for a, b in pairs]
        shape = f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"
        if self.dtype == "str":
            return f"str {shape}"
        if self.low > self.high:
            return f"{self.dtype} {shape}, no values"
        return f"{self.dtype} {shape}, range {self.low:.4g} … {self.high:.4g}"


def watch(batches: Iterable[Sample], fed: dict[str, Fed]) -> Iterator[Sample]:
    """Passes batches on as they are, and notes in `fed` what went by."""
    for batch in batches:
        for name, array in batch.items():
            now = Fed.of(array)
            fed[name] = fed[name].merge(now) if name in fed else now
        yield batch
