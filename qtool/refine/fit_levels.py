"""Codebooks by what their layers read.

    1. levels and scales of least sum of H_jj (W_ij - levels[q_ij] s)^2, each weight as it counts by
       itself (weighted k-means: Kim et al. 2023, SqueezeLLM)
    2. codes and scales of least d H d^T on those levels (`rounding.gptq`, `rounding.scales`)

Levels fitted to these codes in turn, under all of H, made d H d^T less and the outputs on other
samples worse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from qtool.numeric.affine import Codes, QParams
from qtool.plan.books import weighed
from qtool.refine.layers import Layer
from qtool.rounding.gptq import gptq
from qtool.rounding.problem import Problem
from qtool.rounding.scales import Grid

Fit = Callable[[Layer, Problem], tuple[Grid, Codes]]


def on_levels(layer: Layer, problem: Problem, fit: Fit | None) -> tuple[Codes, QParams]:
    """Codes of the weight's shape for a layer with a codebook, and the book and scales they are of;
    `fit` gives codes and scales, None where scales are not free.

    All rows together cost no more than rounded to nearest with the book as it is.
    """
    counts = np.diagonal(problem.moments, axis1=1, axis2=2)[:, None]
    now = layer
    if np.isfinite(counts).all() and counts.any():
        cost = layer.restored(np.ascontiguousarray(np.broadcast_to(counts, problem.weight.shape)))
        wish = layer.restored(problem.weight).astype(np.float32)
        params = weighed(wish, layer.params, cost, free=fit is not None)
        now = replace(layer, params=params)
    asked = now.problem(problem.weight, problem.moments)
    if fit is None:
        codes = gptq(asked)
    else:
        grid, codes = fit(now, asked)
        now = replace(now, params=now.params_of(grid))
        asked = grid.over(asked)
    before = problem.nearest()
    if asked.costs(codes).sum() > problem.costs(before).sum():
        return layer.restored(before), layer.params
    return layer.restored(codes), now.params
