"""Rounding algorithms: codes for a weight, chosen by what they cost the layer's output.

Each takes a `Problem` and gives codes of which no row costs more than rounded to nearest.
"""

from __future__ import annotations

from collections.abc import Callable

from qtool.numeric.affine import Codes
from qtool.rounding.adaround import adaround
from qtool.rounding.gptq import gptq
from qtool.rounding.nearest import nearest
from qtool.rounding.problem import Problem

__all__ = ["ROUNDINGS", "Problem"]

ROUNDINGS: dict[str, Callable[[Problem], Codes]] = {
    "nearest": nearest,
    "gptq": gptq,
    "adaround": adaround,
}
