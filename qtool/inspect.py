"""What is in a model: operators, weights, what can be quantized and what not, and how it runs."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from qtool import model as models
from qtool.classical import DOMAIN
from qtool.ops import OPS, bytes_of
from qtool.runtime import Session

# onnxruntime's kernels that compute in integers, as they appear in an optimized graph
_INTEGER = {
    "QGemm", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits", "ConvInteger",
    "GatherBlockQuantized",
    "MatMulInteger", "DynamicQuantizeLSTM", "QAttention", "NhwcMaxPool",
}  # fmt: skip
_MOVERS = {name for name, spec in OPS.items() if spec.shares} | {"NhwcMaxPool"}
_CONVERT = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}


@dataclass(frozen=True)
class Contents:
    """A model at a glance; sizes in bytes."""

    opset: int
    ir_version: int
    producer: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: dict[str, int]
    parameters: int
    weight_bytes: dict[str, int] = field(default_factory=dict)  # by type


@dataclass(frozen=True)
class Running:
    """The graph as the runtime will run it: operator -> how often, in integers or in float."""

    integer: dict[str, int]
    floating: dict[str, int]
    conversions: dict[str, int]


def contents(path: Path) -> Contents:
    """Read a model's contents without running it."""
    model = models.load(path)
    signature = models.signature(model)
    weights: Counter[str] = Counter()
    parameters = 0
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                weights[value.const_value.dtype.name.lower()] += bytes_of(value.const_value)
                parameters += value.const_value.size
    for node in model.graph.all_nodes():  # what classical models have learned
        lists = (a for a in node.attributes.values() if a.type is ir.AttributeType.FLOATS)
        for attr in lists if node.domain == DOMAIN else ():
            parameters += len(attr.as_floats())
            weights["float"] += 4 * len(attr.as_floats())
    operators = Counter(
        f"{n.domain}.{n.op_type}" if n.domain else n.op_type for n in model.graph.all_nodes()
    )
    return Contents(
        models.opset(model),
        model.ir_version,
        " ".join(filter(None, (model.producer_name, model.producer_version))),
        tuple(map(str, signature.inputs)),
        tuple(map(str, signature.outputs)),
        dict(operators.most_common()),
        parameters,
        dict(weights.most_common()),
    )


def running(path: Path) -> Running:
    """Let the runtime optimize the model, and look at the graph that is left.

    Raises:
        ModelError: the runtime cannot load it.
    """
    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        Session(path, optimized=optimized)
        graph = models.load(optimized).graph
    integer: Counter[str] = Counter()
    floating: Counter[str] = Counter()
    conversions: Counter[str] = Counter()
    # Values that are integers standing for reals. The optimized graph names no types but those of
    # constants: an operator of reals that is given codes works on codes, and a mover gives codes.
    codes: set[ir.Value | None] = {
        value
        for part in (graph, *graph.subgraphs())
        for value in part.initializers.values()
        if value.dtype in (ir.DataType.UINT8, ir.DataType.INT8)
    }
    for node in graph.all_nodes():
        known = node.op_type in OPS or node.op_type in _MOVERS
        on_codes = known and bool(node.inputs) and node.inputs[0] in codes
        moves = node.op_type in _MOVERS and on_codes
        if node.op_type in _CONVERT:
            conversions[node.op_type] += 1
        elif on_codes or node.op_type in _INTEGER or node.op_type.startswith("QLinear"):
            integer[node.op_type] += 1
        else:
            floating[node.op_type] += 1
        # Without a scale for its result QGemm gives floats.
        product = node.op_type == "QGemm" and len(node.inputs) > 7 and node.inputs[7] is not None
        given = node.op_type == "QuantizeLinear" or node.op_type.startswith("QLinear")
        clipped = node.op_type == "Clip" and on_codes
        if moves or clipped or product or given:
            codes.update(node.outputs)
    return Running(
        dict(integer.most_common()), dict(floating.most_common()), dict(conversions.most_common())
    )
