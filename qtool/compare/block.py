"""Runs put together until they are worth looking at: 100 samples cost a look as much as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Values = Mapping[str, Any]

SAMPLES = 256
BYTES = 4 << 20
"""A block is full with so many samples, or so many bytes."""


class Joined(Mapping[str, Any]):
    """Arrays of several runs by name, joined along the first axis when they are asked for."""

    def __init__(self, parts: list[Values]) -> None:
        self._parts = parts
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if len(self._parts) == 1:
            return self._parts[0][name]
        if name not in self._made:
            self._made[name] = np.concatenate([part[name] for part in self._parts])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts[0])

    def __len__(self) -> int:
        return len(self._parts[0])


@dataclass(frozen=True)
class Part:
    """Samples to look at: what was fed, what both models gave, in how many runs."""

    feeds: Values
    reference: Values
    candidate: Values
    samples: int
    runs: int


class Block:
    """Takes runs of both models and gives them back in blocks: all arrays with an axis of samples,
    of the same shapes in all runs. Anything else comes alone.

    `inputs`: what was fed is wanted too, and so must be joined. `alone`: nothing is joined.
    """

    def __init__(self, inputs: bool, *, alone: bool = False) -> None:
        self._inputs = inputs
        self._alone = alone
        self._runs: tuple[list[Values], list[Values], list[Values]] = ([], [], [])
        self._like: object = None
        self._samples = self._bytes = 0

    def add(
        self, feeds: Values, reference: Values, candidate: Values, count: int
    ) -> Iterator[Part]:
        """What is full now."""
        run = (feeds, reference, candidate)
        form = None if self._alone else _form(run if self._inputs else run[1:], count)
        if form is None or form != self._like:
            yield from self.rest()
        self._like = form
        for parts, part in zip(self._runs, run, strict=True):
            parts.append(part)
        self._samples += count
        self._bytes += sum(bytes_of(values) for values in run)
        if form is None or self._samples >= SAMPLES or self._bytes >= BYTES:
            yield from self.rest()

    def rest(self) -> Iterator[Part]:
        """What was taken and not given back yet."""
        if self._samples:
            feeds, reference, candidate = map(Joined, self._runs)
            part = Part(feeds, reference, candidate, self._samples, len(self._runs[0]))
            self._runs, self._like = ([], [], []), None
            self._samples = self._bytes = 0
            yield part


def _form(run: tuple[Values, ...], count: int) -> object:
    """Equal for runs that can be joined; None for one that cannot."""
    found = []
    for values in run:
        for array in values.values():
            if not isinstance(array, np.ndarray) or array.shape[:1] != (count,):
                return None
            found.append((array.dtype, array.shape[1:]))
    return found


def bytes_of(values: Values) -> int:
    """Of all arrays."""
    return sum(array.nbytes for array in values.values() if isinstance(array, np.ndarray))
