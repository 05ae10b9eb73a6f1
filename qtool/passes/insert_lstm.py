"""The rewrite of an LSTM in dynamic quantization: the runtime's own operator takes its place.

lstm(x, W, R, …) => DynamicQuantizeLSTM(x, Wq, Rq, …, ws, wz, rs, rz)

It measures x once, and what it hands on from step to step at each of them. Its weights lie turned:
(directions, inputs, gates x units). A scale belongs to a unit of a gate, (directions, gates x
units), where all zero points are 0; else scale and zero point belong to a direction.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.numeric.granularity import PerBlock
from qtool.numeric.types import IntType
from qtool.passes.edit import array, drop_unused
from qtool.passes.gather_blocks import CONTRIB
from qtool.passes.writer import Writer, mark_made, onnx_type
from qtool.plan.plan import Plan, WeightPlan

_SCALE = {1: 8, 2: 10}  # position of a weight -> that of its scale; the zero point's is the next
_INPUTS = 12


class InsertLSTM(ir.passes.InPlacePass):
    """Put DynamicQuantizeLSTM where a plan says "gates"."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = {node.name or "": node for node in model.graph.all_nodes()}
        places = [item for item in self.plan.weights.items() if item[1].encoding == "gates"]
        self._write = Writer(model.graph)
        for (name, position), weight in places:
            node = nodes[name]
            # Outputs, attributes and all other inputs are the operator's own.
            node.op_type, node.domain = "DynamicQuantizeLSTM", CONTRIB
            node.attributes.pop("layout", None)
            node.resize_inputs(_INPUTS)
            self._store(mark_made(node), position, weight)
            model.graph.opset_imports.setdefault(CONTRIB, 1)
        return ir.passes.PassResult(model, modified=bool(places))

    def _store(self, node: ir.Node, position: int, plan: WeightPlan) -> None:
        value, params, name = node.inputs[position], plan.params, plan.tensor
        assert value is not None and isinstance(node.graph, ir.Graph)
        directions = array(value).shape[0]

        def grid(values: NDArray[np.generic]) -> NDArray[np.generic]:
            if isinstance(params.granularity, PerBlock):
                return values.reshape(directions, -1)
            return np.broadcast_to(values.reshape(-1), directions)

        turned = plan.stored(array(value)).transpose(0, 2, 1)
        codes = self._write.constant(f"{name}_q", turned, params.type)
        byte = IntType(8, params.type.signed)
        if params.type.container < 8:  # the kernel takes bytes; the runtime widens at load
            cast = self._write.cast(codes, onnx_type(byte), f"{name}_cast")
            node.graph.insert_before(node, cast)
            codes = cast.outputs[0]
        scale = grid(params.scale.astype(np.float32))
        first = _SCALE[position]
        node.replace_input_with(position, codes)
        node.replace_input_with(first, self._write.constant(f"{name}_scale", scale))
        zero = grid(params.zero_point)
        node.replace_input_with(first + 1, self._write.constant(f"{name}_zero_point", zero, byte))
        drop_unused(self._write.graph, value)
