"""What the weights of a plan take: bits a weight, scales and zero points counted."""

from __future__ import annotations

import onnx_ir as ir

from qtool.ops import constant
from qtool.plan.plan import Plan, WeightPlan


def bits_per_weight(model: ir.Model, plan: Plan) -> float | None:
    """Bits of the file for each weight that is integers in it, each tensor counted once; None where
    there is none.

    container + (scales, 16 or 32 bits each, + zero points + levels of codebooks) / weights
    """
    nodes = {node.name: node for node in model.graph.all_nodes()}
    sizes: dict[ir.Value, tuple[int, float]] = {}
    for (name, position), weight in plan.weights.items():
        value = nodes[name].inputs[position]
        tensor = constant(value)
        if value is not None and tensor is not None:
            sizes[value] = tensor.size, tensor.size * weight.params.type.container + beside(weight)
    weights = sum(size for size, _ in sizes.values())
    return sum(bits for _, bits in sizes.values()) / weights if weights else None


def beside(weight: WeightPlan) -> int:
    """Bits of all that goes along with the codes of a weight."""
    params = weight.params
    scales = params.scale.size * (16 if weight.half else 32)
    zeros = 0 if params.symmetric else params.zero_point.size * params.type.container
    levels = 0 if params.book is None else params.book.levels.size * 16
    return scales + zeros + levels
