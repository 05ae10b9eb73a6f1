"""Transposes that undo each other.

transpose(transpose(x, p), q) => x      q being the inverse of p

The runtime drops such a pair too, and with it the name of x where that is an output, as it is while
ranges are measured: it does not load the model then.
"""

from __future__ import annotations

import onnx_ir as ir

from qtool.passes.edit import bypass, can_stand_for


class FoldTranspose(ir.passes.InPlacePass):
    """Bypasses pairs; the first one stays for others that read it."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for node in list(model.graph.all_nodes()):
            source = _undone(node)
            if source is None or not can_stand_for(source, node.outputs[0]):
                continue
            node.replace_input_with(0, source)
            bypass(node)
            changed = True
        return ir.passes.PassResult(model, modified=changed)


def _undone(node: ir.Node) -> ir.Value | None:
    """What the node gives back, if it undoes the Transpose before it."""
    value = node.inputs[0] if _is_transpose(node) else None
    before = None if value is None else value.producer()
    if before is None or not _is_transpose(before):
        return None
    first, then = _perm(before), _perm(node)
    if first is None or then is None:  # both reverse the axes
        return before.inputs[0] if first == then else None
    return before.inputs[0] if [first[axis] for axis in then] == sorted(first) else None


def _is_transpose(node: ir.Node) -> bool:
    return (node.domain, node.op_type) == ("", "Transpose")


def _perm(node: ir.Node) -> list[int] | None:
    given = node.attributes.get("perm")
    return None if given is None else list(given.as_ints())
