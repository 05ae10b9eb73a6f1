"""The weights of a candidate: which make it as large as it is, and how they are stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from qtool import model

FLOATS = ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16")
SHARE = 0.1
"""Weights in float that are less of a file than this are not why it is large."""


@dataclass(frozen=True)
class Weight:
    """An initializer: its name, its bytes, and whether it is in float of any width."""

    name: str
    size: int
    in_float: bool


def largest_weights(path: Path, count: int = 3) -> tuple[Weight, ...]:
    """The largest weights, largest first: those in float where they are a good part of the file.

    Raises:
        ModelError, MachineError: as `qtool.model.load`.
    """
    found = [
        Weight(name, value.const_value.nbytes, value.const_value.dtype.name in FLOATS)
        for graph in model.load(path).graphs()
        for name, value in graph.initializers.items()
        if value.const_value is not None
    ]
    found = sorted((weight for weight in found if weight.size), key=lambda w: (-w.size, w.name))
    floats = [weight for weight in found if weight.in_float]
    enough = sum(weight.size for weight in floats) >= SHARE * model.file_size(path)
    return tuple((floats if enough else found)[:count])


def made_by(path: Path) -> tuple[str, ...]:
    """Options of `qtool quantize` for a model of this form; its data is called DIR.

    Raises:
        ModelError, MachineError: as `qtool.model.load`.
    """
    found = model.load(path)
    operators = {node.op_type for node in found.graph.all_nodes()}
    sizes: dict[str, int] = {}
    for value in found.graph.initializers.values():
        if value.const_value is not None:
            kind = value.const_value.dtype.name
            sizes[kind] = sizes.get(kind, 0) + value.const_value.nbytes
    stored = [kind for kind in sizes if kind in _BY_TYPE]
    most = max(stored, key=lambda kind: sizes[kind], default="")
    for operator, options in _BY_OPERATOR.items():
        if operator in operators:
            return (*options, *_BITS.get(most, ()))
    return _BY_TYPE.get(most, ("--data", "DIR"))


def is_quantized(path: Path) -> bool:
    """Whether anything in the model is stored or computed in less than float32.

    Raises:
        ModelError, MachineError: as `qtool.model.load`.
    """
    found = model.load(path)
    operators = {node.op_type for node in found.graph.all_nodes()}
    kinds = {
        value.const_value.dtype.name
        for value in found.graph.initializers.values()
        if value.const_value is not None and len(value.const_value.shape) > 1
    }
    return any("Quantize" in each or each.startswith("QLinear") for each in operators) or bool(
        kinds & set(_BY_TYPE)
    )


def kept_float(path: Path) -> tuple[str, ...]:
    """The nodes whose weights could have been quantized, and are in float32.

    Raises:
        ModelError, MachineError: as `qtool.model.load`.
    """
    return tuple(
        node.name
        for node in model.load(path).graph
        if node.op_type in _WEIGHTED and node.name and any(map(_is_float_weight, node.inputs[1:2]))
    )


def _is_float_weight(value: ir.Value | None) -> bool:
    tensor = value.const_value if value is not None else None
    return tensor is not None and len(tensor.shape) > 1 and tensor.dtype.name == "FLOAT"


_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN")


# The first operator that occurs, else the type of most weights, tells how a model was quantized.
_BY_OPERATOR = {
    "DynamicQuantizeLinear": ("--mode", "dynamic"),
    "QuantizeLinear": ("--data", "DIR"),
}
# type of most weights -> what says so where activations are quantized too
_BITS = {
    "INT4": ("--bits", "4"),
    "UINT4": ("--bits", "4"),
    "INT2": ("--bits", "2"),
    "UINT2": ("--bits", "2"),
}
_BY_TYPE = {
    "INT16": ("--scheme", "w16"),
    "INT8": ("--scheme", "w8"),
    "UINT8": ("--scheme", "w8"),
    "INT4": ("--scheme", "w4"),
    "UINT4": ("--scheme", "w4"),
    "INT2": ("--scheme", "w2"),
    "UINT2": ("--scheme", "w2"),
    "FLOAT16": ("--scheme", "fp16"),
    "BFLOAT16": ("--scheme", "bf16"),
}
