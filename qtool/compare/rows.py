"""Outputs that are sequences of maps, as scikit-learn's exporter makes of class probabilities."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def real(value: Any) -> NDArray[Any] | None:
    """An output of real numbers as an array, maps with a row for each; None if it is no such."""
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        kinds = {type(number) for each in value for number in each.values()}
        alike = all(each.keys() == value[0].keys() for each in value)
        if kinds <= {float} and alike:
            return np.array([[each[key] for key in sorted(each)] for each in value], np.float32)
    return value if isinstance(value, np.ndarray) and value.dtype.kind == "f" else None
