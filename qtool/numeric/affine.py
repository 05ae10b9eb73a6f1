"""Affine quantization: a real number x is stored as the code q.

    q = clip(round(x / scale) + zero_point, lowest, highest)        x' = (q - zero_point) * scale

Rounding is half to even and the arithmetic float32, as ONNX QuantizeLinear specifies. With a
codebook the levels that codes stand for are not evenly spaced: see `qtool.numeric.codebook`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from qtool.numeric.codebook import Codebook
from qtool.numeric.granularity import PER_TENSOR, Granularity, PerChannel, spread
from qtool.numeric.pieces import Piece, in_turn, pieces
from qtool.numeric.types import INT32, IntType

Floats = NDArray[np.float32]
Codes = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class QParams:
    """What was decided for one tensor.

    `scale` (float32) and `zero_point` (int32) have the shape of the grid of blocks, which has the
    tensor's rank; a per-tensor scale has shape (). With a `book` the zero point is 0 and the type
    unsigned.
    """

    type: IntType
    scale: Floats
    zero_point: Codes
    granularity: Granularity = PER_TENSOR
    book: Codebook | None = None

    @property
    def symmetric(self) -> bool:
        """Whether 0 is stored as code 0."""
        return not self.zero_point.any()


def from_range(
    low: NDArray[Any],
    high: NDArray[Any],
    kind: IntType,
    *,
    symmetric: bool,
    granularity: Granularity = PER_TENSOR,
) -> QParams:
    """Parameters that cover [low, high] and hold 0 exactly.

    symmetric:   scale = max(|low|, |high|) / highest, zero point 0, codes -highest .. highest
                 (unsigned: the zero point stands in the middle); of 2 codes none would be left.
                 Of fewer than 255 signed ones the type has no other, so that nobody uses them
    asymmetric:  scale = (high - low) / (codes - 1), zero point = round(lowest - low / scale)

    A range of one point {0} gets scale 1: every scale must be positive and finite.
    """
    low = np.minimum(np.asarray(low, np.float64), 0.0)
    high = np.maximum(np.asarray(high, np.float64), 0.0)
    if symmetric:
        if not kind.half:
            raise ValueError(f"{kind.codes} codes, symmetric around 0, hold nothing but 0")
        scale = np.maximum(-low, high) / kind.half
        zero = np.full(scale.shape, 0 if kind.signed else kind.maximum - kind.half, np.float64)
        kind = balanced(kind)
        scale = _positive(scale)
    else:
        scale = _positive((high - low) / (kind.maximum - kind.minimum))
        zero = np.clip(np.rint(kind.minimum - low / scale), kind.minimum, kind.maximum)
    return QParams(kind, scale, zero.astype(np.int32), granularity)


def within(params: QParams, low: float, high: float) -> QParams:
    """Parameters whose codes all lie in [low, high], per tensor.

    The zero point may move by one, and the scale shrinks by the share of a step or two that the
    codes reached over. Unchanged where they lie within already, or would lose more.

    (lowest - z) s >= low   and   (highest - z) s <= high
    """
    kind, scale, zero = params.type, float(params.scale), int(params.zero_point)
    codes = kind.maximum - kind.minimum

    def most(z: int) -> float:
        below, above = z - kind.minimum, kind.maximum - z
        return min(-low / below if below else np.inf, high / above if above else np.inf)

    if not low <= 0 <= high or params.symmetric or most(zero) >= scale:
        return params
    near = (z for z in (zero - 1, zero, zero + 1) if kind.minimum <= z <= kind.maximum)
    best = max(near, key=most)
    if most(best) < scale * (1 - 2 / codes):
        return params
    narrowed = np.float32(min(scale, most(best)))
    if narrowed > most(best):  # rounded up, the codes would leave the bounds again
        narrowed = np.nextafter(narrowed, np.float32(0))
    return QParams(kind, np.asarray(narrowed), np.asarray(np.int32(best)), params.granularity)


def quantize(x: NDArray[Any], params: QParams, dtype: DTypeLike = np.int32) -> NDArray[Any]:
    """x -> clip(round(x / scale) + zero_point); shape kept, int32 or another type for the codes."""
    if params.book is not None:
        with np.errstate(over="ignore"):
            nearest = params.book.nearest(x.astype(np.float32) / _over(params, x.shape)[0])
        return nearest.astype(dtype, copy=False)
    found: NDArray[Any] = np.empty(x.shape, dtype)
    anywhere = params.scale.ndim == 0
    granularity = PerChannel(0) if anywhere else params.granularity  # of the pieces
    whole, codes = (each.reshape(-1) if anywhere else each for each in (x, found))

    def work(piece: Piece) -> None:
        part, cells = whole[piece.at], params
        if params.scale.ndim:
            scale, zero = params.scale[piece.cells], params.zero_point[piece.cells]
            cells = QParams(params.type, scale, zero, granularity)
        codes[piece.at] = _codes(part, cells, lowest(params))

    for _ in in_turn(work, pieces(whole.shape, granularity)):
        pass
    return found


def _codes(x: NDArray[Any], params: QParams, least: int) -> NDArray[Any]:
    """Codes as floats, of a piece."""
    scale, zero = _over(params, x.shape)
    with np.errstate(over="ignore"):  # it is clipped
        quotient = np.asarray(x.astype(np.float32, copy=False) / scale)
    # float32 holds every code of 16 bits and zero point, float64 every one of 32
    wide = np.float32 if params.type.bits <= 16 else np.float64
    codes = np.rint(quotient, out=quotient).astype(wide, copy=False)
    if not zero.any():
        np.clip(codes, wide(least), wide(params.type.maximum), out=codes)
    else:
        offset = zero.astype(wide)
        np.clip(codes, least - offset, params.type.maximum - offset, out=codes)
        np.add(codes, offset, out=codes)
    return codes


def dequantize(codes: NDArray[Any], params: QParams) -> Floats:
    """q -> (q - zero_point) * scale; shape kept, dtype float32."""
    scale, zero = _over(params, codes.shape)
    if params.book is not None:
        return (params.book.values(codes) * scale).astype(np.float32)
    return ((codes.astype(np.int32) - zero).astype(np.float32) * scale).astype(np.float32)


def lowest(params: QParams) -> int:
    """The lowest code in use: symmetric signed types of 255 codes and more leave out the one
    without a positive twin, if there is one, as there is among an even number of codes."""
    kind = params.type
    many = kind.signed and params.symmetric and kind.codes >= _MANY
    return -kind.half if many else kind.minimum


def balanced(kind: IntType) -> IntType:
    """The signed type of fewer than 255 codes without the one that has no positive twin."""
    if not kind.signed or kind.codes >= _MANY:
        return kind
    return IntType(kind.bits, True, 2 * kind.half + 1)


_MANY = 255  # codes, of which one less is none that is missed


def power_of_two(scale: Floats, *, up: bool) -> Floats:
    """The next power of two, at or above the scale, or at or below; exact, normal and finite."""
    share, exponent = np.frexp(scale.astype(np.float32))  # scale = share 2^exponent, 1/2 <= share
    found = np.where((share > 0.5) & up, exponent, exponent - 1)
    return np.asarray(np.ldexp(1.0, np.clip(found, -126, 127)), np.float32)


def bias_params(input_scale: Floats, weight: QParams) -> QParams:
    """The parameters that integer kernels want for a bias: int32, scale = input x weight."""
    scale = (input_scale * weight.scale.reshape(-1)).astype(np.float32)
    granularity: Granularity = PER_TENSOR if scale.size == 1 else PerChannel(0)
    scale = scale.reshape(()) if scale.size == 1 else scale
    return QParams(INT32, scale, np.zeros(scale.shape, np.int32), granularity)


def _over(params: QParams, shape: tuple[int, ...]) -> tuple[Floats, Codes]:
    if params.scale.ndim == 0:
        return params.scale, params.zero_point
    spread_scale = spread(params.scale, params.granularity, shape)
    return spread_scale, spread(params.zero_point, params.granularity, shape)


def _positive(scale: NDArray[np.float64]) -> Floats:
    # A subnormal scale would be flushed to zero by some kernels and divide by it.
    # Of two or three codes it may be greater than the greatest float.
    tiny, most = np.finfo(np.float32).tiny, np.finfo(np.float32).max
    scale = np.minimum(scale, most)
    return np.where(scale < tiny, np.where(scale > 0, tiny, 1.0), scale).astype(np.float32)
