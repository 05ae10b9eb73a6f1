"""Products in integers, of activations that are measured on every run or lie in integers.

DequantizeLinear of what DynamicQuantizeLinear gave goes afterwards, so that x stays.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from qtool.ops import constant
from qtool.passes.dequantize.codes import MOVES
from qtool.passes.dequantize.maker import Maker, inputs_of, put
from qtool.passes.edit import array, only_reader


# matmul(dq(a, as, az), dq(b, bs, bz)) + bias
def _to_float(node: ir.Node, make: Maker) -> ir.Value:
    a, b, a_scale, b_scale, a_zero, b_zero, bias = inputs_of(node, 7)
    left = make.dequantized(a, a_scale, a_zero, axis=-2)
    return _plus(
        make, make.like("MatMul", [left, make.dequantized(b, b_scale, b_zero, axis=-1)]), bias
    )


# matmul(x, dq(b, bs, bz)) + bias
def _measuring(node: ir.Node, make: Maker) -> ir.Value:
    x, b, b_scale, b_zero, bias = inputs_of(node, 5)
    product = make.like("MatMul", [x, make.dequantized(b, b_scale, b_zero, axis=-1)])
    return _plus(make, product, bias)


def _plus(make: Maker, value: ir.Value, bias: ir.Value | None) -> ir.Value:
    if bias is None:
        return value
    made = make.node("Add", [value, bias], f"{value.name}_bias")
    made.type = value.type
    return made


# cast(matmul_integer(xq, W, xz, wz)) * (xs * c)  =>  matmul(dq(xq, xs, xz), dq(W, c, wz))
#     where c does not fit W                      =>  matmul(dq(xq, xs, xz), dq(W, 1, wz)) * c
# The same with conv_integer. `xs` belongs to the DynamicQuantizeLinear that gave `xz`, or to what
# else gave or reads xq; the factors may come in one product or one by one.
def lower_product(node: ir.Node, make: Maker, op: str) -> None:
    """Put the float product in the place of the last factor that belongs to it."""
    left, right, left_zero, right_zero = inputs_of(node, 4)
    assert left is not None and right is not None
    measured = {s for s in (_measured(left_zero), _measured(right_zero)) if s is not None}
    end, factors = _scaled(node, make, set(measured))
    operands = ((left, left_zero), (right, right_zero))
    scales = [None if constant(v) is not None else _scale_of(v, zero) for v, zero in operands]
    fixed, others = np.ones((), np.float32), list[ir.Value]()
    for factor in factors:
        if constant(factor) is None:
            others.append(factor)
        else:
            fixed = fixed * array(factor)
    for scale in scales:
        if scale is not None and scale not in measured:
            fixed = fixed / array(scale)
    weight = constant(right) is not None
    folded = weight and _fits(fixed, op, len(array(right).shape) if weight else 0)
    make.at = end
    one = make.constant(np.ones((), np.float32), f"{node.name}_one")
    if folded:
        shape = () if fixed.size == 1 else (-1,)
        scales[1] = make.constant(fixed.reshape(shape), f"{node.name}_scale")
    axis = -1 if op == "MatMul" else 0
    inputs: list[ir.Value | None] = [
        make.dequantized(codes, scale or one, zero, axis=axis)
        for (codes, zero), scale in zip(operands, scales, strict=True)
    ]
    result = make.node(op, inputs, f"{node.name}_real", node.attributes)
    result.type = ir.TensorType(ir.DataType.FLOAT)
    make.keep_name(node, result)
    if not folded and (fixed != 1).any():
        others.append(make.constant(fixed, f"{node.name}_scale"))
    for factor in others:
        result = make.node("Mul", [result, factor], f"{node.name}_scaled")
        result.type = ir.TensorType(ir.DataType.FLOAT)
    put(end.outputs[0], result, make)


def _measured(zero: ir.Value | None) -> ir.Value | None:
    """The scale that was measured together with the zero point."""
    producer = zero.producer() if zero is not None else None
    if producer is None or producer.op_type != "DynamicQuantizeLinear":
        return None
    return producer.outputs[1]


def _scale_of(codes: ir.Value, zero: ir.Value | None) -> ir.Value | None:
    """The scale of computed codes: measured, that of who gave them, or of who else reads them."""
    measured = _measured(zero)
    if measured is not None:
        return measured
    value: ir.Value | None = codes
    while value is not None:
        producer = value.producer()
        known = [use.node for use in value.uses() if use.node.op_type == "DequantizeLinear"]
        if producer is not None and producer.op_type == "QuantizeLinear":
            known.append(producer)
        for node in known:
            scale, other = (*node.inputs[1:3], None)[:2]
            if constant(scale) is not None and array(scale).size == 1 and _equal(zero, other):
                return scale
        moves = producer is not None and producer.op_type in MOVES
        value = producer.inputs[0] if producer is not None and moves else None
    return None


def _equal(one: ir.Value | None, other: ir.Value | None) -> bool:
    if one is None or other is None:
        return one is other
    both = constant(one) is not None and constant(other) is not None
    return one is other or (both and bool((array(one) == array(other)).all()))


def _scaled(node: ir.Node, make: Maker, needed: set[ir.Value]) -> tuple[ir.Node, list[ir.Value]]:
    """The node behind which all scales are applied, and what else was multiplied until there."""
    why = "its product is not multiplied with the scale that was measured"
    cast = only_reader(node.outputs[0])
    if cast is None or cast.op_type != "Cast":
        raise make.refuse(why)
    end, others = cast, list[ir.Value]()
    while True:
        last = end.outputs[0]
        reader = only_reader(last)
        if reader is None or reader.op_type != "Mul":
            break
        factors = _factors(next((v for v in reader.inputs if v is not last), None))
        if not needed and any(constant(v) is None for v in factors):
            break
        others += [v for v in factors if v not in needed]
        needed -= set(factors)
        end = reader
    if needed:
        raise make.refuse(why)
    return end, others


def _factors(value: ir.Value | None) -> list[ir.Value]:
    """What is multiplied to give the value; itself if it is no product."""
    found, stack = list[ir.Value](), [value]
    while stack:
        current = stack.pop()
        producer = current.producer() if current is not None else None
        if producer is not None and producer.op_type == "Mul" and producer.domain == "":
            stack += producer.inputs
        elif current is not None:
            found.append(current)
    return found


def _fits(factor: np.ndarray, op: str, rank: int) -> bool:
    """Whether a factor of the product can be one of the weight's, per output channel."""
    if factor.size == 1:
        return True
    if op == "MatMul":  # (.., 1, N)
        return bool(factor.shape[-1] == factor.size)
    channels = rank - 2  # (1, C, 1, ..) or (C, 1, ..)
    return factor.ndim > channels and all(n == 1 for n in factor.shape[-channels:])


PRODUCTS: dict[str, Callable[[ir.Node, Maker], ir.Value]] = {
    "MatMulIntegerToFloat": _to_float,
    "DynamicQuantizeMatMul": _measuring,
}
INTEGER = {"MatMulInteger": "MatMul", "ConvInteger": "Conv"}
