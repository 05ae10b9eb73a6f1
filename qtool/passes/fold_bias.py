"""An added constant becomes the bias of the operator in front of it.

    conv(x, W) + c        => conv(x, W, c)       c of shape (C, 1, 1) or (1, C, 1, 1)
    x @ W + c             => gemm(x, W, c)       x of rank 2, c of shape (C,) or (1, C)

The runtime has integer kernels with a bias, and none for the sum with a constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.ops import OPS, attribute, constant, weight_of
from qtool.passes.edit import array, bypass, is_float, only_reader, rounded, set_constant


class FoldBias(ir.passes.InPlacePass):
    """(Conv | ConvTranspose | Gemm | MatMul of rank 2) -> Add(constant)  =>  one operator.

    In bodies too, where both are in the same one.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for add in list(model.graph.all_nodes()):
            if add.op_type != "Add" or add.domain != "":
                continue
            # Add commutes: the constant may stand on either side.
            for position in (0, 1):
                value, other = add.inputs[position], add.inputs[1 - position]
                if value is None or constant(value) is not None or constant(other) is None:
                    continue
                node = value.producer()
                bias = _bias(node, array(other)) if node is not None else None
                if node is None or bias is None or only_reader(value) is not add:
                    continue
                if node.graph is not add.graph:  # made once, and read on every turn of a loop
                    continue
                old = node.inputs[2] if len(node.inputs) > 2 else None
                total = bias if old is None else _sum(array(old), bias)
                if total is None:
                    continue
                if node.op_type == "MatMul":
                    node.op_type = "Gemm"
                set_constant(node, 2, total, f"{node.name}_bias")
                if position == 1:
                    add.replace_input_with(0, value)
                bypass(add)
                changed = True
                break
        return ir.passes.PassResult(model, modified=changed)


def _bias(node: ir.Node, added: NDArray[Any]) -> NDArray[Any] | None:
    """The constant as one value per output channel, or None where it is not one."""
    weight = weight_of(node) if node.domain == "" else None
    if weight is None or not is_float(array(weight)) or added.dtype != array(weight).dtype:
        return None
    old = node.inputs[2] if len(node.inputs) > 2 else None
    if old is not None and (constant(old) is None or array(old).ndim != 1):
        return None
    if node.op_type == "MatMul":
        data = node.inputs[0]
        if data is None or data.shape is None or len(data.shape) != 2 or array(weight).ndim != 2:
            return None
    elif OPS[node.op_type].bias is None or not OPS[node.op_type].holds(node):
        return None
    channels = output_channels(node, array(weight))
    if node.op_type in ("MatMul", "Gemm"):
        fits = added.shape in ((channels,), (1, channels))
    else:
        spatial = (1,) * (array(weight).ndim - 2)
        fits = added.shape in ((channels, *spatial), (1, channels, *spatial))
    return np.ascontiguousarray(added.reshape(-1)) if fits else None


def _sum(old: NDArray[Any], added: NDArray[Any]) -> NDArray[Any] | None:
    return rounded(old.astype(np.float64) + added.astype(np.float64), added.dtype)


def output_channels(node: ir.Node, weight: NDArray[Any]) -> int:
    """How many channels a linear operator of that weight gives."""
    spec = OPS[node.op_type]
    assert spec.channel is not None
    groups = attribute(node, "group", 1) if node.op_type == "ConvTranspose" else 1
    return int(weight.shape[spec.channel(node)]) * groups
