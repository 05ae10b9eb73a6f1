"""Batch normalization disappears into the weights in front of it.

y = (conv(x, W) + b - mean) * g + beta    with  g = gamma / sqrt(var + eps)
  = conv(x, W * g) + (b - mean) * g + beta
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.ops import OPS, attribute, constant, weight_of
from qtool.passes.edit import array, bypass, is_float, only_reader, rounded, set_constant


class FoldBatchNorm(ir.passes.InPlacePass):
    """Conv/ConvTranspose/Gemm -> BatchNormalization  =>  Conv/ConvTranspose/Gemm.

    In bodies too, where both are in the same one.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for norm in list(model.graph.all_nodes()):
            node = _linear_before(norm)
            if node is None:
                continue
            gamma, beta, mean, var = (array(v).astype(np.float64) for v in norm.inputs[1:5])
            epsilon = norm.attributes.get("epsilon")
            gain = gamma / np.sqrt(var + (1e-5 if epsilon is None else epsilon.as_float()))
            weight, old = array(weight_of(node)), node.inputs[2] if len(node.inputs) > 2 else None
            bias = 0.0 if old is None else array(old).astype(np.float64)
            # OPS[...].channel is the weight's axis that BatchNormalization runs over.
            spec = OPS[node.op_type]
            assert spec.channel is not None
            scaled = scale_along(weight, gain, spec.channel(node), attribute(node, "group", 1))
            shifted = rounded((bias - mean) * gain + beta, weight.dtype)
            if scaled is None or shifted is None:
                continue
            set_constant(node, 1, scaled, f"{node.name}_weight")
            set_constant(node, 2, shifted, f"{node.name}_bias")
            bypass(norm)
            changed = True
        return ir.passes.PassResult(model, modified=changed)


def scale_along(
    weight: NDArray[Any], factors: NDArray[np.float64], axis: int, groups: int = 1
) -> NDArray[Any] | None:
    """weight * factors along the axis of output channels, dtype kept; None where it overflows.

    ConvTranspose (axis 1) stores output channels per group: (C, M / groups, ...), so each group's
    rows get that group's factors.
    """
    if axis == 1 and groups > 1:
        split = weight.reshape(groups, -1, *weight.shape[1:]).astype(np.float64)
        per_group = factors.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))
        return rounded((split * per_group).reshape(weight.shape), weight.dtype)
    shape = [1] * weight.ndim
    shape[axis] = -1
    return rounded(weight.astype(np.float64) * factors.reshape(shape), weight.dtype)


def _linear_before(norm: ir.Node) -> ir.Node | None:
    """The node to fold into, where all conditions hold."""
    if norm.op_type != "BatchNormalization" or norm.domain != "" or norm.inputs[0] is None:
        return None
    training = norm.attributes.get("training_mode")
    # Before opset 14, more than one output meant training.
    if len(norm.outputs) > 1 or (training is not None and training.as_int()):
        return None
    node = norm.inputs[0].producer()
    if node is None or node.op_type not in ("Conv", "ConvTranspose", "Gemm") or node.domain != "":
        return None
    weight = weight_of(node)
    if weight is None or not is_float(array(weight)) or not OPS[node.op_type].holds(node):
        return None
    if only_reader(norm.inputs[0]) is not norm:  # somebody reads the value before normalization
        return None
    if node.graph is not norm.graph:  # the body of an If may or may not run
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    constants = all(constant(v) is not None for v in norm.inputs[1:5])
    # A Gemm's bias may broadcast from a scalar; the fold wants one value per channel.
    if bias is not None and (constant(bias) is None or array(bias).ndim != 1):
        return None
    return node if constants else None
