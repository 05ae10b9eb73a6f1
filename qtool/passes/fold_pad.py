"""Zeros that a convolution puts around its input need not be put there before.

conv(pad(x, p), W; pads=q) => conv(x, W; pads=p+q)

where the padding is of zeros, on spatial axes alone, and takes nothing away.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qtool.ops import constant
from qtool.passes.edit import array


class FoldPad(ir.passes.InPlacePass):
    """Pad -> Conv  =>  Conv; the Pad stays for others that read it."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for node in list(model.graph.all_nodes()):
            if (node.domain, node.op_type) != ("", "Conv") or node.inputs[0] is None:
                continue
            pad = node.inputs[0].producer()
            if (
                pad is None
                or pad.graph is None
                or pad.graph is not node.graph
                or not _explicit(node)
            ):
                continue
            sides = _sides(pad)
            if sides is None:
                continue
            old = node.attributes.get("pads")
            before = [0] * len(sides) if old is None else list(old.as_ints())
            total = [a + b for a, b in zip(sides, before, strict=True)]
            node.attributes["pads"] = ir.AttrInt64s("pads", total)
            node.replace_input_with(0, pad.inputs[0])
            if not pad.outputs[0].uses() and not pad.outputs[0].is_graph_output():
                pad.graph.remove(pad, safe=True)
            changed = True
        return ir.passes.PassResult(model, modified=changed)


def _explicit(node: ir.Node) -> bool:
    given = node.attributes.get("auto_pad")
    return given is None or given.as_string() == "NOTSET"


def _sides(pad: ir.Node) -> list[int] | None:
    """The `pads` of a Conv that do the same, (begins, ends) of the spatial axes; or None."""
    if (pad.domain, pad.op_type) != ("", "Pad") or pad.inputs[0] is None:
        return None
    mode = pad.attributes.get("mode")
    if mode is not None and mode.as_string() != "constant":
        return None
    given, filled, axes = (*pad.inputs, None, None, None)[1:4]
    if constant(given) is None or (filled is not None and constant(filled) is None):
        return None
    if (filled is not None and array(filled).any()) or pad.inputs[0].shape is None:
        return None
    rank, values = len(pad.inputs[0].shape), array(given)
    if axes is not None and constant(axes) is None:
        return None
    chosen = np.arange(rank) if axes is None else array(axes) % rank
    sides = np.zeros((2, rank), np.int64)
    sides[:, chosen] = values.reshape(2, -1)
    if (sides < 0).any() or sides[:, :2].any():
        return None
    return [int(each) for each in sides[:, 2:].reshape(-1)]
