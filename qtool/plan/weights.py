"""Parameters for a weight, under a scheme."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.affine import (
    Floats,
    QParams,
    dequantize,
    from_range,
    lowest,
    power_of_two,
    quantize,
)
from qtool.numeric.clipping import clipped, covering
from qtool.numeric.granularity import Granularity, reduce
from qtool.numeric.scheme import WeightScheme
from qtool.numeric.types import IntType
from qtool.plan.books import booked
from qtool.plan.hqq import hqq

Errors: TypeAlias = NDArray[np.float64]


def weight_params(
    weight: Floats, scheme: WeightScheme, granularity: Granularity, *, negative: bool = False
) -> QParams:
    """Parameters for a weight, as its scheme wants them found: the one door for all of them.

    With `negative` scales of few symmetric codes may be below 0, so that none of them is unused.
    """
    with np.errstate(over="ignore"):  # what would be Inf costs too much to be chosen
        if scheme.mapping != "linear":
            return _finite(_booked(weight, scheme, granularity), scheme)
        found = _linear(weight, scheme, granularity, negative=negative)
        fits = scheme.method == "hqq" and scheme.range is None and not scheme.power_of_two
        return _finite(hqq(weight, found) if fits else found, scheme)


def _finite(params: QParams, scheme: WeightScheme) -> QParams:
    """The parameters with scales by which every code is finite: those of a mask of -3.4e38 may have
    been rounded up, and Inf times a code of 0 is NaN."""
    most = np.finfo(np.float32).max
    if params.book is not None:
        furthest = np.abs(params.book.levels).max()
    else:
        ends = lowest(params) - params.zero_point, params.type.maximum - params.zero_point
        furthest = np.maximum(*np.abs(ends))
    limit = np.nextafter(most / np.maximum(furthest, 1).astype(np.float32), np.float32(0))
    limit = power_of_two(limit, up=False) if scheme.power_of_two else limit
    over = np.abs(params.scale) > limit
    if not over.any():
        return params
    return replace(params, scale=np.where(over, np.copysign(limit, params.scale), params.scale))


def _booked(weight: Floats, scheme: WeightScheme, granularity: Granularity) -> QParams:
    """A codebook, from as many evenly spaced codes; three at least, to have some around 0. No
    target minds scales below 0: levels are multiplied by them, and nothing is dequantized."""
    codes = max(scheme.type.codes, 3)
    even = replace(scheme.linear(), type=IntType.of_levels(codes, True), symmetric=True)
    start = _linear(weight, even, granularity, negative=True)
    free = not scheme.power_of_two
    return booked(weight, start, scheme.mapping, scheme.type, group=scheme.group, free=free)


def _linear(
    weight: Floats, scheme: WeightScheme, granularity: Granularity, *, negative: bool = False
) -> QParams:
    """Evenly spaced codes: the full range at 256 codes and more, the range of least squared
    error below, where clipping a few values pays for a finer step.

    Of the powers of two next to a scale the one of less error. A range that is given is kept, and
    then the power of two is the one that holds all of it.
    """
    if scheme.range is not None:
        low, high = map(np.asarray, scheme.range)
        given = from_range(low, high, scheme.type, symmetric=scheme.symmetric)
        return in_powers(given) if scheme.power_of_two else given
    kind, symmetric = scheme.type, scheme.symmetric
    if kind.codes >= 256:
        best = covering(weight, kind, granularity, symmetric=symmetric)
    else:
        negative = negative and not scheme.power_of_two
        best = clipped(weight, kind, granularity, symmetric=symmetric, negative=negative)
    if scheme.power_of_two:
        # The zero point is round(lowest - low / scale): it stays where low goes with the scale.
        wider, finer = (
            replace(best, scale=power_of_two(best.scale, up=up)) for up in (True, False)
        )
        best, _ = _better(weight, wider, _error(weight, wider), finer)
    return best


def in_powers(params: QParams) -> QParams:
    """The parameters with scales that are powers of two, and hold as much or more."""
    return replace(params, scale=power_of_two(params.scale, up=True))


def halved(params: QParams) -> bool:
    """Whether the scales can be written as float16 with nothing lost, and the file is smaller so.

    They must be normal numbers: what float16 has below them is coarse, or flushed to zero.
    """
    with np.errstate(over="ignore"):
        held = params.scale.astype(np.float16)
    normal = np.abs(held) >= np.finfo(np.float16).smallest_normal
    return _pays(params) and bool((normal & (held == params.scale)).all())


def in_half(params: QParams) -> QParams:
    """The parameters of weights that are only stored, with the scales that will be written: rounded
    to float16 where that makes the file smaller and float16 holds them all. Codes come after it."""
    least, most = (float(getattr(np.finfo(np.float16), end)) for end in ("smallest_normal", "max"))
    sizes = np.abs(params.scale)
    if not _pays(params) or sizes.min() < least or sizes.max() > most:
        return params
    return replace(params, scale=params.scale.astype(np.float16).astype(np.float32))


def _pays(params: QParams) -> bool:
    """Whether two bytes less of each scale are more than what the Cast behind them takes."""
    return 2 * params.scale.size > _CAST


_CAST = 256  # bytes of a Cast: its name stands in it three times and has up to 70 characters


def _better(weight: Floats, best: QParams, least: Errors, trial: QParams) -> tuple[QParams, Errors]:
    """Of each block the parameters that cost less, and what they cost."""
    error = _error(weight, trial)
    better = error < least
    scale = np.where(better, trial.scale, best.scale).astype(np.float32)
    zero = np.where(better, trial.zero_point, best.zero_point).astype(np.int32)
    found = QParams(best.type, scale, zero, best.granularity)
    return found, np.where(better, error, least)


def _error(weight: Floats, params: QParams) -> Errors:
    """Sum of squared errors in each block."""
    lost = weight - dequantize(quantize(weight, params), params)
    return reduce(lost.astype(np.float64) ** 2, params.granularity, np.sum)
