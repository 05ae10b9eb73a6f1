"""What really went into the model: dtype, shapes and range of each input, and a digest of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

Sample = dict[str, NDArray[Any]]
_MODULUS = 1 << 128


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
        low, high = low + 0.0, high + 0.0  # -0 is 0: which of the two is least is left to chance
        return cls(
            "str" if strings else str(batch.dtype), batch.shape[1:], batch.shape[1:], low, high
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Fed:
        """Back from `dataclasses.asdict` and JSON."""
        sizes = {key: tuple(values[key]) for key in ("least", "greatest")}
        return cls(**{**values, **sizes})

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
        note(batch, fed)
        yield batch


def note(batch: Sample, fed: dict[str, Fed]) -> None:
    """Adds a batch to what has been fed so far."""
    add(fed, {name: Fed.of(array) for name, array in batch.items()})


def add(fed: dict[str, Fed], more: Mapping[str, Fed]) -> None:
    """Adds what was fed elsewhere to what has been fed so far."""
    for name, each in more.items():
        fed[name] = fed[name].merge(each) if name in fed else each


def digests(batch: Sample) -> list[int]:
    """A hash of each sample in a batch, 128 bits (XXH3). It is no protection against forgery."""
    return [_hash({name: array[i] for name, array in batch.items()}) for i in range(_size(batch))]


def chained(hashes: Iterable[int], before: int) -> list[int]:
    """Each hash with all that came before it."""
    found = []
    for each in hashes:
        before = xxhash.xxh3_128_intdigest(before.to_bytes(16) + each.to_bytes(16))
        found.append(before)
    return found


def _hash(sample: Sample) -> int:
    state = xxhash.xxh3_128()
    for name in sorted(sample):
        array = sample[name]
        if array.dtype.kind == "U":  # stored as wide as the longest of the batch
            state.update(json.dumps([name, array.tolist()]).encode())
            continue
        state.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        state.update(np.ascontiguousarray(array).data)
    return state.intdigest()


def _size(batch: Sample) -> int:
    return len(next(iter(batch.values())))


def fingerprint(hashes: Iterable[int]) -> str:
    """The digest of a set of samples: a sum, so that order and batches do not matter."""
    return f"{sum(hashes) % _MODULUS:032x}"


def add_fingerprints(parts: Iterable[str]) -> str:
    """The digest of all samples of which these are digests."""
    return fingerprint(int(part, 16) for part in parts)
