"""Codebooks: a code is a place in a list of levels, which need not be evenly spaced.

    q = place of the level nearest to x / scale        x' = levels[q] * scale

One book serves a whole tensor, or each run of `size` channels along `axis` has one of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.types import Mapping


@dataclass(frozen=True, eq=False)
class Codebook:
    """`levels` (groups, n), float32 that float16 holds, ascending, in units of the scale; and who
    made them."""

    levels: NDArray[np.float32]
    axis: int | None = None
    size: int = 0
    maker: Mapping = "kmeans"

    @cached_property
    def borders(self) -> NDArray[np.float32]:
        """Halfway between neighbours, (groups, n - 1); what lies on one belongs to the lower."""
        return (self.levels[:, 1:] + self.levels[:, :-1]) / np.float32(2)

    def parts(self, shape: tuple[int, ...]) -> Iterator[tuple[int, tuple[slice, ...]]]:
        """(group, where its channels are in a tensor of that shape)."""
        for group in range(len(self.levels)):
            yield group, within(self.axis, self.size, group, len(shape))

    def nearest(self, values: NDArray[Any]) -> NDArray[np.int32]:
        """Codes of values in units of the scale; shape kept, dtype int32."""
        codes = np.empty(values.shape, np.int32)
        for group, where in self.parts(values.shape):
            codes[where] = np.searchsorted(self.borders[group], values[where], "left")
        return codes

    def values(self, codes: NDArray[Any]) -> NDArray[np.float32]:
        """The level of each code; shape kept, dtype float32."""
        found = np.empty(codes.shape, np.float32)
        for group, where in self.parts(codes.shape):
            found[where] = self.levels[group].take(codes[where])
        return found

    def same(self, other: Codebook | None) -> bool:
        """Whether the other one gives the same values for the same codes."""
        if other is None or (self.axis, self.size) != (other.axis, other.size):
            return False
        return np.array_equal(self.levels, other.levels)

    def groups_along(self, length: int) -> NDArray[np.int64]:
        """The group of each index of the axis, (length,)."""
        return np.arange(length) // self.size if self.size else np.zeros(length, np.int64)


def within(axis: int | None, size: int, group: int, rank: int) -> tuple[slice, ...]:
    """Where the channels of a group are; everywhere where there is no axis."""
    run = slice(group * size, (group + 1) * size)
    return tuple(run if i == axis else slice(None) for i in range(rank))
