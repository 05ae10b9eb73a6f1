"""y = Identity(x), y = Dropout(x) out of training => x. If y is an output, x takes its name.

onnx_ir's own pass also renames an x that is an output itself, so that one of two outputs is lost,
and lets a body of If or Loop give out what was made outside of it, which the runtime refuses.
"""

from __future__ import annotations

import onnx_ir as ir

from qtool.ops import constant
from qtool.passes.edit import array, bypass, can_stand_for


class DropIdentity(ir.passes.InPlacePass):
    """Removes them, unless both names must stay or a body would no longer make its output."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for node in list(model.graph.all_nodes()):
            if not _passes_on(node):
                continue
            source, result = node.inputs[0], node.outputs[0]
            if source is None:
                continue
            if can_stand_for(source, result):
                bypass(node)
                changed = True
        return ir.passes.PassResult(model, modified=changed)


def _passes_on(node: ir.Node) -> bool:
    """Whether the node gives what it takes, and nothing else that somebody reads."""
    if node.domain != "" or node.op_type not in ("Identity", "Dropout"):
        return False
    training = node.inputs[2] if len(node.inputs) > 2 else None
    if training is not None and (constant(training) is None or array(training).any()):
        return False
    mask = node.outputs[1] if len(node.outputs) > 1 else None
    return mask is None or not (mask.uses() or mask.is_graph_output())
