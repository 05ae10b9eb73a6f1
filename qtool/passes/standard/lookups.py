"""What picks columns and renames numbers.

array_feature_extractor(x, i)  =>  gather(x, i)   along the last axis; of a vector one row
label_encoder(x)               =>  gather(values, clip(x, least - 1, greatest + 1) - least + 1)
                                   where numbers that are no key have the default
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.ops import constant
from qtool.passes.standard.at import At
from qtool.standard import keys_of, values_of


def extractor(at: At) -> tuple[ir.Value, ...]:
    """ArrayFeatureExtractor  =>  Gather."""
    places, tensor = at.node.inputs[1], constant(at.node.inputs[1])
    assert places is not None and at.x.shape is not None
    if tensor is not None:
        places = at.constant(tensor.numpy().reshape(-1).astype(np.int64))
    elif places.shape is None or len(places.shape) != 1:
        places = at("Reshape", places, np.array([-1]))
    found = at("Gather", at.x, places, axis=len(at.x.shape) - 1)
    return (at("Unsqueeze", found, np.array([0])) if len(at.x.shape) == 1 else found,)


def encoder(at: At) -> tuple[ir.Value, ...]:
    """LabelEncoder  =>  Gather."""
    keys, (values, default) = keys_of(at.node), values_of(at.node)
    least, greatest = min(keys), max(keys)
    table = np.full(greatest - least + 3, default, values.dtype)
    table[np.array(keys) - least + 1] = values
    place = at("Clip", at.x, np.array(least - 1), np.array(greatest + 1))
    if least != 1:
        place = at("Add", place, np.array(1 - least))
    return (at("Gather", table_of(at, table), place),)


def table_of(at: At, values: NDArray[Any]) -> ir.Value:
    """A constant of numbers, or of texts."""
    if values.dtype.kind in "OU":
        return at.constant(ir.tensor([str(each) for each in values]))
    return at.constant(values)
