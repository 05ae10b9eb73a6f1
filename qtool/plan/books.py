"""Codebooks for weights: levels for given scales, scales for given levels, in turns.

    least sum of h (W - levels[q] s)^2      h what an error of that weight costs, 1 where not known
    levels  of the values W / s, each with the mass h s^2
    s       sum of h W levels[q] / sum of h levels[q]^2     over what shares it (least squares)

It starts from the scales of as many evenly spaced levels, which are among those that k-means starts
from: so its codes are no worse than those. The best of all turns is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.affine import Codes, Floats, QParams, dequantize, quantize
from qtool.numeric.codebook import Codebook, within
from qtool.numeric.granularity import PerBlock, PerChannel, reduce, spread
from qtool.numeric.levels import MAKERS, Points
from qtool.numeric.types import IntType, Mapping

_TURNS = 3
# of a scale, that are tried where levels do not follow it; of two levels one has no other sign
_SHARES = tuple(sign * share for share in (0.6, 0.7, 0.85, 1.0, 1.2) for sign in (1, -1))
_EXACT, _BINS = 1 << 17, 1 << 16  # values that are sorted; of more, bins are
_CHUNK = 1 << 22  # values that are looked at together
_HALF = np.finfo(np.float16)

Errors = NDArray[np.float64]
Importance = NDArray[Any] | None
"""What an error costs, broadcast against the weight."""


def booked(
    weight: Floats,
    start: QParams,
    maker: Mapping,
    kind: IntType,
    *,
    group: int | None = None,
    free: bool = True,
    importance: Importance = None,
) -> QParams:
    """A codebook for a weight and scales that go with it, from those of evenly spaced levels.

    Args:
        start: symmetric parameters of about as many codes as `kind` has.
        group: channels that have a book of their own; None for one book.
        free: whether scales may be any number, and not only those of `start` and twice or half.
    """
    axis = None if group is None else _channels(start, weight.ndim)
    zero = np.zeros(start.scale.shape, np.int32)
    scale = start.scale.astype(np.float64) * (1.0 if maker == "kmeans" else _whole(start))
    now = QParams(kind, in_halves(scale, free), zero, start.granularity)
    found = list[tuple[float, QParams]]()
    for turn in range(_TURNS):
        book = _book(weight, now, maker, axis, group or 0, importance)
        now = replace(now, book=book)
        if maker == "log2" and turn == 0:
            now = _shared(weight, now, (0.5, 1.0, 2.0) if not free else _SHARES, importance)
        codes = quantize(weight, now)
        errors = _lost(weight, now, codes, importance)
        found.append((errors.sum(), now))
        if not free:
            break
        now, errors = refitted(weight, now, codes, errors, importance)
        found.append((errors.sum(), now))
    return min(found, key=lambda each: each[0])[1]


def weighed(weight: Floats, params: QParams, importance: Importance, *, free: bool) -> QParams:
    """A codebook made anew for what errors cost, by the same maker; that of before if it is better.
    Levels that follow no values stay, and scales alone are fitted."""
    book = params.book
    assert book is not None
    found = [params]
    if book.maker == "kmeans":
        start, group = replace(params, book=None), book.size or None
        found.append(
            booked(
                weight, start, book.maker, params.type,
                group=group, free=free, importance=importance,
            )
        )  # fmt: skip
    if free:
        codes = quantize(weight, found[-1])
        errors = _lost(weight, found[-1], codes, importance)
        found.append(refitted(weight, found[-1], codes, errors, importance)[0])
    return min(found, key=lambda each: _errors(weight, each, importance).sum())


def refitted(
    weight: Floats, params: QParams, codes: Codes, errors: Errors, importance: Importance
) -> tuple[QParams, Errors]:
    """The scales of least squares for these codes, which cost so much in each block, where nearest
    codes to them cost less; and what is left."""
    assert params.book is not None
    levels = params.book.values(codes).astype(np.float64)
    cost = 1.0 if importance is None else importance
    above = reduce(weight * levels * cost, params.granularity, np.sum)
    below = reduce(levels * levels * cost, params.granularity, np.sum)
    scale = np.divide(above, below, out=params.scale.astype(np.float64), where=below > 0)
    sound = np.isfinite(scale) & (np.abs(scale) > float(np.finfo(np.float32).tiny))
    trial = np.where(sound, scale, params.scale).reshape(params.scale.shape)
    return _better(
        weight, params, errors, replace(params, scale=in_halves(trial, True)), importance
    )


def in_halves(scale: NDArray[Any], free: bool) -> Floats:
    """Scales as float16 holds them, where it holds them all and they may be any number; else as
    float32 does, finite."""
    most = float(np.finfo(np.float32).max)
    scale = np.clip(scale, -most, most)
    size = np.abs(scale)
    held = free and size.min() >= float(_HALF.smallest_normal) and size.max() <= float(_HALF.max)
    return scale.astype(np.float16 if held else np.float32).astype(np.float32)


def _whole(start: QParams) -> float:
    """The power of two of steps that reaches the last code, or the one below it."""
    return float(1 << start.type.half.bit_length())


def _channels(params: QParams, rank: int) -> int:
    """The axis of output channels: the one that scales lie along; of a stack, whose gates have
    one scale each, the one in front of what is summed over."""
    if isinstance(params.granularity, PerChannel):
        return params.granularity.axis
    return params.granularity.axis - 1 if isinstance(params.granularity, PerBlock) else rank - 1


def _book(
    weight: Floats, params: QParams, maker: Mapping, axis: int | None, size: int,
    importance: Importance,
) -> Codebook:  # fmt: skip
    scale = _over(params, weight.shape)
    cost = None if importance is None else np.broadcast_to(importance, weight.shape)
    groups = 1 if axis is None else -(-weight.shape[axis] // size)
    levels = []
    for group in range(groups):
        where = within(axis, size, group, weight.ndim)
        points = _points(weight[where], scale[where], None if cost is None else cost[where])
        known = None if params.book is None else params.book.levels[group].astype(np.float64)
        levels.append(MAKERS[maker](points, params.type.codes, known))
    return Codebook(_held(np.array(levels)), axis, size, maker)


def _held(levels: NDArray[np.float64]) -> Floats:
    """Levels that float16 holds; what it would flush to zero becomes it."""
    most = float(_HALF.max)
    held = np.clip(levels, -most, most).astype(np.float16).astype(np.float32)
    return np.where(np.abs(held) < float(_HALF.smallest_normal), np.float32(0), held)


def _points(weight: Floats, scale: Floats, cost: Importance) -> Points:
    """The values W / s with their masses, sorted; of many values, means of equal bins."""
    if weight.size <= _EXACT:
        [(values, mass)] = _chunks(weight, scale, cost)
        kept = values != 0
        order = np.argsort(values[kept], kind="stable")
        return Points(values[kept][order], mass[kept][order], not kept.all())
    ends = [(v.min(), v.max()) for v, _ in _chunks(weight, scale, cost)]
    low, high = min(float(least) for least, _ in ends), max(float(most) for _, most in ends)
    sums, zeros = np.zeros((2, _BINS)), False
    for values, mass in _chunks(weight, scale, cost):
        mass = np.where(values == 0, 0.0, mass)
        zeros |= bool((values == 0).any())
        place = np.clip((values - low) * (_BINS / max(high - low, 1e-300)), 0, _BINS - 1)
        for row, terms in enumerate((mass, mass * values)):
            sums[row] += np.bincount(place.astype(np.int64), terms, _BINS)
    held = sums[0] > 0
    return Points(sums[1, held] / sums[0, held], sums[0, held], zeros)


def _chunks(
    weight: Floats, scale: Floats, cost: Importance
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Values and masses, flat."""
    rows = max(1, _CHUNK * len(weight) // max(1, weight.size))
    for start in range(0, len(weight), rows):
        part = slice(start, start + rows)
        steps = scale[part].astype(np.float64)
        mass = steps**2 if cost is None else steps**2 * cost[part]
        values = (weight[part] / steps).reshape(-1)
        yield values, np.broadcast_to(mass, weight[part].shape).reshape(-1)


def _shared(
    weight: Floats, params: QParams, shares: tuple[float, ...], importance: Importance
) -> QParams:
    """The best of these shares of each scale."""
    best, errors = params, _errors(weight, params, importance)
    for share in shares:
        trial = replace(params, scale=in_halves(params.scale * share, free=True))
        best, errors = _better(weight, best, errors, trial, importance)
    return best


def _better(
    weight: Floats, best: QParams, errors: Errors, trial: QParams, importance: Importance
) -> tuple[QParams, Errors]:
    """Of each block the scale that costs less, and what it costs."""
    tried = _errors(weight, trial, importance)
    less = tried < errors
    scale = np.where(less.reshape(best.scale.shape), trial.scale, best.scale).astype(np.float32)
    return replace(best, scale=scale), np.where(less, tried, errors)


def _errors(weight: Floats, params: QParams, importance: Importance) -> Errors:
    """The sum of h (W - W')^2 in each block, with nearest codes."""
    return _lost(weight, params, quantize(weight, params), importance)


def _lost(weight: Floats, params: QParams, codes: Codes, importance: Importance) -> Errors:
    lost = (weight - dequantize(codes, params)).astype(np.float64) ** 2
    cost = lost if importance is None else lost * importance
    return np.asarray(reduce(cost, params.granularity, np.sum), np.float64)


def _over(params: QParams, shape: tuple[int, ...]) -> Floats:
    if params.scale.ndim == 0:
        return np.broadcast_to(params.scale, shape)
    return np.broadcast_to(spread(params.scale, params.granularity, shape), shape)
