"""Values that hold Inf because the model says so: an attention's mask, and what it is added to.

No range holds them, and where they end (in a Softmax) they are zeros.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from qtool.ops import OPS, constant, weights_of

# x, Inf -> Inf, beside what only moves values about
_CARRY = {"Add", "Cast", "CastLike", "Concat", "Max", "Min", "Mul", "Neg", "Sub", "Sum", "Where"}


def infinite(nodes: Iterable[ir.Node]) -> set[ir.Value]:
    """Constants with Inf, and what is made of them; nodes come in order."""
    found: set[ir.Value] = set()
    for node in nodes:
        weights = {value for _, value in weights_of(node)}
        read = [value for value in node.inputs if value is not None and value not in weights]
        found |= {value for value in read if value not in found and _holds(value)}
        if node.op_type == "ConstantOfShape" and _fills(node):
            found.update(node.outputs)
        moves = node.op_type in OPS and OPS[node.op_type].shares
        if (moves or node.op_type in _CARRY) and not found.isdisjoint(read):
            found.update(node.outputs)
    return found


def _fills(node: ir.Node) -> bool:
    value = node.attributes.get("value")
    return value is not None and bool(np.isinf(value.as_tensor().numpy().astype(np.float64)).any())


def _holds(value: ir.Value) -> bool:
    tensor = constant(value)
    real = tensor is not None and value.dtype is not None and value.dtype.is_floating_point()
    return real and tensor is not None and bool(np.isinf(tensor.numpy()).any())
