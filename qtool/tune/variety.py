"""Other samples, made of those there are: the float model says what is right for them as for any,
so few samples teach more (Beyer et al., 2022: a patient and consistent teacher; boxes: Yun et al.,
2019).

    mixed    x s + o (1 - s): with another one, in a random proportion           any floats
    turned   left is right, of every second one                                  images
    moved    by up to an eighth of each side; the edge is repeated               images
    cut      another one's box in its place: a third, and a third is mixed       images

Images are arrays of two long axes and one of 1, 3 or 4 channels before or behind them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_CHANNELS, _LONG, _MOST = (1, 3, 4), 8, 1 / 8
_MIXED, _CUT = 0, 1  # of three kinds; the third is seen alone


def varied(
    feeds: Mapping[str, Array],
    others: Mapping[str, Array],
    plain: Array,
    rng: np.random.Generator,
) -> dict[str, Array]:
    """Samples (n, ...) by input: as they are where `plain` (n,) says so, else made of two, of their
    own row and of that of `others`."""
    sides = {name: _sides(x.shape[1:]) for name, x in feeds.items()}
    images = all(sides.values())
    found = {name: np.array(x) for name, x in feeds.items()}
    for row in np.flatnonzero(~plain):
        share, kind = rng.random(), rng.integers(3)
        views = [_view(rng) for _ in range(2)] if images else []
        corner = rng.random(2)
        for name, x in found.items():
            one, other = feeds[name][row], others[name][row]
            if images:
                one, other = (
                    _seen(each, sides[name], *view)
                    for each, view in zip((one, other), views, strict=True)
                )
            if kind == _MIXED or not images:
                x[row] = share * one + (1 - share) * other
                continue
            x[row] = one
            if kind == _CUT:
                box = _box(one.shape, sides[name], share, corner)
                x[row][box] = other[box]
    return found


def _sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of height and width; none if it is no image."""
    if len(shape) != 3:
        return ()
    for channels, sides in ((0, (1, 2)), (2, (0, 1))):
        if shape[channels] in _CHANNELS and min(shape[axis] for axis in sides) >= _LONG:
            return sides
    return ()


def _view(rng: np.random.Generator) -> tuple[bool, Array]:
    """Whether it is turned, and by what part of each side it is moved."""
    return rng.random() < 0.5, rng.uniform(-_MOST, _MOST, 2)


def _seen(x: Array, sides: tuple[int, ...], turned: bool, moved: Array) -> Array:
    x = np.flip(x, sides[1]) if turned else x
    for axis, part in zip(sides, moved, strict=True):
        size = x.shape[axis]
        places = np.clip(np.arange(size) + round(part * size), 0, size - 1)
        x = np.take(x, places, axis)
    return x


def _box(
    shape: tuple[int, ...], sides: tuple[int, ...], share: float, corner: Array
) -> tuple[slice, ...]:
    """Where another sample is seen, in all but a share of it."""
    box = [slice(None)] * len(shape)
    for axis, part in zip(sides, corner, strict=True):
        size = round(shape[axis] * (1 - share) ** 0.5)
        start = int(part * (shape[axis] - size + 1))
        box[axis] = slice(start, start + size)
    return tuple(box)
