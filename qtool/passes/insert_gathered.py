"""The rewrite of a table that is looked up: its rows are restored after they were found.

gather(W, i) => (cast(gather(Wq, i)) - gather(z, i)) * gather(s, i)
             => gather(levels, cast(gather(Wq, i))) * gather(s, i)      with a codebook
             => what `gather_blocks` says                               in blocks

The table stays small in memory too, which a table that is restored when loaded does not. The scales
lie along the axis of the rows, all other axes being 1; those of 16 bits are cast once they were
found. Codes of fewer bits than a byte are cast to bytes, at load.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qtool.numeric.granularity import PerBlock, PerTensor
from qtool.numeric.types import IntType
from qtool.passes.edit import array, drop_unused
from qtool.passes.gather_blocks import CONTRIB, blocked_rows, packed_rows
from qtool.passes.look_up import looked_up, offsets
from qtool.passes.writer import Writer, onnx_type
from qtool.plan.plan import Plan, WeightPlan
from qtool.target import LOOKED_UP


class InsertGathered(ir.passes.InPlacePass):
    """Look up codes and scales where a plan says so."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = {node.name or "": node for node in model.graph.all_nodes()}
        places = [item for item in self.plan.weights.items() if item[1].encoding in LOOKED_UP]
        self._write = Writer(model.graph)
        for (name, _), weight in places:
            node = nodes[name]
            if weight.encoding == "packed-rows":
                self._take_place(node, packed_rows(self._write, node, weight))
                model.graph.opset_imports.setdefault(CONTRIB, 1)
            elif isinstance(weight.params.granularity, PerBlock):
                self._take_place(node, blocked_rows(self._write, node, weight))
            else:
                self._replace(node, weight)
        return ir.passes.PassResult(model, modified=bool(places))

    def _replace(self, node: ir.Node, plan: WeightPlan) -> None:
        graph, write, params = node.graph, self._write, plan.params
        table, indices = node.inputs[0], node.inputs[1]
        assert isinstance(graph, ir.Graph) and table is not None and indices is not None
        axis = node.attributes.get("axis")
        attributes = {"axis": 0 if axis is None else axis.as_int()}
        made = list[ir.Node]()

        def then(op: str, inputs: list[ir.Value], what: str) -> ir.Value:
            made.append(write.node(op, inputs, f"{node.name}_{what}"))
            return made[-1].outputs[0]

        def found(constant: ir.Value, what: str) -> ir.Value:
            made.append(
                write.mover("Gather", [constant, indices], f"{node.name}_{what}", attributes)
            )
            return made[-1].outputs[0]

        codes = write.constant(f"{plan.tensor}_q", plan.stored(array(table)), params.type)
        if params.type.container < 8:
            wide = onnx_type(IntType(8, params.type.signed))
            made.append(write.cast(codes, wide, f"{plan.tensor}_wide"))
            codes = made[-1].outputs[0]
        picked = found(codes, "codes")
        book = params.book is not None
        kind = ir.DataType.INT32 if book else ir.DataType.FLOAT
        made.append(write.cast(picked, kind, f"{node.name}_cast"))
        value = made[-1].outputs[0]
        if book:
            first = offsets(params, array(table).shape, array(table).ndim)
            if first is not None:
                along = write.constant(f"{plan.tensor}_first", first)
                value = then("Add", [value, found(along, "first")], "place")
            made += looked_up(write, plan.tensor, value, params)
            value = made[-1].outputs[0]
        for op, what, values in (
            ("Sub", "zero_point", params.zero_point),
            ("Mul", "scale", params.scale),
        ):
            if (op == "Sub" and params.symmetric) or (book and params.scale.ndim == 0):
                continue
            half = plan.half and op == "Mul"
            stored = values.astype(np.float16 if half else np.float32)
            constant = write.constant(f"{plan.tensor}_{what}", stored)
            if not isinstance(params.granularity, PerTensor):
                constant = found(constant, what)
            if half:
                made.append(write.widened(constant))
                constant = made[-1].outputs[0]
            value = then(op, [value, constant], f"{what}_applied")
        self._take_place(node, made)

    def _take_place(self, node: ir.Node, made: list[ir.Node]) -> None:
        """Let what is made stand for the node, and its table go."""
        graph, table = node.graph, node.inputs[0]
        assert isinstance(graph, ir.Graph) and table is not None
        graph.insert_before(node, made)
        self._write.take_place(node, made[-1].outputs[0])
        drop_unused(graph, table)
