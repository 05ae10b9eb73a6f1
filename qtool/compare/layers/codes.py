"""Where integers stand for real numbers in a quantized graph, and which numbers they can hold.

real = (code - zero point) * scale
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.numeric.types import IntType
from qtool.ops import OPS, constant

Values = Mapping[str, ir.Value]


@dataclass(frozen=True)
class Codes:
    """What the integers of one value mean; scale and zero point are names of values. `ends` are the
    lowest and the highest, where those are not the type's."""

    scale: str
    zero: str = ""
    axis: int | None = None
    block: int = 0
    type: ir.DataType = ir.DataType.UINT8
    ends: tuple[int, int] | None = None


def codes_of(node: ir.Node, known: Mapping[str, Codes]) -> Codes | None:
    """What the integers that a node gives mean; None where it gives none that are known."""
    where = _GIVES.get((node.domain, node.op_type))
    if where is not None:
        scale, zero = (_name(node, position) for position in where)
        if not scale:
            return None  # QGemm without them gives floats
        return Codes(scale, zero, *_grid(node), _type(node, where[1]))
    first = node.inputs[0] if node.inputs else None
    codes = known.get(first.name or "") if first is not None else None
    if codes is not None and clips_codes(node):
        ends = [fixed(value) for value in node.inputs[1:3]]
        known_ends = [int(end.reshape(-1)[0]) for end in ends if end is not None]
        return (
            replace(codes, ends=(known_ends[0], known_ends[1])) if len(known_ends) == 2 else codes
        )
    return codes if moves(node) else None


def moves(node: ir.Node) -> bool:
    """Whether the values that the node gives are values that it takes first."""
    spec = OPS.get(node.op_type)
    return spec is not None and spec.shares and node.domain == ""


def is_step(node: ir.Node | None) -> bool:
    """Whether the node only turns a value into another form of itself."""
    return node is not None and (
        node.op_type in ("QuantizeLinear", "DequantizeLinear")
        or _is_float_cast(node)
        or clips_codes(node)
    )


def clips_codes(node: ir.Node) -> bool:
    """Whether the node leaves out some of the codes that a quantizer gives."""
    maker = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    return node.op_type == "Clip" and maker is not None and maker.op_type == "QuantizeLinear"


def _is_float_cast(node: ir.Node) -> bool:
    source = node.inputs[0] if node.op_type == "Cast" and node.inputs else None
    if source is None or source.dtype is None or node.outputs[0].dtype is None:
        return False
    return source.dtype.is_floating_point() and node.outputs[0].dtype.is_floating_point()


def same(left: Codes, right: Codes, values: Values) -> bool:
    """Whether both mean the same: equal names or equal constants."""
    if (left.axis, left.block, left.type) != (right.axis, right.block, right.type):
        return False
    pairs = ((left.scale, right.scale), (left.zero, right.zero))
    return all(one == other or _equal(values, one, other) for one, other in pairs)


def bounds(codes: Codes, values: Values, rank: int) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Beyond which numbers the integers are clipped; None where that is not known or not constant.

    Per channel, they broadcast over a tensor of that rank.
    """
    scale, zero = (fixed(values.get(name)) for name in (codes.scale, codes.zero))
    if scale is None or codes.block or (codes.zero and zero is None):
        return None
    if codes.type not in _INTEGERS:
        return None
    kind, at = _INTEGERS[codes.type], np.float64(0) if zero is None else zero.astype(np.float64)
    # A code's cell reaches half a step beyond it:  (q ± 1/2 - z) s
    least, most = codes.ends or (kind.minimum, kind.maximum)
    ends = [(end - at) * scale.astype(np.float64) for end in (least - 0.5, most + 0.5)]
    if scale.size == 1:
        return ends[0].reshape(()), ends[1].reshape(())
    if codes.axis is None or scale.ndim != 1:
        return None
    shape = [1] * rank
    shape[codes.axis] = -1
    return ends[0].reshape(shape), ends[1].reshape(shape)


def fixed(value: ir.Value | None) -> NDArray[Any] | None:
    """A constant's values, also behind a Cast; None for what is computed."""
    node = value.producer() if value is not None else None
    if node is not None and node.op_type == "Cast":
        return fixed(node.inputs[0])
    tensor = constant(value)
    return None if tensor is None else tensor.numpy()


def _equal(values: Values, one: str, other: str) -> bool:
    left, right = fixed(values.get(one)), fixed(values.get(other))
    return left is not None and right is not None and np.array_equal(left, right)


def _name(node: ir.Node, position: int) -> str:
    value = node.inputs[position] if position < len(node.inputs) else None
    return "" if value is None else value.name or ""


def _grid(node: ir.Node) -> tuple[int | None, int]:
    axis, block = (node.attributes.get(name) for name in ("axis", "block_size"))
    if node.op_type != "QuantizeLinear":
        return None, 0
    return 1 if axis is None else axis.as_int(), 0 if block is None else block.as_int()


def _type(node: ir.Node, position: int) -> ir.DataType:
    zero = node.inputs[position] if position < len(node.inputs) else None
    if zero is not None and zero.dtype is not None:
        return zero.dtype
    named = node.attributes.get("output_dtype")
    number = 0 if named is None else named.as_int()
    return ir.DataType(number) if number else ir.DataType.UINT8


_INTEGERS = {
    ir.DataType[kind.onnx_name.upper()]: kind
    for kind in (IntType(bits, signed) for bits in (2, 4, 8, 16, 32) for signed in (True, False))
}

_OURS = "com.microsoft"  # onnxruntime's own operators
# (domain, operator) -> positions of the scale and zero point of what it gives
_GIVES = {
    ("", "QuantizeLinear"): (1, 2),
    (_OURS, "QuantizeLinear"): (1, 2),
    ("", "QLinearConv"): (6, 7),
    (_OURS, "QLinearConv"): (6, 7),
    ("", "QLinearMatMul"): (6, 7),
    (_OURS, "QGemm"): (7, 8),
    (_OURS, "QLinearAdd"): (6, 7),
    (_OURS, "QLinearMul"): (6, 7),
    (_OURS, "QLinearWhere"): (7, 8),
    (_OURS, "QLinearConcat"): (0, 1),
    (_OURS, "QLinearAveragePool"): (3, 4),
    (_OURS, "QLinearGlobalAveragePool"): (3, 4),
    (_OURS, "QLinearLeakyRelu"): (3, 4),
    (_OURS, "QLinearReduceMean"): (3, 4),
    (_OURS, "QLinearSigmoid"): (3, 4),
    (_OURS, "QLinearSoftmax"): (3, 4),
}  # fmt: skip
