"""What keeps the runtime from optimizing what it would spoil: float layers between integers above
all.

    q -> DQ(s) -> Conv -> (Relu) -> Q  =>  q -> DQ([s, s, …], axis) -> Conv -> (Relu) -> Q

The same function. Of the left one the runtime (WeightBiasQuantization, for every device that it
serves) makes an integer layer: constant float weights get 8 bits and one scale for all of them,
which nobody asked for, and where there is no integer kernel they are restored on every run. It does
so where what the layer reads has one scale, and lets a vector pass; that takes no longer to
restore.
Weights behind DequantizeLinear are left: in integers they are what the plan says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import onnx_ir as ir

from qtool.ops import OPS, attribute, weights_of
from qtool.plan.plan import Plan, TensorPlan
from qtool.target import UNPACKED, Target

Use = tuple[str, int]  # node name, input position
Guard = tuple[int, int]  # axis, and how long it is


def guards(model: ir.Model, plan: Plan, target: Target) -> dict[Use, Guard]:
    """Who reads a quantized tensor with a scale for each index of an axis, all of them equal."""
    found: dict[Use, Guard] = {}
    for node in model.graph.all_nodes():
        if node.domain != "" or node.op_type not in target.needs_guard:
            continue
        if not _is_float(node, plan) or _is_matmul(node):
            continue
        if _is_quantized(node.outputs[0], plan):
            reader = _restoring(node, plan)
            axis = None if reader is None else next(_axes(node, reader), None)
            if reader is not None and axis is not None:
                found[reader.name or "", 0] = axis
    return found


def moved(model: ir.Model, plan: Plan) -> dict[str, TensorPlan]:
    """What becomes of quantized values where a node only moves them, and nothing quantizes behind
    it: the same codes again. onnxruntime 1.31 would quantize there itself. Cases:

    1. signed bytes: from opset 21 on it does so as int8, makes uint8 of that and cannot load it
    2. what a body reads: it looks for that among the inputs of If or Loop, and the process ends
    """
    found: dict[str, TensorPlan] = {}
    for node in model.graph.all_nodes():
        spec, value = OPS.get(node.op_type), node.inputs[0] if node.inputs else None
        if node.domain != "" or spec is None or not spec.shares or value is None:
            continue
        name, use, result = value.name or "", (node.name or "", 0), node.outputs[0]
        tensor = plan.activations.get(name, found.get(name))
        if tensor is None or use in plan.guarded or len(node.outputs) > 1:
            continue
        signed = tensor.params.type.onnx_name == "int8"  # 1
        inside = any(reader.graph is not node.graph for reader, _ in result.uses())  # 2
        reads = tensor.readers is None or use in tensor.readers
        if reads and (signed or inside) and (result.name or "") not in plan.activations:
            found[result.name or ""] = replace(tensor, readers=None)
    return found


def _is_float(node: ir.Node, plan: Plan) -> bool:
    """Whether the weights are constant, and floats once the runtime has loaded them."""
    name, weights = node.name or "", weights_of(node)
    planned = [plan.weights.get((name, position)) for position, _ in weights]
    return bool(weights) and all(w is None or w.encoding in UNPACKED for w in planned)


def _is_matmul(node: ir.Node) -> bool:
    """Whether a Gemm becomes MatMul where it is float (`raise_matmul`), which is left alone."""
    given = [value for value in node.inputs if value is not None]
    return node.op_type == "Gemm" and len(given) == 2 and not node.attributes


def _is_quantized(value: ir.Value, plan: Plan) -> bool:
    """Whether only a QuantizeLinear reads the value, through what clamps it, or moves it, since the
    runtime quantizes before that. A graph's output is no reader to the runtime."""
    uses = tuple(value.uses())
    if (tensor := plan.activations.get(value.name or "")) is not None:
        readers = tensor.readers
        return readers is None or all((use.node.name, use.idx) in readers for use in uses)
    if len(uses) != 1:
        return False
    passes = uses[0].idx == 0 and _passes(uses[0].node)
    return passes and _is_quantized(uses[0].node.outputs[0], plan)


def _passes(node: ir.Node) -> bool:
    spec = OPS.get(node.op_type) if node.domain == "" else None
    return spec is not None and (spec.clamps or spec.shares) and len(node.outputs) == 1


def _restoring(node: ir.Node, plan: Plan) -> ir.Node | None:
    """Who reads what was quantized, of the node and those that only move it there; None if none.

    Of a tensor whose float form is left, others than the readers that are named read that."""
    reader: ir.Node | None = node
    while reader is not None and reader.inputs and (value := reader.inputs[0]) is not None:
        tensor = plan.activations.get(value.name or "")
        if tensor and (tensor.readers is None or (reader.name, 0) in tensor.readers):
            return reader
        producer = value.producer()
        moves = producer is not None and producer.domain == "" and producer.op_type in OPS
        reader = producer if moves and producer and OPS[producer.op_type].shares else None
    return None


def _axes(node: ir.Node, reader: ir.Node) -> Iterator[Guard]:
    """(axis, length) of what the reader reads, where it is known and not 1; the best one first: a
    vector of one entry counts as one scale, and restoring takes long runs fastest."""
    value, (position, weight), *_ = reader.inputs[0], *weights_of(node)
    contracted = OPS[node.op_type].contracted
    assert value is not None and weight.shape is not None and contracted is not None
    if reader is node and position == 1 and not attribute(node, "transA", 0):
        inputs = weight.shape.numpy()[contracted(node)]
        groups = attribute(node, "group", 1) if node.op_type == "Conv" else 1
        if inputs * groups > 1:
            yield 1, inputs * groups
    known = list(enumerate(value.shape or ()))
    for axis, length in (*known[1:], *known[:1]):
        if isinstance(length, int) and length > 1:
            yield axis, length
