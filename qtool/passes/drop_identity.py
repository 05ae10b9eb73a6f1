"""y = Identity(x) => x. Where y is an output of the model, x takes its name.

onnx_ir's own pass also renames an x that is an output itself, so that one of two outputs is lost,
and reaches into the bodies of If and Loop, whose outputs must be made inside.
"""

from __future__ import annotations

import onnx_ir as ir

from qtool.passes.edit import bypass


class DropIdentity(ir.passes.InPlacePass):
    """Removes Identity from the main graph, unless both of its names must stay."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for node in list(model.graph):
            if (node.domain, node.op_type) != ("", "Identity"):
                continue
            source, result = node.inputs[0], node.outputs[0]
            if source is None:
                continue
            named = source.producer() is None or source.is_graph_output()
            if not (result.is_graph_output() and named):
                bypass(node)
                changed = True
        return ir.passes.PassResult(model, modified=changed)
