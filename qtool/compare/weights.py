"""The weights of a candidate: which make it as large as it is, and how they are stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from qtool import model
from qtool.ops import bytes_of
from qtool.quantized import kind_of

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
        Weight(name, bytes_of(value.const_value), value.const_value.dtype.name in FLOATS)
        for graph in model.load(path).graphs()
        for name, value in graph.initializers.items()
        if value.const_value is not None
    ]
    found = sorted((weight for weight in found if weight.size), key=lambda w: (-w.size, w.name))
    floats = [weight for weight in found if weight.in_float]
    enough = sum(weight.size for weight in floats) >= SHARE * model.file_size(path)
    return tuple((floats if enough else found)[:count])


@dataclass(frozen=True)
class Form:
    """How a model is quantized, if it is.

    `options` are those of `qtool quantize` for one of this form; its data is called DIR.
    `kept_float` are the nodes whose weights could have been quantized, and are in float32.
    """

    quantized: bool
    options: tuple[str, ...]
    kept_float: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> Form:
        """The form of a file.

        Raises:
            ModelError, MachineError: as `qtool.model.load`.
        """
        found = model.load(path)
        operators = {node.op_type for node in found.graph.all_nodes()}
        tensors = [v.const_value for v in found.graph.initializers.values()]
        weights = [tensor for tensor in tensors if tensor is not None]
        sizes: dict[str, int] = {}
        for tensor in weights:
            sizes[tensor.dtype.name] = sizes.get(tensor.dtype.name, 0) + bytes_of(tensor)
        most = max((kind for kind in sizes if kind in _BY_TYPE), key=sizes.__getitem__, default="")
        tables = {tensor.dtype.name for tensor in weights if len(tensor.shape) > 1}
        options = _BY_TYPE.get(most, ("--data", "DIR"))
        for operator in reversed(_BY_OPERATOR):
            if operator in operators:
                options = (*_BY_OPERATOR[operator], *_BITS.get(most, ()))
        return cls(
            kind_of(found) is not None or bool(tables & _HALVES),
            options,
            tuple(
                node.name
                for node in found.graph
                if node.op_type in _WEIGHTED
                and node.name
                and any(map(_is_float_weight, node.inputs[1:2]))
            ),
        )


def _is_float_weight(value: ir.Value | None) -> bool:
    tensor = value.const_value if value is not None else None
    return tensor is not None and len(tensor.shape) > 1 and tensor.dtype.name == "FLOAT"


_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN")


# The first operator that occurs, else the type of most weights, tells how a model was quantized.
_BY_OPERATOR = {
    "DynamicQuantizeLSTM": ("--mode", "dynamic", "--contrib"),
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
_HALVES = {"FLOAT16", "BFLOAT16"}
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
