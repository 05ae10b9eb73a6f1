"""Rows of a table of codes that are restored after they were found: the table is restored instead.

    (cast(gather(W, i)) - gather(z, i)) * gather(s, i)  =>  gather((cast(W) - z) * s, i)
    dq(gather(W, i), gather(s, i), gather(z, i))        =>  gather(dq(W, s, z), i)     in blocks
    gather(levels, cast(gather(W, i)))                  =>  gather(gather(levels, cast(W)), i)

z and s lie along the rows as W does, or are one number for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from qtool.ops import attribute, constant
from qtool.passes.dequantize.maker import Maker, put
from qtool.quantized import CODES

_STEPS = {"Add", "Cast", "Sub", "Mul", "DequantizeLinear"}


@dataclass(frozen=True)
class _Rows:
    """Rows of `table` along `axis`; `restored` where they come from codes."""

    table: ir.Value
    indices: ir.Value
    axis: int
    restored: bool

    @property
    def scales(self) -> bool:
        """Whether it has one number for each row."""
        shape = self.table.shape
        return shape is not None and all(n == 1 for i, n in enumerate(shape) if i != self.axis)

    def beside(self, other: _Rows) -> bool:
        """Whether both are the same rows of tables that lie side by side."""
        same = self.indices is other.indices and self.axis == other.axis
        mine, theirs = self.table.shape, other.table.shape
        if not same or mine is None or theirs is None or len(mine) != len(theirs):
            return False
        return bool(mine[self.axis] == theirs[self.axis])


class RestoredTables(ir.passes.InPlacePass):
    """Moves what restores rows in front of the Gather that finds them."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        make, changed = Maker(model.graph), False
        rows: dict[ir.Value, _Rows] = {}
        for node in list(model.graph.all_nodes()):
            read = node.inputs[1] if node.op_type == "Gather" else None
            looked_up = read in rows and rows[read].restored if read is not None else False
            if node.domain == "" and node.op_type == "Gather" and not looked_up:
                found = _gathered(node)
                if found is not None:
                    rows[node.outputs[0]] = found
            elif node.domain == "" and (node.op_type in _STEPS or looked_up):
                found = _step(node, rows, make)
                if found is not None:
                    made = make.node(
                        "Gather",
                        [found.table, found.indices],
                        f"{node.name}_rows",
                        {"axis": found.axis},
                    )
                    made.type = found.table.type
                    put(node.outputs[0], made, make)
                    rows[made] = found
                    changed = True
        return ir.passes.PassResult(model, modified=changed)


def _gathered(node: ir.Node) -> _Rows | None:
    table, indices = node.inputs[:2]
    if table is None or indices is None or table.shape is None:
        return None
    cast = table.producer()  # codes of fewer bits than the runtime looks up
    widened = cast is not None and cast.op_type == "Cast" and table.dtype in CODES
    stored = cast.inputs[0] if cast is not None and widened else table
    if constant(stored) is None:
        return None
    axis = attribute(node, "axis", 0) % max(1, len(table.shape))
    return _Rows(table, indices, axis, table.dtype in CODES)


def _step(node: ir.Node, rows: dict[ir.Value, _Rows], make: Maker) -> _Rows | None:
    """The table after one step, computed from tables; None where that is not the same."""
    read = [None if v is None else rows.get(v) for v in node.inputs]
    first = next((each for each in read if each is not None), None)
    if first is None:
        return None
    codes = any(each is not None and each.restored for each in read)
    restores = {use.node.op_type for use in node.outputs[0].uses()} == {"DequantizeLinear"}
    if not codes and not (node.op_type == "Cast" and (first.scales or restores)):
        return None
    for value, each in zip(node.inputs, read, strict=True):
        tensor = constant(value)
        if node.op_type == "Gather" and each is None:  # a book: any place in it may be meant
            continue
        one = value is None or (tensor is not None and tensor.size == 1)
        if not (one if each is None else each.beside(first)):
            return None
    attributes = dict(node.attributes)
    if node.op_type == "DequantizeLinear":
        if not attribute(node, "block_size", 0) or first.indices.shape is None:
            return None  # a scale for all is seen to with the other movers
        more = len(first.indices.shape) - 1  # axes that the indices add
        axis = attribute(node, "axis", 1)
        axis = axis if axis < 0 or axis < first.axis else axis - more
        if axis == first.axis:
            return None
        attributes["axis"] = ir.AttrInt64("axis", axis)
    make.at = node
    inputs = [v if each is None else each.table for v, each in zip(node.inputs, read, strict=True)]
    made = make.node(node.op_type, inputs, f"{node.name}_table", attributes)
    made.type, made.shape = node.outputs[0].type, first.table.shape
    along = next(each for each in read if each is not None)
    made.shape = along.table.shape if read[0] is None else read[0].table.shape
    return _Rows(made, first.indices, first.axis, codes)
