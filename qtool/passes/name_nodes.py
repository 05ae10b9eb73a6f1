"""Every node and every value gets a name of its own, in bodies of If, Loop and Scan too.

A plan knows both by name, whatever graph they are in. onnx_ir's NameFixPass gives the nodes of each
graph names of their own, but the same ones to a body and to the graph around it, and lets the two
branches of an If use the same names. The names in a body are nobody's interface.
"""

from __future__ import annotations

import onnx_ir as ir

from qtool.passes.edit import fresh


class NameNodes(ir.passes.InPlacePass):
    """Renames nodes and values of bodies where the main graph, or an earlier body, has the name."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = {node.name or "" for node in model.graph}
        values = {v.name or "" for v in _values(model.graph)}
        changed = False
        for body in model.graph.subgraphs():
            for node in body:
                name = fresh(node.name or node.op_type, nodes)
                changed |= name != node.name
                node.name = name
            for value in _values(body):
                if value.name:  # else an optional output that is left out
                    name = fresh(value.name, values)
                    changed |= name != value.name
                    value.name = name
        return ir.passes.PassResult(model, modified=changed)


def _values(graph: ir.Graph) -> list[ir.Value]:
    """What the graph itself takes, holds and makes."""
    made = (v for node in graph for v in node.outputs)
    return list(dict.fromkeys((*graph.inputs, *graph.initializers.values(), *made)))
