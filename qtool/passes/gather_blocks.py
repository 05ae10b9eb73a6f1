"""Rows of a table whose scales lie along blocks of them, restored after they were found.

gather(W, i) => dq(gather(cast(Wq), i), gather(s, i), gather(z, i))     bytes, cast at load
gather(W, i) => GatherBlockQuantized(Wq, i, s, z)                       4 bits, the runtime's own
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from qtool.numeric.granularity import PerBlock
from qtool.numeric.types import IntType
from qtool.passes.edit import array
from qtool.passes.writer import Writer, onnx_type
from qtool.plan.plan import WeightPlan

CONTRIB = "com.microsoft"


def blocked_rows(write: Writer, node: ir.Node, plan: WeightPlan) -> list[ir.Node]:
    """The nodes that find codes, scales and zero points, and restore; the last gives the rows."""
    params, grains = plan.params, plan.params.granularity
    assert isinstance(grains, PerBlock)
    made, found = list[ir.Node](), list[ir.Value]()
    wide = replace(params, type=IntType(8, params.type.signed))
    for what, value in _stored(write, node, plan):
        if value.dtype == onnx_type(params.type) and params.type.container < 8:
            made.append(write.cast(value, onnx_type(wide.type), f"{node.name}_{what}_wide"))
            value = made[-1].outputs[0]
        name = f"{node.name}_{what}"
        made.append(write.mover("Gather", [value, _indices(node)], name, {"axis": 0}))
        if what == "scale" and plan.half:
            made.append(write.widened(made[-1].outputs[0]))
        found.append(made[-1].outputs[0])
    attributes = {"axis": -1, "block_size": grains.size}
    return [*made, write.node("DequantizeLinear", found, f"{node.name}_rows", attributes)]


def packed_rows(write: Writer, node: ir.Node, plan: WeightPlan) -> list[ir.Node]:
    """The runtime's own operator, behind a Cast of scales that are stored as 16 bits. A scale for
    each row is one for a block that holds the row."""
    grains, made, found = plan.params.granularity, list[ir.Node](), list[ir.Value]()
    width = array(node.inputs[0]).shape[1]
    block = grains.size if isinstance(grains, PerBlock) else max(16, 1 << (width - 1).bit_length())
    for what, value in _stored(write, node, plan):
        if what == "scale" and plan.half:
            made.append(write.widened(value))
            value = made[-1].outputs[0]
        found.append(value)
    inputs = [found[0], _indices(node), *found[1:]]
    attributes = {"gather_axis": 0, "quantize_axis": 1, "block_size": block, "bits": 4}
    name = f"{node.name}_rows"
    return [*made, write.node("GatherBlockQuantized", inputs, name, attributes, domain=CONTRIB)]


def _stored(write: Writer, node: ir.Node, plan: WeightPlan) -> list[tuple[str, ir.Value]]:
    """Codes, scales, and zero points where there are some, each (rows, blocks of a row)."""
    params, table = plan.params, array(node.inputs[0])
    rows, name = (len(table), -1), plan.tensor
    scale = np.broadcast_to(params.scale, (len(table), max(1, *params.scale.shape[1:], 1)))
    stored = [
        ("codes", write.constant(f"{name}_q", plan.codes(table), params.type)),
        ("scale", write.constant(
            f"{name}_scale", scale.reshape(rows).astype(np.float16 if plan.half else np.float32)
        )),
    ]  # fmt: skip
    # Unsigned codes without zero points would begin at 8.
    if params.zero_point.any() or not params.type.signed:
        zero = np.broadcast_to(params.zero_point, scale.shape).reshape(rows)
        stored.append(("zero_point", write.constant(f"{name}_zero_point", zero, params.type)))
    return stored


def _indices(node: ir.Node) -> ir.Value:
    indices = node.inputs[1]
    assert indices is not None
    return indices
