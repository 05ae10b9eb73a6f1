"""The scales of least squared error for evenly spaced codes: what clipping a few values gains by a
finer step for all others.

Of a block x with codes c = clip(round(x / s)), zero point taken off, the best scale is that of
least squares, and what it leaves over is known without computing it:

    s* = Σ x c / Σ c²          Σ (x - s* c)²  =  Σ x²  -  (Σ x c)² / Σ c²

So each scale s that is tried stands for s*, and the one of the largest gain (Σ x c)² / Σ c² wins.
They lie between the scale that clips nothing and 0.8 of the best one for so many levels of a normal
distribution, about 3.3 σ √(ln N) / N (Hui and Neuhoff 2001, fitted to the table of Max 1960): in
equal ratios, whatever outliers do to the former.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.affine import Floats, QParams, balanced, from_range, lowest
from qtool.numeric.granularity import Granularity, grid
from qtool.numeric.pieces import Piece, columns, in_turn, pieces
from qtool.numeric.types import IntType

Sums: TypeAlias = NDArray[np.float64]

_TRIED = 6
_LEAST = 0.8 * 3.3
_FINEST = 1e-3  # of the scale that clips nothing


def covering(
    weight: Floats, kind: IntType, granularity: Granularity, *, symmetric: bool
) -> QParams:
    """Parameters for a weight that clip nothing."""
    return _found(weight, kind, granularity, symmetric, lambda values, params: params.scale)


def clipped(
    weight: Floats,
    kind: IntType,
    granularity: Granularity,
    *,
    symmetric: bool,
    negative: bool = False,
) -> QParams:
    """Parameters for a weight by the search above, block by block; zero points are those of the
    full range, and no scale is worse than that one's.

    Of an even number of symmetric codes one has no twin, -8 of -8 .. 7. With `negative` scales it
    is used, on the side of the largest value: where that is above 0, the scale is below. With
    positive ones it is left out, since to clip one side only would move the mean of all weights.
    """
    both = negative and symmetric and kind.signed and balanced(kind) != kind
    if both and not kind.half:
        raise ValueError(f"{kind.codes} codes, symmetric around 0, hold nothing but 0")
    return _found(weight, kind, granularity, symmetric, _mirrored if both else _best)


def _found(
    weight: Floats,
    kind: IntType,
    granularity: Granularity,
    symmetric: bool,
    scales: Callable[[Floats, QParams], Floats],
) -> QParams:
    """Scales for a weight in pieces, from columns of blocks and parameters that clip nothing."""
    shape = grid(weight.shape, granularity.block(weight.shape))
    scale, zero = np.ones(shape, np.float32), np.zeros(shape, np.int32)
    used = kind if scales is _mirrored or not symmetric else balanced(kind)

    def work(piece: Piece) -> None:
        values, at = columns(weight[piece.at], granularity), scale[piece.cells].shape
        params = from_range(values.min(0), values.max(0), kind, symmetric=symmetric)
        zero[piece.cells] = params.zero_point.reshape(at)
        scale[piece.cells] = scales(values, replace(params, type=used)).reshape(at)

    for _ in in_turn(work, pieces(weight.shape, granularity)):
        pass
    return QParams(used, scale, zero, granularity)


def _mirrored(values: Floats, params: QParams) -> Floats:
    """Scales that put the code without a twin on the side of the largest value."""
    sign = np.where(values.max(0) > -values.min(0), np.float32(-1), np.float32(1))
    return _best(values, replace(params, scale=params.scale * sign))


def _best(values: Floats, start: QParams) -> Floats:
    """Scales for columns of (values of a block, blocks), from those that clip nothing."""
    kind, scale, zero = start.type, start.scale, start.zero_point.astype(np.float32)
    zero = zero[:1] if start.symmetric else zero
    low, high = lowest(start) - zero, kind.maximum - zero
    share, c = np.empty_like(values), np.empty_like(values)

    def tried(scale: Floats) -> tuple[Sums, Sums]:
        """The gain, and the best scale for these codes."""
        np.multiply(values, 1 / scale, out=share)
        np.rint(share, out=c)
        np.clip(c, low, high, out=c)
        both = np.einsum("ij,ij->j", share, c).astype(np.float64)
        squares = np.einsum("ij,ij->j", c, c).astype(np.float64)
        found = scale * both / np.maximum(squares, 1)
        # Products in this order: the squares of the largest weights are beyond float64's root.
        return found * both * scale, np.where(both > 0, found, scale)

    gain, best = tried(scale)
    deviation = np.sqrt(np.einsum("ij,ij->j", share, share) / np.float32(len(values)))
    least = deviation * np.float32(_LEAST * np.sqrt(np.log(kind.codes)) / kind.codes)
    ratio = np.clip(least, np.float32(_FINEST), np.float32(0.8)) ** np.float32(1 / (_TRIED - 1))
    for _ in range(_TRIED - 1):
        scale = _normal(scale * ratio)
        more, found = tried(scale)
        best, gain = np.where(more > gain, found, best), np.maximum(more, gain)
    more, found = tried(_normal(best))
    return _normal(np.where(more > gain, found, best))


def _normal(scale: NDArray[Any]) -> Floats:
    """float32 that a kernel may divide by."""
    tiny, most = np.finfo(np.float32).tiny, np.finfo(np.float32).max
    return np.asarray(np.copysign(np.clip(np.abs(scale), tiny, most), scale), np.float32)
