"""gemm(x, W) => matmul(x, W) where it runs in float after all.

`lower` made Gemm of it, for the sake of integers; of a MatMul, an Add and what is behind them the
runtime makes one float operator.
"""

from __future__ import annotations

import onnx_ir as ir

from qtool.plan.plan import Plan
from qtool.target import UNPACKED


class RaiseMatMul(ir.passes.InPlacePass):
    """Takes back what a plan made no use of."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for node in model.graph.all_nodes():
            plain = len([v for v in node.inputs if v is not None]) == 2 and not node.attributes
            if (node.domain, node.op_type) == ("", "Gemm") and plain and self._is_float(node):
                node.op_type = "MatMul"
                node.resize_inputs(2)
                changed = True
        return ir.passes.PassResult(model, modified=changed)

    def _is_float(self, node: ir.Node) -> bool:
        weight = self.plan.weights.get((node.name or "", 1))
        return weight is None or weight.encoding in UNPACKED
