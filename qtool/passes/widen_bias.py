"""What is added to a product in integers gets as many axes as the product has.

matmul(x, W) + b => matmul(x, W) + b of shape (1, …, 1, channels)      x of rank 3 and more

Where all sizes are known, the runtime makes one float Gemm of the two as they were, before it looks
for integers, and dequantizes the weight on every run.
"""

from __future__ import annotations

import onnx_ir as ir

from qtool.ops import constant
from qtool.passes.edit import array, only_reader, set_constant
from qtool.plan.plan import Plan


class WidenBias(ir.passes.InPlacePass):
    """Reshapes constants behind the products that a plan has in integers."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        static = {name for (name, _), w in self.plan.weights.items() if w.form == "static"}
        for node in list(model.graph.all_nodes()):
            if node.op_type == "MatMul" and node.name in static:
                changed |= _widen(node)
        return ir.passes.PassResult(model, modified=changed)


def _widen(node: ir.Node) -> bool:
    result, value = node.outputs[0], node.inputs[0]
    add = only_reader(result)
    shape = None if value is None else value.shape
    if add is None or (add.domain, add.op_type) != ("", "Add") or shape is None or len(shape) < 3:
        return False
    if not all(isinstance(axis, int) for axis in shape):  # it is left alone; others know the form
        return False
    for position, bias in enumerate(add.inputs):
        if constant(bias) is not None and array(bias).ndim < len(shape):
            values = array(bias)
            wide = values.reshape([1] * (len(shape) - values.ndim) + list(values.shape))
            set_constant(add, position, wide, f"{add.name}_bias")
            return True
    return False
