"""Weights of bodies move to the main graph: one place to look for them, one copy for all branches.

Only floats: what the shapes inside a body follow from stays beside it, where shape inference
looks. Names must be unique over all graphs, and a body must make what it gives out.
"""

from __future__ import annotations

import onnx_ir as ir

FLOATS = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE}


class LiftConstants(ir.passes.InPlacePass):
    """Moves float initializers of bodies to the main graph, and drops those that nobody reads."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for body in model.graph.subgraphs():
            for name, value in list(body.initializers.items()):
                if value.is_graph_output() or value.is_graph_input():
                    continue
                used = bool(value.uses())
                if used and value.dtype not in FLOATS:
                    continue
                body.initializers.pop(name)
                if used:
                    model.graph.register_initializer(value)
                changed = True
        return ir.passes.PassResult(model, modified=changed)
