"""HQQ: scales and zero points that suit most of the weights, and leave the few large ones to err.

    minimise |W - W'|_p^p,  p < 1,  W' = s (q - z),  q = clip(round(W / s + z))

by half-quadratic splitting: the error has a copy E of its own, and the two are drawn together ever
more strongly, beta growing. In units of a step, so that beta means the same for all weights:

    E <- shrink(W / s - (q - z))              shrink(x) = sign(x) max(|x| - |x|^(p-1) / beta, 0)
    z <- mean(q - (W / s - E))                the best for these codes and this E
    s <- s <W / s - E, q - z> / <q - z, q - z>        the same; ours, the paper keeps the scale

The zero point of ONNX is a code, so it is rounded, and the scale fitted to it once more; symmetric
ones have none to move. Of all turns the one of least error counts, for each block by itself.

Source: Badri and Shaji 2023, Half-Quadratic Quantization of Large Machine Learning Models; p, beta
and its growth are those of their code.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.affine import Floats, QParams, lowest
from qtool.numeric.pieces import Piece, columns, in_turn, pieces

POWER = 0.7
_BETA, _GROWTH, _TURNS = 10.0, 1.01, 20


def hqq(weight: Floats, params: QParams) -> QParams:
    """Better parameters of the same type and granularity; no block's |W - W'|_p^p is greater."""
    scale, zero = params.scale.copy(), params.zero_point.copy()
    if params.scale.ndim == 0:
        scale, zero = scale.reshape((1,) * weight.ndim), zero.reshape((1,) * weight.ndim)

    def work(piece: Piece) -> None:
        values, at = columns(weight[piece.at], params.granularity), scale[piece.cells].shape
        start = scale[piece.cells].reshape(1, -1), zero[piece.cells].reshape(1, -1)
        found = _best(values, params, *start)
        scale[piece.cells], zero[piece.cells] = (each.reshape(at) for each in found)

    for _ in in_turn(work, pieces(weight.shape, params.granularity)):
        pass
    shape = params.scale.shape
    return replace(params, scale=scale.reshape(shape), zero_point=zero.reshape(shape))


def _best(
    values: Floats, params: QParams, scale: Floats, zero: NDArray[Any]
) -> tuple[Floats, NDArray[Any]]:
    """Scales and zero points, (1, blocks), for (values of a block, blocks)."""
    low, high = lowest(params), params.type.maximum
    best, least = (scale, zero), cost(values, scale, zero, low, high)
    real, beta = zero.astype(np.float32), _BETA
    for _ in range(_TURNS):
        codes, at = split(values / scale, real, beta, low, high)
        if not params.symmetric:
            real = np.asarray((codes - at).mean(0, np.float64, keepdims=True), np.float32)
        whole = np.clip(np.rint(real), params.type.minimum, high)
        rounded = fitted(codes - whole, at, scale)
        scale = fitted(codes - real, at, scale)
        error = cost(values, rounded, whole, low, high)
        better = error < least
        found = rounded, whole.astype(np.int32)
        best = np.where(better, found[0], best[0]), np.where(better, found[1], best[1])
        least = np.where(better, error, least)
        beta *= _GROWTH
    return best


def split(
    at: Floats, zero: NDArray[Any], beta: float, low: int, high: int
) -> tuple[Floats, Floats]:
    """The codes of W / s, and what they are to stand for, W / s - E."""
    codes = np.clip(np.rint(at + zero), low, high)
    return codes, at - shrunk(at - (codes - zero), beta)


def shrunk(error: Floats, beta: float) -> Floats:
    """The generalized soft threshold: nearly the least of |E|^p + beta / 2 (E - error)^2."""
    size = np.abs(error)
    with np.errstate(divide="ignore"):
        less = size - size ** np.float32(POWER - 1) / np.float32(beta)
    return np.asarray(np.copysign(np.maximum(less, 0), error), np.float32)


def fitted(steps: Floats, at: Floats, scale: Floats) -> Floats:
    """s <at, steps> / <steps, steps>, of least squares; s itself where that is no scale."""
    above, below = ((steps * each).sum(0, np.float64, keepdims=True) for each in (at, steps))
    share = np.divide(above, below, out=np.ones_like(above), where=below > 0)
    sound = (share > 0) & (np.abs(scale) * share >= np.finfo(np.float32).tiny)
    return np.asarray(scale * np.where(sound, share, 1), np.float32)


def cost(
    values: Floats, scale: Floats, zero: NDArray[Any], low: int, high: int
) -> NDArray[np.float64]:
    """|W - W'|_p^p of each block, (1, blocks)."""
    codes = np.clip(np.rint(values / scale) + zero, low, high)
    lost = np.abs(values - ((codes - zero) * scale).astype(np.float32))
    total: NDArray[np.float64] = (lost ** np.float32(POWER)).sum(0, np.float64, keepdims=True)
    return total
