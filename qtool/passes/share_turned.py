"""What a tied head and its table store alike is stored once, as the table has it.

head(Wq^T, s^T) beside gather(Wq, s)  =>  head(transpose(Wq), transpose(s))
head(W^T) beside gather(W)            =>  head(transpose(W))                    of 16 bits, or float

The runtime turns the constants when it loads, before it looks for what to fuse. Codes that are
unpacked in blocks lie as (rows, blocks, size) for the table, as (blocks, size, rows) for the head.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qtool.ops import bytes_of, constant
from qtool.passes.edit import array, drop_unused
from qtool.passes.writer import Writer
from qtool.plan.float_types import FLOATS
from qtool.plan.plan import Plan
from qtool.plan.tied import transposed

_LEAST = 256  # bytes: what a Transpose and its names take
_WIDER = {ir.DataType.INT4: ir.DataType.INT8, ir.DataType.UINT4: ir.DataType.UINT8}
_RESTORES = {"Cast", "DequantizeLinear", "Mul", "Reshape", "Slice", "Sub"}


class ShareTurned(ir.passes.InPlacePass):
    """Carry out the part of a plan that says which heads are tied."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph, changed = model.graph, False
        nodes = {node.name or "": node for node in graph} if self.plan.tied else {}
        for name, position in self.plan.tied:
            for mine in _stored(nodes[name].inputs[position]) if name in nodes else ():
                for theirs in list(graph.initializers.values()):
                    if theirs is not mine and _is_turned(theirs, mine):
                        _share(graph, theirs, mine)
                        changed = True
                        break
        return ir.passes.PassResult(model, modified=changed)


class ShareFloats(ir.passes.InPlacePass):
    """What stays float, or becomes 16 bits, is stored once too: preparation made a matrix of the
    table that a Transpose turned. Comes when all types are settled."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph, changed = model.graph, False
        floats = [v for v in graph.initializers.values() if v.dtype in FLOATS]
        tables = [value for value in floats if _read_by(value, {"Gather"})]
        for mine in floats if tables else ():
            if mine in tables or mine.is_graph_output() or not _read_by(mine, {"MatMul", "Gemm"}):
                continue
            theirs = next((table for table in tables if _is_turned(table, mine)), None)
            if theirs is not None:
                _share(graph, theirs, mine)
                changed = True
        return ir.passes.PassResult(model, modified=changed)


def _read_by(value: ir.Value, operators: set[str]) -> bool:
    """Whether such a node reads a constant as its table or matrix, perhaps behind a Cast."""
    for node, position in value.uses():
        if node.op_type in operators and position == (0 if node.op_type == "Gather" else 1):
            return True
        if node.op_type == "Cast" and _read_by(node.outputs[0], operators):
            return True
    return False


def _stored(value: ir.Value | None) -> list[ir.Value]:
    """The constants that a weight is restored from."""
    if value is None or constant(value) is not None:
        return [] if value is None else [value]
    node = value.producer()
    if node is None or node.op_type not in _RESTORES:
        return []
    return [found for read in node.inputs for found in _stored(read)]


def _is_turned(theirs: ir.Value, mine: ir.Value) -> bool:
    """Whether the one is the other with its last axis first."""
    one, other = constant(theirs), constant(mine)
    if one is None or other is None or one.dtype != other.dtype or bytes_of(other) < _LEAST:
        return False
    length = other.shape.numpy()[-1]
    if len(one.shape) < 2 or one.shape.numpy()[0] != length or one.size != other.size:
        return False
    return transposed(array(theirs).reshape(length, -1), array(mine).reshape(-1, length))


def _share(graph: ir.Graph, theirs: ir.Value, mine: ir.Value) -> None:
    write, name, first = Writer(graph), f"{mine.name}_turned", graph.node(0)
    given, wanted = (tensor.shape.numpy() for v in (theirs, mine) if (tensor := constant(v)))
    *inner, rows = wanted
    turned, cut = theirs, (rows, *inner)
    if given != cut:  # one of them has its blocks along an axis of their own
        if theirs.dtype in _WIDER:  # onnxruntime 1.31 reshapes bytes and more
            widened = write.cast(turned, _WIDER[theirs.dtype], f"{name}_wide")
            graph.insert_before(first, widened)
            turned = widened.outputs[0]
        shape = write.constant(f"{name}_shape", np.array(cut))
        made = write.mover("Reshape", [turned, shape], f"{name}_cut")
        graph.insert_before(first, made)
        turned = made.outputs[0]
    if inner:
        perm = [*range(1, len(cut)), 0]
        made = write.mover("Transpose", [turned], name, {"perm": perm})
        graph.insert_before(first, made)
        turned = made.outputs[0]
    mine.replace_all_uses_with(turned)
    drop_unused(graph, mine)
