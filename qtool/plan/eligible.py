"""What a node may become, and why it stays float where it may not."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qtool.bodies import has_known_bodies
from qtool.classical import left
from qtool.numeric.scheme import Half, Scheme, Wish
from qtool.ops import OPS, OpSpec, constant, data_inputs, weights_of
from qtool.plan.float_types import FLOATS
from qtool.plan.meant import meant
from qtool.recipe import Recipe
from qtool.standard import unwritten
from qtool.target import Target

NO_ROW = "its operator is left as it is"
BODIES = "what is in its bodies counts for itself"


def wish_of(node: ir.Node, recipe: Recipe, target: Target) -> Wish | str:
    """What the recipe wishes for the node, or the reason why it stays float."""
    spec = OPS.get(node.op_type) if node.domain == "" else None
    wish = recipe.scheme_of(meant(node))
    if isinstance(wish, Half):
        return wish
    if spec is None:
        if has_known_bodies(node) or isinstance(wish, str):
            return BODIES if has_known_bodies(node) else wish
        return (left if target.classical else unwritten)(node) or NO_ROW
    return wish if isinstance(wish, str) else _reason(node, spec, wish, recipe, target) or wish


def _reason(node: ir.Node, spec: OpSpec, wish: Scheme, recipe: Recipe, target: Target) -> str:
    """Why the node stays float; empty where it need not. Cases in order, the first one counts:

    1. its form is not covered               4. it has nothing that the recipe speaks of
    2. not floats                            5. the target has no use for its integers
    3. a weight that is computed, where      6. nothing is measured, or a constant beside what is
       placement asks for constant ones,        measured does not fit
       or empty, or with NaN or Inf
    """
    if not spec.holds(node):  # 1
        return f"{node.op_type}: {spec.unless}"
    for _, value in data_inputs(node):  # 2
        if value.dtype is not None and value.dtype not in FLOATS:
            return f"it works on {value.dtype.name.lower()}, not on float32"
    everywhere = recipe.placement == "all" and node.op_type in target.integer
    if everywhere and any(value.dtype is None for _, value in data_inputs(node)):
        return "the type of what it reads is not known"
    weights = [value for _, value in weights_of(node)]
    if not weights and node.op_type == "MatMul" and not everywhere:  # 3
        return "both inputs are activations"
    if not spec.shares and len(weights) < len(spec.weights) and not everywhere:
        return f"its weight{'s are' if len(spec.weights) > 1 else ' is'} computed, not constant"
    if any(len(weight.shape or ()) < 2 for weight in weights):
        return "its weight is a vector"  # onnxruntime 1.31 crashes on it
    bias = bias_of(node)
    unfit = [unfit_constant(v) for v in (*weights, bias) if v is not None]
    if any(unfit):
        return next(filter(None, unfit))
    if not weights and (wish.activation is None or recipe.mode == "dynamic"):  # 4
        return "it has no weights"
    stored = bool(weights) and node.op_type in target.weights
    if node.op_type not in target.integer and not stored:  # 5
        return target.lacks
    read = [value for i, value in data_inputs(node) if i not in spec.weights or not weights]
    fixed = [value for value in read if constant(value) is not None]
    if fixed and len(fixed) == len(read):  # 6
        return "all that it reads is constant"
    return next(filter(None, map(unfit_constant, fixed)), "")


def bias_of(node: ir.Node) -> ir.Value | None:
    """The node's bias where it is a constant."""
    position = OPS[node.op_type].bias
    value = node.inputs[position] if position is not None and position < len(node.inputs) else None
    return value if constant(value) is not None else None


def unfit_constant(value: ir.Value) -> str:
    """Why the constant cannot be stored as integers; empty where it can."""
    tensor = constant(value)
    assert tensor is not None
    if tensor.dtype not in FLOATS:
        return f"{value.name} is not float"
    if tensor.size == 0:
        return f"{value.name} is empty"
    values = tensor.numpy()
    if not np.isfinite(values).all():
        return f"{value.name} holds NaN or Inf"
    beyond = tensor.dtype is ir.DataType.DOUBLE and np.abs(values).max() > np.finfo(np.float32).max
    return f"{value.name} holds values beyond float32" if beyond else ""
