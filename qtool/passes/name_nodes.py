"""Every node gets a name of its own, in bodies of If and Loop too: a plan knows nodes by name.

onnx_ir's NameFixPass gives the nodes of each graph names of their own, but the same ones to a body
and to the graph around it.
"""

from __future__ import annotations

import onnx_ir as ir

from qtool.passes.edit import fresh


class NameNodes(ir.passes.InPlacePass):
    """Renames nodes of bodies whose names the main graph, or an earlier body, has."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        taken = {node.name or "" for node in model.graph}
        changed = False
        for body in model.graph.subgraphs():
            for node in body:
                name = fresh(node.name or node.op_type, taken)
                changed |= name != node.name
                node.name = name
        return ir.passes.PassResult(model, modified=changed)
