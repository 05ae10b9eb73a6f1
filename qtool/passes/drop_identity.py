"""y = Identity(x) => x. Where y is an output of the model, x takes its name.

onnx_ir's own pass also renames an x that is an output itself, so that one of two outputs is lost,
and lets a body of If or Loop give out what was made outside of it, which the runtime refuses.
"""

from __future__ import annotations

import onnx_ir as ir

from qtool.passes.edit import bypass


class DropIdentity(ir.passes.InPlacePass):
    """Removes Identity, unless both names must stay or a body would no longer make its output."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for node in list(model.graph.all_nodes()):
            if (node.domain, node.op_type) != ("", "Identity"):
                continue
            source, result = node.inputs[0], node.outputs[0]
            if source is None:
                continue
            named = source.producer() is None or source.is_graph_output()
            outside = source.graph is not node.graph
            if not (result.is_graph_output() and (named or outside)):
                bypass(node)
                changed = True
        return ir.passes.PassResult(model, modified=changed)
