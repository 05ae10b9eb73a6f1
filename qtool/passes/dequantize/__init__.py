"""A quantized model becomes the float model that it stands for.

1. constants   int4 -> Cast -> DQ, (Cast(codes) - zero) * scale and the like  =>  float weights
               (tables)
2. operators   those over integers  =>  float operators between Q and DQ
               (linear, products, packed)
3. values      what lies between Q and DQ, in real numbers (codes, grid, clamps)

What remains are Q and DQ at integers that the model itself takes or gives, or reads as such.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from qtool import model as models
from qtool.ops import constant
from qtool.passes.dequantize.codes import RealValues
from qtool.passes.dequantize.grid import numbers
from qtool.passes.dequantize.linear import LINEAR
from qtool.passes.dequantize.maker import DOMAINS, Maker, inputs_of, put, refusal
from qtool.passes.dequantize.packed import PACKED
from qtool.passes.dequantize.products import INTEGER, PRODUCTS, lower_product
from qtool.passes.dequantize.tables import RestoredTables
from qtool.passes.edit import array
from qtool.passes.fold_constants import FoldConstants
from qtool.passes.lift_constants import constants_to_initializers
from qtool.passes.name_nodes import NameNodes
from qtool.quantized import DYNAMIC, QDQ, QOPERATOR
from qtool.typed import infer

# Scales along an axis came with opset 13; 16 and 4 bits in the standard's own operators with 21.
_LEAST_OPSET, _NARROW_OPSET = 13, 21
_RULES = {**LINEAR, **PRODUCTS, **PACKED}


def dequantize(model: ir.Model) -> ir.Model:
    """A new model of the same function up to rounding, in float; signature as before.

    Raises:
        ModelError: an operator cannot be dequantized, or the opset not be raised.
    """
    own = any(node.domain == "com.microsoft" for node in _nodes(model, QDQ))
    model = models.raise_opset(model.clone(), _NARROW_OPSET if own else _LEAST_OPSET)
    constants_to_initializers(model)
    for make in (common.InlinePass, common.RemoveInitializersFromInputsPass, common.NameFixPass):
        model = make()(model).model
    model = NameNodes()(model).model
    for node in _nodes(model, QDQ):
        node.domain = ""
    model = RestoredTables()(infer(model)).model
    # What rows were restored by before would keep the steps to a table from being folded as one.
    model = common.RemoveUnusedNodesPass()(model).model
    _keep_finite(model)
    model = _FoldParameters()(model).model
    _lower(model)
    _keep_finite(model)
    model = infer(RealValues()(model).model)
    for last in (FoldConstants, common.RemoveUnusedNodesPass, common.RemoveUnusedOpsetsPass):
        model = last()(model).model
    return model


class _FoldParameters(FoldConstants):
    """Computes weights and scales, but does not round a float weight."""

    never = FoldConstants.never | {"QuantizeLinear"}


def _keep_finite(model: ir.Model) -> None:
    """A constant that ends at the last float, as a mask does, stays there: its scale may have been
    rounded up, and integer kernels know no Inf."""
    make = Maker(model.graph)
    for node in _nodes(model, {"DequantizeLinear"}):
        codes, scale, zero = inputs_of(node, 3)
        fixed = constant(codes) is not None and (zero is None or constant(zero) is not None)
        if not fixed or constant(scale) is None or scale is None:
            continue
        steps = array(scale)
        if steps.size != 1 or steps.dtype not in (np.float16, np.float32):
            continue
        whole = array(codes).astype(np.float64) - (0 if zero is None else numbers(array(zero)))
        furthest = float(np.abs(whole).max(initial=0.0))
        most = float(np.finfo(steps.dtype).max)
        if furthest * float(steps.max()) > most:
            last = np.nextafter(np.asarray(most / furthest, steps.dtype), steps.dtype.type(0))
            made = make.constant(last.reshape(steps.shape), f"{scale.name}_finite")
            node.replace_input_with(1, made)


def _lower(model: ir.Model) -> None:
    """Put float operators between Q and DQ in the place of those over integers."""
    make = Maker(model.graph)
    for node in _nodes(model, DYNAMIC | QOPERATOR):
        make.at = node
        try:
            _lower_one(node, make)
        except (AssertionError, IndexError, ValueError) as error:  # the runtime looks when it runs
            raise refusal(node, f"its inputs do not fit together: {error}") from error


def _lower_one(node: ir.Node, make: Maker) -> None:
    if node.op_type == "DynamicQuantizeLinear":
        return
    if node.op_type in INTEGER:
        lower_product(node, make, INTEGER[node.op_type])
        return
    if node.op_type not in _RULES or node.domain not in DOMAINS:
        raise refusal(node, f"no rule is known for it: its domain is {node.domain!r}")
    made = _RULES[node.op_type](node, make)
    for old, new in zip(node.outputs, made if isinstance(made, list) else [made], strict=False):
        put(old, new, make)


def _nodes(model: ir.Model, operators: set[str]) -> list[ir.Node]:
    """The nodes of these operators, of the standard or of the runtime itself."""
    domains = (*DOMAINS, "com.ms.internal.nhwc")
    nodes = [*model.graph.all_nodes()]
    for function in model.functions.values():
        nodes += function.all_nodes()
    return [node for node in nodes if node.op_type in operators and node.domain in domains]
