"""The rewrite of dynamic quantization: activations are measured anew on every run.

matmul(x, W)     =>  mul(cast(matmul_integer(xq, Wq, xz, wz)), xs * ws)
                     with  xq, xs, xz = dynamic_quantize_linear(x), made once for all readers of x
gemm(x, W, b)    =>  the same, then add(.., b)

The runtime makes one kernel of all of it but the first step.
"""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from qtool.numeric.types import IntType
from qtool.passes.edit import array, drop_unused, insert_behind
from qtool.passes.writer import Writer, mark_made, onnx_type
from qtool.plan.plan import Plan, WeightPlan


class InsertDynamic(ir.passes.InPlacePass):
    """Put integer products where a plan says "integer"."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = {node.name or "": node for node in model.graph.all_nodes()}
        places = [item for item in self.plan.weights.items() if item[1].encoding == "integer"]
        self._write, self._measured = Writer(model.graph), dict[ir.Value, ir.Node]()
        for (name, position), weight in places:
            self._replace(nodes[name], position, weight)
        return ir.passes.PassResult(model, modified=bool(places))

    def _replace(self, node: ir.Node, position: int, plan: WeightPlan) -> None:
        graph, write, name = node.graph, self._write, plan.tensor
        x, weight, bias = (*node.inputs, None)[:3]
        assert isinstance(graph, ir.Graph) and x is not None and weight is not None
        made = list[ir.Node]()

        def then(op: str, inputs: list[ir.Value], what: str) -> ir.Value:
            made.append(write.node(op, inputs, f"{node.name}_{what}"))
            return made[-1].outputs[0]

        xq, x_scale, x_zero = self._measure(x)
        params = plan.params
        codes = write.constant(f"{name}_q", plan.stored(array(weight)), params.type)
        byte = replace(params, type=IntType(8, params.type.signed))
        if params.type.container < 8:  # the product takes bytes; the runtime widens at load
            made.append(write.cast(codes, onnx_type(byte.type), f"{name}_cast"))
            codes = made[-1].outputs[0]
        w_scale, *w_zero = write.params(name, byte)
        product = then("MatMulInteger", [xq, codes, x_zero, *w_zero], "integer")
        made.append(write.cast(product, ir.DataType.FLOAT, f"{node.name}_cast"))
        product = made[-1].outputs[0]
        scale = then("Mul", [x_scale, w_scale], "scale")
        result = then("Mul", [product, scale], "scaled")
        if bias is not None:
            result = then("Add", [result, bias], "bias")
        graph.insert_before(node, made)
        write.take_place(node, result)
        drop_unused(graph, weight)

    def _measure(self, x: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Codes, scale and zero point of an activation."""
        if x not in self._measured:
            outputs = [ir.Value(name=self._write.name(f"{x.name}_{s}")) for s in ("q", "qs", "qz")]
            name = self._write.name(f"{x.name}_measured")
            node = mark_made(ir.node("DynamicQuantizeLinear", [x], outputs=outputs, name=name))
            insert_behind(self._write.graph, x, [node])
            self._measured[x] = node
        codes, scale, zero = self._measured[x].outputs
        return codes, scale, zero
