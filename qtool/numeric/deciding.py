"""From what was measured of an activation to its parameters, under a scheme."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qtool.numeric.affine import QParams, from_range, power_of_two
from qtool.numeric.histogram import Histogram
from qtool.numeric.mse import loss_of
from qtool.numeric.ranges import METHODS
from qtool.numeric.scheme import ActivationScheme, Range


def covered(histogram: Histogram, scheme: ActivationScheme) -> Range:
    """The range that the codes should cover: the scheme's own, or what its method finds."""
    if scheme.range is not None:
        return scheme.range
    return METHODS[scheme.method](histogram, scheme.type, scheme.symmetric)


def covering(
    low: float, high: float, scheme: ActivationScheme, histogram: Histogram | None = None
) -> QParams:
    """Parameters for that range. Of the powers of two next to its scale the one that costs less of
    what was measured; the greater, which holds all of the range, where the range was given."""
    kind, symmetric = scheme.type, scheme.symmetric
    params = from_range(np.asarray(low), np.asarray(high), kind, symmetric=symmetric)
    if not scheme.power_of_two:
        return params
    # The zero point is round(lowest - low / scale): it stays where low goes with the scale.
    wider, finer = (
        replace(params, scale=power_of_two(params.scale, up=up)) for up in (True, False)
    )
    if scheme.range is not None or histogram is None:
        return wider
    loss = loss_of(histogram)
    return finer if loss(finer) < loss(wider) else wider
