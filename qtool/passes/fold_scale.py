"""A constant factor disappears into the weights in front of it.

(conv(x, W) + b) * c => conv(x, W * c) + b * c       c one value, or one per output channel
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qtool.ops import OPS, attribute, constant, weight_of
from qtool.passes.edit import array, bypass, is_float, only_reader, rounded, set_constant
from qtool.passes.fold_batchnorm import scale_along
from qtool.passes.fold_bias import output_channels


class FoldScale(ir.passes.InPlacePass):
    """(Conv | ConvTranspose | Gemm | MatMul) -> Mul(constant)  =>  one operator."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for node in list(model.graph.all_nodes()):
            if (node.domain, node.op_type) == ("", "Mul"):
                changed |= _fold(node)
        return ir.passes.PassResult(model, modified=changed)


def _fold(mul: ir.Node) -> bool:
    # Mul commutes: the constant may stand on either side.
    for position in (0, 1):
        value, factor = mul.inputs[position], mul.inputs[1 - position]
        if value is None or constant(value) is not None or constant(factor) is None:
            continue
        node = value.producer()
        if node is None or node.graph is not mul.graph or only_reader(value) is not mul:
            continue
        factors = _factors(node, array(factor))
        if factors is None:
            continue
        spec, groups = OPS[node.op_type], attribute(node, "group", 1)
        weight, bias = array(weight_of(node)), node.inputs[2] if len(node.inputs) > 2 else None
        assert spec.channel is not None
        axis = spec.channel(node) % weight.ndim
        scaled = scale_along(weight, factors, axis, groups)
        shifted = None if bias is None else array(bias).astype(np.float64) * factors
        moved = None if shifted is None else rounded(shifted, weight.dtype)
        if scaled is None or (shifted is not None and moved is None):
            continue
        set_constant(node, 1, scaled, f"{node.name}_weight")
        if moved is not None:
            set_constant(node, 2, moved, f"{node.name}_bias")
        if position == 1:
            mul.replace_input_with(0, value)
        bypass(mul)
        return True
    return False


def _factors(node: ir.Node, factor: np.ndarray) -> np.ndarray | None:
    """The constant as one factor per output channel, or None where it is not that."""
    weight = weight_of(node) if node.domain == "" else None
    if weight is None or node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return None
    values, spec = array(weight), OPS[node.op_type]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if not is_float(values) or factor.dtype != values.dtype or not spec.holds(node):
        return None
    if bias is not None and (constant(bias) is None or array(bias).ndim != 1):
        return None
    if not np.isfinite(factor).all() or values.ndim < 2 or spec.channel is None:
        return None
    if node.op_type == "MatMul":
        data = node.inputs[0]
        known = data is not None and data.shape is not None and len(data.shape) > 1
        # Of a stack of matrices each has columns of its own; a vector would become a row.
        if values.ndim != 2 or (factor.ndim > 1 and not known):
            return None
    convolves = node.op_type.startswith("Conv")
    channels = output_channels(node, values)
    lined_up = (channels, *(1,) * (values.ndim - 2)) if convolves else (channels,)
    shape = (1,) * (len(lined_up) - factor.ndim) + factor.shape
    fits = shape[-len(lined_up) :] == lined_up and factor.size == channels
    if not (factor.size == 1 or fits) or factor.ndim > (values.ndim if convolves else 2):
        return None
    return np.broadcast_to(factor.reshape(-1).astype(np.float64), (channels,)).copy()
