"""Narrower floats: float16 (IEEE 754 binary16), bfloat16, and float32 seen from float64."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

DTYPES: dict[str, Any] = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float32": np.float32,
}


def narrowed(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Floats in another type, round to nearest; shape kept.

    A finite value beyond the range becomes the largest of it, as a mask of -3.4e38 means to; a
    single value that would vanish becomes the smallest: an epsilon of 1e-12 keeps a division from
    zero. Infinities and NaN stay.
    """
    largest, smallest = _limits(dtype)
    values = values if values.dtype == np.float64 else values.astype(np.float32)
    bounded = np.where(np.isfinite(values), np.clip(values, -largest, largest), values)
    if values.size == 1:
        vanishes = (bounded != 0) & (np.abs(bounded) < smallest)
        bounded = np.where(vanishes, np.copysign(smallest, bounded), bounded)
    return bounded.astype(values.dtype).astype(DTYPES[dtype])


def outside(values: NDArray[Any], dtype: str) -> int:
    """How many finite values lie beyond the range."""
    largest, _ = _limits(dtype)
    return int((np.isfinite(values) & (np.abs(values) > largest)).sum())


def _limits(dtype: str) -> tuple[float, float]:
    """The largest value and the smallest above zero."""
    info: Any = ml_dtypes.finfo(DTYPES[dtype])  # type: ignore[no-untyped-call]
    return float(info.max), float(info.smallest_subnormal)
