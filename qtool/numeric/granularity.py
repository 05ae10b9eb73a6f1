"""How much of a tensor shares one scale. Every kind answers one question, `block(shape)`.

With the block known, there is one path for all of them: cut the array into blocks, reduce inside
a block, spread one number over a block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class PerTensor:
    """One scale for all."""

    def block(self, shape: Shape) -> Shape:
        """(d0, d1, ...) -> (d0, d1, ...)."""
        return shape

    def __str__(self) -> str:
        return "per tensor"


@dataclass(frozen=True)
class PerChannel:
    """One scale for each index along `axis`."""

    axis: int

    def block(self, shape: Shape) -> Shape:
        """(d0, d1, ...) -> the same with 1 at `axis`."""
        return tuple(1 if i == self.axis else d for i, d in enumerate(shape))

    def __str__(self) -> str:
        return f"per channel (axis {self.axis})"


@dataclass(frozen=True)
class PerBlock:
    """One scale for each run of `size` values along `axis`; the last run may be shorter."""

    axis: int
    size: int

    def block(self, shape: Shape) -> Shape:
        """(d0, d1, ...) -> 1 everywhere but `size` at `axis`."""
        return tuple(min(self.size, d) if i == self.axis else 1 for i, d in enumerate(shape))

    def __str__(self) -> str:
        return f"per block of {self.size} (axis {self.axis})"


Granularity: TypeAlias = PerTensor | PerChannel | PerBlock

PER_TENSOR = PerTensor()


def grid(shape: Shape, block: Shape) -> Shape:
    """How many blocks lie along each axis, the last one perhaps cut short."""
    return tuple(-(-d // b) if b else 0 for d, b in zip(shape, block, strict=True))


def reduce(
    x: NDArray[np.floating[Any]], granularity: Granularity, f: Callable[..., Any]
) -> NDArray[Any]:
    """Apply the reduction `f(array, axis)` inside each block: shape of `x` -> shape of the grid."""
    block = granularity.block(x.shape)
    for axis, (length, size) in enumerate(zip(x.shape, block, strict=True)):
        if size and length % size:  # the short last block is reduced by itself
            parts = np.split(x, [length - length % size], axis)
            return np.concatenate([reduce(part, granularity, f) for part in parts], axis)
    cells = grid(x.shape, block)
    paired = x.reshape([size for pair in zip(cells, block, strict=True) for size in pair])
    return np.asarray(f(paired, axis=tuple(range(1, paired.ndim, 2))))


def spread(values: NDArray[Any], granularity: Granularity, shape: Shape) -> NDArray[Any]:
    """The inverse view: one value per block -> an array that broadcasts against `shape`."""
    for axis, (size, cells) in enumerate(zip(granularity.block(shape), values.shape, strict=True)):
        if cells > 1 and size > 1:
            keep = [slice(None)] * len(shape)
            keep[axis] = slice(0, shape[axis])
            values = np.repeat(values, size, axis=axis)[tuple(keep)]
    return values
