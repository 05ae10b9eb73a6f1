"""Outputs that are sequences of maps, as scikit-learn's exporter makes of class probabilities."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

Keys = tuple[int, ...] | tuple[str, ...]

_MAPS = re.compile(r"seq\(map\((?:u?int\d+|str),((?:u?int|float)\d+)\)\)")


def as_rows(value: Any, dtype: str) -> tuple[Any, Keys | None]:
    """Maps as an array (samples, keys) and its sorted keys; anything else as it is, and None.

    `dtype` is the output's, "seq(map(int64,float32))". Maps with unlike keys stay as they are.
    """
    maps = _MAPS.fullmatch(dtype)
    if maps is None or not value or not all(each.keys() == value[0].keys() for each in value):
        return value, None
    keys = tuple(sorted(value[0]))
    return np.array([[each[key] for key in keys] for each in value], maps[1]), keys
