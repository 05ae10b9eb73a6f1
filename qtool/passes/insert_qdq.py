"""The rewrite: carries out a plan, and decides nothing.

activation  x -> QuantizeLinear -> DequantizeLinear -> the readers that the plan names
weight      W -> integers -> DequantizeLinear -> its node
            (or Cast -> DequantizeLinear, or Cast -> Mul)
bias        b -> int32    -> DequantizeLinear -> its node
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.numeric.affine import QParams, quantize
from qtool.numeric.granularity import PerBlock, PerChannel
from qtool.numeric.scheme import Scheme
from qtool.numeric.types import IntType
from qtool.passes.edit import add_initializer, array, fresh, names
from qtool.plan.plan import Plan, TensorPlan, WeightPlan

_NUMPY = {
    "int2": ml_dtypes.int2, "uint2": ml_dtypes.uint2,
    "int4": ml_dtypes.int4, "uint4": ml_dtypes.uint4,
}  # fmt: skip


def least_opset_of(scheme: Scheme) -> int:
    """The first opset whose QuantizeLinear and DequantizeLinear know the types and blocks."""
    containers = {scheme.weight.type.container}
    if scheme.activation is not None:
        containers.add(scheme.activation.type.container)
    if 2 in containers:
        return 25
    return 21 if containers & {4, 16} or scheme.weight.block else 13


class InsertQDQ(ir.passes.InPlacePass):
    """Write the Q/DQ nodes of a plan into a prepared model."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self._made: dict[tuple[str, bytes, str], ir.Value] = {}

    def requires(self, model: ir.Model) -> None:
        """Every node and value has a name of its own: the plan refers to them by it."""
        found = [node.name for node in model.graph]
        if len(set(found)) != len(found):
            raise ir.passes.PreconditionError("node names are not unique")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        self._graph, self._taken = graph, names(graph)
        self._made.clear()
        nodes = {node.name or "": node for node in graph}
        values = {v.name: v for node in graph for v in node.outputs}
        values |= {v.name: v for v in graph.inputs}
        for (name, position), weight in self.plan.weights.items():
            self._constant(nodes[name], position, weight)
        for (name, position), bias in self.plan.biases.items():
            self._constant(nodes[name], position, bias)
        for name, tensor in self.plan.activations.items():
            self._activation(values[name], tensor)
        return ir.passes.PassResult(model, modified=True)

    def _activation(self, value: ir.Value, tensor: TensorPlan) -> None:
        # Taken before Q is made: its own reading of the value must stay.
        uses = sorted(value.uses(), key=lambda use: (use.node.name or "", use.idx))
        is_output = tensor.readers is None and value.is_graph_output()
        params = self._params(value.name or "", tensor.params, keep_zero=True)
        quantized = self._node("QuantizeLinear", [value, *params], {}, f"{value.name}_q")
        restored = self._node(
            "DequantizeLinear", [quantized.outputs[0], *params], {}, f"{value.name}_dq"
        )
        producer = value.producer()
        if producer is None:
            first = next(iter(self._graph))
            self._graph.insert_before(first, [quantized, restored])
        else:
            self._graph.insert_after(producer, [quantized, restored])
        out = restored.outputs[0]
        out.type, out.shape = value.type, value.shape
        for node, position in uses:
            if tensor.readers is None or (node.name, position) in tensor.readers:
                node.replace_input_with(position, out)
        if is_output:  # the name of a graph output is a promise: the last value bears it
            index = list(self._graph.outputs).index(value)
            name, value.name = value.name, fresh(f"{value.name}_float", self._taken)
            self._graph.outputs[index] = out
            out.name = name

    def _constant(self, node: ir.Node, position: int, plan: WeightPlan) -> None:
        value = node.inputs[position]
        assert value is not None
        codes = quantize(array(value), plan.params)
        stored = self._shared(f"{plan.tensor}_q", codes, plan.params.type)
        if plan.encoding == "cast-mul":
            outputs = self._cast_mul(plan, stored)
        else:
            outputs = self._dequantize(plan, stored)
        self._graph.insert_before(node, outputs)
        result = outputs[-1].outputs[0]
        result.type, result.shape = value.type, value.shape
        node.replace_input_with(position, result)
        if not value.uses() and not value.is_graph_output():
            del self._graph.initializers[value.name or ""]

    def _dequantize(self, plan: WeightPlan, stored: ir.Value) -> list[ir.Node]:
        """DequantizeLinear, behind a Cast to 8 bits where the kernels take no narrower codes."""
        nodes, params = [], plan.params
        if plan.encoding == "cast-dq":
            params = replace(params, type=IntType(8, params.type.signed))
            to = {"to": int(ir.DataType[params.type.onnx_name.upper()])}
            nodes.append(self._node("Cast", [stored], to, f"{plan.tensor}_cast"))
            stored = nodes[0].outputs[0]
        inputs = [stored, *self._params(plan.tensor, params, keep_zero=plan.zero_point)]
        name = f"{plan.tensor}_dq"
        return [*nodes, self._node("DequantizeLinear", inputs, _attributes(params), name)]

    def _cast_mul(self, plan: WeightPlan, stored: ir.Value) -> list[ir.Node]:
        """(cast(q) - zero_point) * scale, which the runtime folds once, when it loads."""
        to = {"to": int(ir.DataType.FLOAT)}
        nodes = [self._node("Cast", [stored], to, f"{plan.tensor}_cast")]
        if not plan.params.symmetric:
            zero = plan.params.zero_point.astype(np.float32)
            name = fresh(f"{plan.tensor}_zero_point", self._taken)
            shift = add_initializer(self._graph, name, zero)
            nodes.append(
                self._node("Sub", [nodes[-1].outputs[0], shift], {}, f"{plan.tensor}_shift")
            )
        name = fresh(f"{plan.tensor}_scale", self._taken)
        scale = add_initializer(self._graph, name, plan.params.scale)
        nodes.append(self._node("Mul", [nodes[-1].outputs[0], scale], {}, f"{plan.tensor}_dq"))
        return nodes

    def _params(self, name: str, params: QParams, *, keep_zero: bool = False) -> list[ir.Value]:
        """Scale and zero point as initializers; equal ones exist once.

        A constant's zero point of 0 is the default of DequantizeLinear, so it is left out to keep
        the file small, unless the target's fusion looks for it.
        """
        scale = _onnx_shape(params.scale, params)
        values = [self._shared(f"{name}_scale", scale.astype(np.float32), None)]
        if keep_zero or params.zero_point.any():
            zero = _onnx_shape(params.zero_point, params)
            values.append(self._shared(f"{name}_zero_point", zero, params.type))
        return values

    def _shared(self, name: str, values: NDArray[Any], kind: IntType | None) -> ir.Value:
        """The initializer of these values, made once: also for a weight that two nodes read."""
        content = hashlib.sha256(values.tobytes()).digest()
        key = (str(kind), content, str(values.shape))
        if key not in self._made:
            self._made[key] = self._initializer(name, values, kind)
        return self._made[key]

    def _initializer(self, name: str, values: NDArray[Any], kind: IntType | None) -> ir.Value:
        tensor: Any = values
        if kind is not None:
            dtype = _NUMPY.get(kind.onnx_name, kind.onnx_name)
            tensor = ir.tensor(values.astype(dtype), dtype=ir.DataType[kind.onnx_name.upper()])
        return add_initializer(self._graph, fresh(name, self._taken), tensor)

    def _node(
        self, op: str, inputs: list[ir.Value], attributes: dict[str, int], name: str
    ) -> ir.Node:
        name = fresh(name, self._taken)
        node = ir.node(op, inputs, attributes=attributes, name=name)
        node.outputs[0].name = name
        return node


def _onnx_shape(values: NDArray[Any], params: QParams) -> NDArray[Any]:
    """The grid as ONNX wants it: one axis per channel, all axes per block, none per tensor."""
    return values.reshape(-1) if isinstance(params.granularity, PerChannel) else values


def _attributes(params: QParams) -> dict[str, int]:
    if isinstance(params.granularity, PerChannel):
        return {"axis": params.granularity.axis}
    if isinstance(params.granularity, PerBlock):
        return {"axis": params.granularity.axis, "block_size": params.granularity.size}
    return {}
