"""Whether a model is quantized already, and in which of three forms.

QDQ        integers between QuantizeLinear and DequantizeLinear, or weights alone behind
           DequantizeLinear, Cast -> Mul, or Cast -> Gather in a codebook
QOperator  operators that take and give integers, or weights packed as integers
dynamic    activations measured on every run

16-bit floats are no quantization: such a model is float.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

CODES = {
    ir.DataType[name] for name in
    ("INT2", "UINT2", "INT4", "UINT4", "INT8", "UINT8", "INT16", "UINT16")
}  # fmt: skip
QDQ = {"QuantizeLinear", "DequantizeLinear"}
DYNAMIC = {
    "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM",
    "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat",
}  # fmt: skip
QOPERATOR = {
    "QLinearConv", "QLinearMatMul",  # the standard's; the rest is the runtime's own
    *(
        f"QLinear{name}"
        for name in
        ("Add", "AveragePool", "Concat", "ConvTranspose", "GlobalAveragePool", "LeakyRelu", "Mul",
         "ReduceMean", "Sigmoid", "Softmax", "Where")
    ),
    *(
        f"QOrdered{name}"
        for name in
        ("Attention", "Gelu", "LayerNormalization", "LongformerAttention", "MatMul")
    ),
    "QAttention", "QEmbedLayerNormalization", "QGemm", "QMoE", "NhwcMaxPool",
    "GatherBlockQuantized", "MatMulNBits", "MatMulNBitsMlp", "MatMulNBitsQkv",
    "MatMulBlockQuantizedFp4Weight", "MatMulBlockQuantizedFp8Weight",
    "MatMulBnb4", "MatMulFpQ4", "MatMulInteger16", "MulInteger", "ReduceSumInteger",
    "QuantizeBFP", "DequantizeBFP", "QuantizeWithOrder", "DequantizeWithOrder",
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """How a model is quantized: one of "QDQ", "QOperator", "dynamic", and what shows it."""

    name: str
    operators: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}: it holds {', '.join(self.operators)}"


def kind_of(model: ir.Model) -> Kind | None:
    """How the model is quantized; None for a float model. Bodies and functions count."""
    nodes = list(_nodes(model))
    present = {node.op_type for node in nodes}
    shown = tuple(sorted(present & (QDQ | DYNAMIC | QOPERATOR)))
    for name, operators in (("dynamic", DYNAMIC), ("QOperator", QOPERATOR), ("QDQ", QDQ)):
        if present & operators:
            return Kind(name, shown)
    if any(_unpacks(node) for node in nodes):
        return Kind("QDQ", ("integer weights behind Cast -> Mul",))
    if any(_looks_up(node) for node in nodes):
        return Kind("QDQ", ("integer weights behind Cast -> Gather in a codebook",))
    return None


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.all_nodes()


def _unpacks(node: ir.Node) -> bool:
    """Whether the node is Cast in  codes -> (moved) -> Cast -> (Sub ->) Mul."""
    if not _casts_codes(node):
        return False
    readers = [use.node for use in node.outputs[0].uses()]
    readers += [use.node for r in readers if r.op_type == "Sub" for use in r.outputs[0].uses()]
    return any(reader.op_type == "Mul" for reader in readers)


def _looks_up(node: ir.Node) -> bool:
    """Whether the node is Cast in  codes -> (moved) -> Cast -> (Add ->) places in a book."""
    if not _casts_codes(node):
        return False
    uses = list(node.outputs[0].uses())
    uses += [more for u in uses if u.node.op_type == "Add" for more in u.node.outputs[0].uses()]
    return any(
        use.node.op_type == "Gather" and use.idx == 1 and _is_book(use.node.inputs[0])
        for use in uses
    )


def _is_book(value: ir.Value | None) -> bool:
    producer = None if value is None else value.producer()
    if producer is not None and producer.op_type == "Cast":
        value = producer.inputs[0]
    tensor = _tensor(value)
    return tensor is not None and len(tensor.shape) == 1 and tensor.dtype.is_floating_point()


def _casts_codes(node: ir.Node) -> bool:
    """Whether the node is Cast in  codes -> (moved) -> Cast."""
    if node.op_type != "Cast" or node.domain != "":
        return False
    codes = node.inputs[0]
    while codes is not None and (producer := codes.producer()) is not None:
        if producer.op_type not in ("Cast", "Gather", "Reshape", "Transpose"):
            break
        codes = producer.inputs[0]
    tensor = _tensor(codes)
    return tensor is not None and tensor.dtype in CODES and len(tensor.shape) >= 2


def _tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The constant that the value is, of an initializer or a Constant node."""
    if value is None:
        return None
    producer = value.producer()
    if producer is not None and producer.op_type == "Constant":
        attribute = producer.attributes.get("value")
        return attribute.as_tensor() if attribute is not None else None
    return value.const_value if value.is_initializer() else None
