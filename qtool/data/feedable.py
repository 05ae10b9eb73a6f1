"""Whether there is anything for samples to feed, and whether they can."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qtool.data.declaration import Declaration
from qtool.data.files import listed, printable
from qtool.errors import DataError, did_you_mean
from qtool.signature import TensorSpec


def check_inputs(inputs: Sequence[TensorSpec], declaration: Declaration) -> None:
    """Raises DataError where a table means no input, or an input is none of stacked numbers."""
    names = [spec.name for spec in inputs]
    for name in declaration.inputs:
        if name not in names:
            raise DataError(
                f"[data.inputs.{printable(name)}] in qtool.toml is no input of the model",
                f"the inputs are {listed(names)}",
                did_you_mean(name, names) or "rename or remove the table",
            )
    if not names:
        raise DataError("the model has no inputs", "so there is nothing to feed", "leave data out")
    for spec in inputs:
        try:
            feedable = np.dtype(spec.dtype).kind not in "OS"
        except (TypeError, ValueError):  # bfloat16, a sequence, a map
            feedable = False
        if not feedable or spec.shape == ():
            why = "samples are numbers, stacked along a first axis"
            raise DataError(f"no data folder can feed the input {spec}", why, "change the model")
