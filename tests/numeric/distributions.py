"""Distributions on which every range method is tested, and the two forms of codes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qtool.numeric.histogram import Histogram
from qtool.numeric.types import INT8, UINT8

COUNT = 20_000
CHANCE = np.random.default_rng(0)
NORMAL = CHANCE.normal(size=COUNT)

DATA: dict[str, NDArray[Any]] = {
    "gaussian": NORMAL,
    "far from zero": NORMAL + 30,
    "heavy tail": CHANCE.standard_t(2, size=COUNT),
    "one outlier": np.append(NORMAL, 60.0),
    "an outlier that hides all": np.append(NORMAL, 1e4),
    "an outlier of 1e30": np.append(NORMAL, 1e30),
    "relu": np.maximum(NORMAL, 0),
    "negative": -CHANCE.exponential(size=COUNT),
    "uneven": np.where(CHANCE.random(COUNT) < 0.5, -10, 1) * CHANCE.exponential(size=COUNT),
    "constant": np.full(COUNT, 3.3),
    "zero": np.zeros(COUNT),
    "mixture": np.concatenate([NORMAL[: COUNT // 2] - 8, 0.3 * NORMAL[COUNT // 2 :] + 3]),
    "whole numbers": CHANCE.integers(0, 256, COUNT).astype(np.float64),
    "lognormal": CHANCE.lognormal(0, 2, COUNT),
    "one hot": (CHANCE.random(COUNT) < 0.01).astype(np.float64),
}
FORMS = [(UINT8, False), (INT8, True)]
both = pytest.mark.parametrize(("kind", "symmetric"), FORMS, ids=["asymmetric", "symmetric"])
every = pytest.mark.parametrize("name", DATA)


@lru_cache
def seen(name: str) -> tuple[NDArray[np.float32], Histogram]:
    """The values and their statistic."""
    x = DATA[name].astype(np.float32)
    return x, Histogram.empty().observe(x)


@lru_cache
def seen_exactly(name: str) -> tuple[NDArray[np.float32], Histogram]:
    """The values cut off to the bits that a histogram keeps, so that it is the whole truth."""
    x = (DATA[name].astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)
    return x, Histogram.empty().observe(x)
