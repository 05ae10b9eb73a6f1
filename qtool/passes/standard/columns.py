"""What prepares the numbers of a table.

scaler(x)         =>  (x - offset) * scale            of doubles in double
normalizer(x)     =>  x / max(x), x / sum|x| or x / sqrt(sum x^2) of each row; a row of 0 stays
                      the runtime takes the greatest number, not the greatest distance from 0
imputer(x)        =>  where(x is the number to be replaced, value, x)
binarizer(x)      =>  x > threshold
one_hot(x)        =>  x == categories                 along a new axis
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qtool.ops import integers, reals, text
from qtool.passes.standard.at import At
from qtool.standard import imputed

_NORMS = {"MAX": "ReduceMax", "L1": "ReduceL1", "L2": "ReduceL2"}


def scaler(at: At) -> tuple[ir.Value, ...]:
    """Scaler  =>  Sub, Mul."""
    double = at.x.dtype is ir.DataType.DOUBLE
    offset, scale = (
        np.array(each if len(each) > 1 else each[0], np.float32).astype("f8" if double else "f4")
        for each in (reals(at.node, "offset"), reals(at.node, "scale"))
    )
    x = at.x if double else at.floats(at.x)
    return (at.floats(at("Mul", at("Sub", x, offset), scale)),)


def normalizer(at: At) -> tuple[ir.Value, ...]:
    """Normalizer  =>  a reduction, Div."""
    x = at.floats(at.x)
    norm = at.over(_NORMS[text(at.node, "norm", "MAX")], x, -1)
    return (at("Div", x, at("Where", at("Equal", norm, 0), at.constant(1), norm)),)


def imputer(at: At) -> tuple[ir.Value, ...]:
    """Imputer  =>  Equal or IsNaN, Where. Of another number than one for each column the runtime
    takes the first."""
    values, shape = np.array(imputed(at.node)), at.x.shape
    if shape is None or len(values) != shape[-1]:
        values = values[0]
    if at.x.dtype is ir.DataType.INT64:
        attr = at.node.attributes.get("replaced_value_int64")
        gone = at("Equal", at.x, np.array(0 if attr is None else attr.as_int()))
        return (at("Where", gone, values, at.x),)
    attr = at.node.attributes.get("replaced_value_float")
    replaced = 0.0 if attr is None else attr.as_float()
    gone = at("IsNaN", at.x) if np.isnan(replaced) else at("Equal", at.x, replaced)
    return (at("Where", gone, values.astype(np.float32), at.x),)


def binarizer(at: At) -> tuple[ir.Value, ...]:
    """Binarizer  =>  Greater."""
    attr = at.node.attributes.get("threshold")
    return (at.floats(at("Greater", at.x, 0.0 if attr is None else attr.as_float())),)


def one_hot(at: At) -> tuple[ir.Value, ...]:
    """OneHotEncoder  =>  Equal."""
    x = at("Unsqueeze", at.cast(at.x, ir.DataType.INT64), np.array([-1]))
    return (at.floats(at("Equal", x, np.array(integers(at.node, "cats_int64s")))),)
