"""One form for every constant Gemm.

gemm(x, W^T, transB=1)          => gemm(x, W)           W of shape (inputs, outputs)
gemm(x, W, c), c one for all    => gemm(x, W, c row)    c of shape (outputs,)

The runtime fuses a weight behind DequantizeLinear only where it lies as (inputs, outputs), and a
quantized bias has a scale per channel.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qtool.ops import attribute, constant, weight_of
from qtool.passes.edit import array, set_constant


class GemmLayout(ir.passes.InPlacePass):
    """Transposes weights and spreads biases once, here, and not on every run."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed, turned = False, dict[ir.Value, ir.Value]()
        for node in list(model.graph.all_nodes()):
            if (node.domain, node.op_type) == ("", "Gemm") and weight_of(node) is not None:
                changed |= _transpose(node, turned)
                changed |= _spread(node)
        return ir.passes.PassResult(model, modified=changed)


def _transpose(node: ir.Node, turned: dict[ir.Value, ir.Value]) -> bool:
    """`turned` are the weights that were, so that one of several nodes stays one."""
    weight = weight_of(node)
    if weight is None or not attribute(node, "transB", 0):
        return False
    if weight in turned:
        node.replace_input_with(1, turned[weight])
    else:
        set_constant(node, 1, np.ascontiguousarray(array(weight).T), f"{node.name}_weight")
        made = node.inputs[1]
        if made is not None and made is not weight:
            turned[weight] = made
    del node.attributes["transB"]
    return True


def _spread(node: ir.Node) -> bool:
    """One value for all channels, or a row in two dimensions, becomes one value per channel."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if constant(bias) is None:
        return False
    old, channels = array(bias), array(weight_of(node)).shape[-1]
    one_row = old.ndim < 2 or old.shape[0] == 1  # a column or a matrix differs from row to row
    if old.shape == (channels,) or old.size not in (1, channels) or not one_row:
        return False
    row = np.ascontiguousarray(np.broadcast_to(old.reshape(-1), (channels,)))
    set_constant(node, 2, row, f"{node.name}_bias")
    return True
