"""Parameters for a weight, under a scheme."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.affine import Floats, QParams, dequantize, from_range, power_of_two, quantize
from qtool.numeric.granularity import Granularity, reduce
from qtool.numeric.scheme import WeightScheme

Errors: TypeAlias = NDArray[np.float64]


def weight_params(weight: Floats, scheme: WeightScheme, granularity: Granularity) -> QParams:
    """Parameters for a weight: its full range at 256 codes and more, the range of least squared
    error below, where clipping a few values pays for a finer step.

    Of the powers of two next to a scale the one of less error. A range that is given is kept, and
    then the power of two is the one that holds all of it.
    """
    if scheme.range is not None:
        low, high = map(np.asarray, scheme.range)
        given = from_range(low, high, scheme.type, symmetric=scheme.symmetric)
        return in_powers(given) if scheme.power_of_two else given
    low = reduce(weight, granularity, np.min)
    high = reduce(weight, granularity, np.max)
    best = from_range(low, high, scheme.type, symmetric=scheme.symmetric, granularity=granularity)
    error = _error(weight, best)
    for share in np.linspace(0.95, 0.4, 12) if scheme.type.codes < 256 else ():
        trial = from_range(
            low * share, high * share, scheme.type,
            symmetric=scheme.symmetric, granularity=granularity,
        )  # fmt: skip
        best, error = _better(weight, best, error, trial)
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
