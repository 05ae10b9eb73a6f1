"""Arrays taken apart into pieces that fit a cache, so that many steps read them from there.

A piece holds whole blocks, and what is made of it goes to its own place: the result is the same
whatever the number of threads. numpy lets other threads run while it works.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.granularity import Granularity, Shape, grid

_VALUES = 1 << 18  # of a piece: a megabyte of float32
_THREADS = 8
Result = TypeVar("Result")


@dataclass(frozen=True)
class Piece:
    """Where a piece lies in the array, and where its blocks lie in the grid of blocks."""

    at: tuple[slice, ...]
    cells: tuple[slice, ...]


def pieces(shape: Shape, granularity: Granularity, values: int = _VALUES) -> list[Piece]:
    """An array of that shape in pieces of about so many values and of whole blocks.

    It is cut along the first axis with enough blocks, or the one with most of them; a short last
    block of an axis is in pieces of its own.
    """
    block = granularity.block(shape)
    cells = grid(shape, block)
    wanted = max(1, -(-int(np.prod(shape)) // values))
    enough = [axis for axis, count in enumerate(cells) if count >= wanted]
    cut = enough[0] if enough else int(np.argmax(cells)) if cells else 0
    parts: list[list[tuple[slice, slice]]] = []
    for axis, (length, size, count) in enumerate(zip(shape, block, cells, strict=True)):
        whole = length // size if size else 0
        step = max(1, whole // wanted) if axis == cut else max(1, whole)
        spans = [(at, min(at + step, whole)) for at in range(0, whole, step)]
        spans += [(whole, count)] if count > whole else []
        parts.append([(slice(a * size, min(b * size, length)), slice(a, b)) for a, b in spans])
    return (
        [Piece(*zip(*each, strict=True)) for each in _product(parts)] if parts else [Piece((), ())]
    )


def columns(x: NDArray[Any], granularity: Granularity) -> NDArray[np.float32]:
    """A piece as float32 of shape (values of a block, blocks); its blocks are all whole."""
    block = granularity.block(x.shape)
    cells = grid(x.shape, block)
    paired = x.reshape([size for pair in zip(cells, block, strict=True) for size in pair])
    inside = np.transpose(paired, (*range(1, paired.ndim, 2), *range(0, paired.ndim, 2)))
    count = int(np.prod(cells))
    return np.ascontiguousarray(inside, np.float32).reshape(-1, count)


def in_turn(work: Callable[[Piece], Result], cut: list[Piece]) -> Iterator[Result]:
    """What the work gives for each piece, in their order; several at a time."""
    threads = min(_THREADS, len(cut), len(os.sched_getaffinity(0)))
    if threads < 2:
        yield from map(work, cut)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, cut)


def _product(parts: list[list[tuple[slice, slice]]]) -> Iterable[list[tuple[slice, slice]]]:
    if not parts:
        return [[]]
    return [[first, *rest] for first in parts[0] for rest in _product(parts[1:])]
