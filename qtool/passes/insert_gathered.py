"""The rewrite of a table that is looked up: its rows are restored after they were found.

gather(W, i) => (cast(gather(Wq, i)) - gather(z, i)) * gather(s, i)

The table stays small in memory too, which a table that is restored when loaded does not. The scales
lie along the axis of the rows, all other axes being 1.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qtool.numeric.granularity import PerTensor
from qtool.passes.edit import array, drop_unused
from qtool.passes.writer import Writer
from qtool.plan.plan import Plan, WeightPlan


class InsertGathered(ir.passes.InPlacePass):
    """Look up codes and scales where a plan says "gathered"."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = {node.name or "": node for node in model.graph.all_nodes()}
        places = [item for item in self.plan.weights.items() if item[1].encoding == "gathered"]
        self._write = Writer(model.graph)
        for (name, _), weight in places:
            self._replace(nodes[name], weight)
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

        def found(constant: ir.Value, what: str, kind: ir.DataType) -> ir.Value:
            made.append(
                write.node("Gather", [constant, indices], f"{node.name}_{what}", attributes)
            )
            made[-1].outputs[0].type = ir.TensorType(kind)
            return made[-1].outputs[0]

        codes = write.constant(f"{plan.tensor}_q", plan.codes(array(table)), params.type)
        assert codes.dtype is not None
        picked = found(codes, "codes", codes.dtype)
        made.append(write.cast(picked, ir.DataType.FLOAT, f"{node.name}_cast"))
        value = made[-1].outputs[0]
        for op, what, values in (
            ("Sub", "zero_point", params.zero_point),
            ("Mul", "scale", params.scale),
        ):
            if op == "Sub" and params.symmetric:
                continue
            constant = write.constant(f"{plan.tensor}_{what}", values.astype(np.float32))
            if not isinstance(params.granularity, PerTensor):
                constant = found(constant, what, ir.DataType.FLOAT)
            value = then(op, [value, constant], f"{what}_applied")
        graph.insert_before(node, made)
        write.take_place(node, value)
        drop_unused(graph, table)
