"""Other ways to write what has an integer kernel.

sub(x, c)              => add(x, -c)
div(x, c)              => mul(x, 1/c)              c finite, and not 0; nothing rounds it: 7/7 is 1
sum(x, y, z)           => add(add(x, y), z)
reduce_mean(x, 2, 3)   => global_average_pool(x)   with the axes taken away where they are not kept
global_max_pool(x)     => reduce_max(x, 2, 3)
matmul(x, W) + y       => gemm(x, W) + y           x of rank 2

Exporters choose between them without meaning anything by it. Of the last the runtime would make one
float Gemm before it looks for integers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from qtool import model as models
from qtool.ops import attribute, constant, weight_of
from qtool.passes.edit import Around, array, is_float

# made by one of these, a tensor of rank 3 has channels and one spatial axis; else they may as well
# be the words of a text
_SPATIAL = {"AveragePool", "BatchNormalization", "Clip", "Conv", "LeakyRelu", "MaxPool", "Relu"}

_ROUNDS = {"Ceil", "Equal", "Floor", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mod",
           "Round"}  # fmt: skip
_ELEMENTWISE = {"Abs", "Add", "Cast", "Clip", "Div", "Exp", "Log", "Max", "Min", "Mul", "Neg",
                "Pow", "Relu", "Sqrt", "Sub", "Where"}  # fmt: skip

# of what the runtime has averages of whole planes; ReduceMean takes integers too
_POOLED = {ir.DataType.FLOAT, ir.DataType.FLOAT16}


class Lower(ir.passes.InPlacePass):
    """Write operators as others, of the same function, that run in integers."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self.opset = models.opset(model)
        self.around = Around(model.graph)
        changed = False
        for node in list(model.graph.all_nodes()):
            if node.domain == "" and node.op_type in _LAWS:
                changed |= _LAWS[node.op_type](self, node)
        return ir.passes.PassResult(model, modified=changed)

    def subtract(self, node: ir.Node) -> bool:
        return self._arithmetic(node, "Add", np.negative)

    def divide(self, node: ir.Node) -> bool:
        return self._arithmetic(node, "Mul", np.reciprocal)

    def _arithmetic(
        self, node: ir.Node, operator: str, turn: Callable[[np.ndarray], np.ndarray]
    ) -> bool:
        value, by = node.inputs[0], node.inputs[1]
        if value is None or constant(value) is not None or constant(by) is None:
            return False
        producer, result = value.producer(), node.outputs[0]
        # The runtime knows Gelu, and the scores of an attention, by their Div.
        scores = producer is not None and producer.op_type == "MatMul"
        if scores or any(use.node.op_type == "Erf" for use in result.uses()):
            return False
        with np.errstate(all="ignore"):
            turned = turn(array(by))
        if operator == "Mul" and _is_rounded(result):
            return False
        # In 16 bits the reciprocal is not the same function any more.
        if turned.dtype not in (np.float32, np.float64) or not np.isfinite(turned).all():
            return False
        node.replace_input_with(1, self.around.constant(node, turned))
        node.op_type = operator
        return True

    def add_up(self, node: ir.Node) -> bool:
        first, *others = node.inputs
        if not others or any(v is None or v.type is None for v in node.inputs):
            return False
        for value in others[:-1]:
            made = self.around.before(node, "Add", [first, value]).outputs[0]
            made.type = node.outputs[0].type
            first = made
        node.resize_inputs(2)
        node.replace_input_with(0, first)
        node.replace_input_with(1, others[-1])
        node.op_type = "Add"
        return True

    def average(self, node: ir.Node) -> bool:
        """Cases: the axes are an input (opset 18), an attribute, or all."""
        value = node.inputs[0]
        if value is None or value.shape is None or len(value.shape) < 3:
            return False
        if value.dtype not in _POOLED:
            return False
        rank, producer = len(value.shape), value.producer()
        if rank == 3 and (producer is None or producer.op_type not in _SPATIAL):
            return False
        # x minus its mean begins a layer norm, which the runtime knows by its ReduceMean.
        if any(value in use.node.inputs for use in node.outputs[0].uses()):
            return False
        axes = _axes(node)
        if axes is None or {axis % rank for axis in axes} != set(range(2, rank)):
            return False
        kept = attribute(node, "keepdims", 1)
        node.resize_inputs(1)
        node.attributes.clear()
        node.op_type = "GlobalAveragePool"
        if not kept:
            pooled = self.around.before(node, "GlobalAveragePool", [value]).outputs[0]
            pooled.type = value.type
            pooled.shape = ir.Shape([*value.shape[:2], *[1] * (rank - 2)])
            node.replace_input_with(0, pooled)
            node.op_type = "Squeeze"
            node.resize_inputs(2)
            node.replace_input_with(1, self.around.constant(node, np.arange(2, rank)))
        return True

    def greatest(self, node: ir.Node) -> bool:
        value = node.inputs[0]
        if value is None or value.shape is None or len(value.shape) < 3:
            return False
        axes = np.arange(2, len(value.shape))
        node.op_type = "ReduceMax"
        if self.opset < 18:
            node.attributes["axes"] = ir.AttrInt64s("axes", axes.tolist())
        else:
            node.resize_inputs(2)
            node.replace_input_with(1, self.around.constant(node, axes))
        return True

    def multiply(self, node: ir.Node) -> bool:
        """Where `fold_bias` does not do so, since y is no bias."""
        value, weight, readers = node.inputs[0], weight_of(node), tuple(node.outputs[0].uses())
        flat = value is not None and value.shape is not None and len(value.shape) == 2
        if not flat or weight is None or array(weight).ndim != 2 or not is_float(array(weight)):
            return False
        if [use.node.op_type for use in readers] != ["Add"]:
            return False
        if any(constant(each) is not None for each in readers[0].node.inputs):
            return False
        node.op_type = "Gemm"
        return True


def _is_rounded(value: ir.Value) -> bool:
    """Whether its last bit may decide about a whole number, at once or behind more arithmetic."""
    stack, seen = [value], {value}
    while stack:
        for node in {use.node for use in stack.pop().uses()}:
            to = node.attributes.get("to") if node.op_type == "Cast" else None
            if to is not None and not ir.DataType(to.as_int()).is_floating_point():
                return True
            if node.op_type in _ROUNDS:
                return True
            if node.op_type in _ELEMENTWISE:
                stack += [made for made in node.outputs if made not in seen]
                seen.update(node.outputs)
    return False


def _axes(node: ir.Node) -> list[int] | None:
    """The axes of a reduction; None where they are computed, or all."""
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        return None if constant(node.inputs[1]) is None else array(node.inputs[1]).tolist()
    given = node.attributes.get("axes")
    return None if given is None else list(given.as_ints())


_LAWS = {
    "Div": Lower.divide,
    "GlobalMaxPool": Lower.greatest,
    "MatMul": Lower.multiply,
    "ReduceMean": Lower.average,
    "Sub": Lower.subtract,
    "Sum": Lower.add_up,
}
