"""Constants that are learned beside weights: biases, wherever exporters put them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qtool.ops import OPS, constant

_PLACES = {"GRU": (3,), "LSTM": (3,), "RNN": (3,), "LayerNormalization": (1, 2)}
_LARGEST = 1e15  # of a bias: its square is a float32


def biases(node: ir.Node) -> list[ir.Value]:
    """Those that a node reads.

    No bias is what an Add has besides: a mask, or the one number that keeps a divisor from 0.
    """
    spec = OPS.get(node.op_type)
    places = _PLACES.get(node.op_type, ())
    if spec is not None and spec.bias is not None:
        places = (*places, spec.bias)
    if node.op_type == "Add":
        places = (0, 1)
    given = [node.inputs[place] for place in places if place < len(node.inputs)]
    known = [(value, constant(value)) for value in given if value is not None]
    found = [(value, tensor.numpy()) for value, tensor in known if tensor is not None]
    if node.op_type == "Add":
        fewest = 1 if any(map(_weighted, node.inputs)) else 2
        found = [(value, x) for value, x in found if x.ndim == 1 and x.size >= fewest]
    return [value for value, x in found if (np.abs(x.astype(np.float64)) < _LARGEST).all()]


def _weighted(value: ir.Value | None) -> bool:
    """Whether a layer with weights gives it."""
    node = None if value is None else value.producer()
    return node is not None and node.op_type in OPS and bool(OPS[node.op_type].weights)
