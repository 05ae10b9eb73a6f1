"""A Loop keeps its first two inputs, be they empty: trip count and condition.

onnx_ir drops empty inputs at the end of any node; the runtime refuses a Loop of less than two.
"""

from __future__ import annotations

import onnx_ir as ir


class LoopInputs(ir.passes.InPlacePass):
    """loop(trips)  =>  loop(trips, '')."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for node in model.graph.all_nodes():
            if (node.domain, node.op_type) == ("", "Loop") and len(node.inputs) < 2:
                node.resize_inputs(2)
                changed = True
        return ir.passes.PassResult(model, modified=changed)
