"""Operators that take integers and give integers: each is its float operator between DQ and Q.

    qlinear_f(x, xs, xz, .., ys, yz)  =>  q(f(dq(x, xs, xz), ..), ys, yz)

The pairs of Q and DQ that come to lie between two of them go afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import onnx_ir as ir

from qtool.ops import attribute, constant
from qtool.passes.dequantize.maker import Maker, inputs_of
from qtool.passes.edit import array

Rule = Callable[[ir.Node, Maker], ir.Value]


# q(conv(dq(x, xs, xz), dq(w, ws, wz), dq(b, xs * ws)), ys, yz)
def _conv(node: ir.Node, make: Maker) -> ir.Value:
    x, xs, xz, w, ws, wz, ys, yz, b = inputs_of(node, 9)
    inputs = [
        _to_first(node, make, make.dequantized(x, xs, xz)),
        make.dequantized(w, ws, wz, axis=0),
    ]
    if b is not None:
        inputs.append(bias(make, b, xs, ws))
    real = make.like("Conv", list(inputs), without=("channels_last",))
    return make.quantized(_to_last(node, make, real), ys, yz)


# q(matmul(dq(a, as, az), dq(b, bs, bz)), ys, yz)      a scale per row of a, per column of b
def _matmul(node: ir.Node, make: Maker) -> ir.Value:
    a, a_scale, a_zero, b, b_scale, b_zero, ys, yz = inputs_of(node, 8)
    left = make.dequantized(a, a_scale, a_zero, axis=-2)
    right = make.dequantized(b, b_scale, b_zero, axis=-1)
    return make.quantized(make.like("MatMul", [left, right]), ys, yz)


# q(f(dq(a, as, az), dq(b, bs, bz)), ys, yz)
def _two(node: ir.Node, make: Maker, op: str) -> ir.Value:
    a, a_scale, a_zero, b, b_scale, b_zero, ys, yz = inputs_of(node, 8)
    left, right = make.dequantized(a, a_scale, a_zero), make.dequantized(b, b_scale, b_zero)
    return make.quantized(make.like(op, [left, right]), ys, yz)


# q(f(dq(x, xs, xz)), ys, yz)
def _one(node: ir.Node, make: Maker, op: str) -> ir.Value:
    x, xs, xz, ys, yz = inputs_of(node, 5)
    real = _to_first(node, make, make.dequantized(x, xs, xz))
    real = make.like(op, [real], without=("channels_last",))
    return make.quantized(_to_last(node, make, real), ys, yz)


# q(reduce_mean(dq(x, xs, xz), axes), ys, yz)      the axes are an input since opset 18
def _reduce_mean(node: ir.Node, make: Maker) -> ir.Value:
    x, xs, xz, ys, yz = inputs_of(node, 5)
    given, inputs = node.attributes.get("axes"), [make.dequantized(x, xs, xz)]
    if given is not None and make.write.graph.opset_imports.get("", 1) >= 18:
        axes = np.array(given.as_ints(), np.int64)
        inputs.append(make.constant(axes, f"{node.name}_axes"))
    without = ("axes",) if len(inputs) > 1 else ()
    return make.quantized(make.like("ReduceMean", list(inputs), without), ys, yz)


# q(softmax(dq(x, xs, xz)), ys, yz)      until opset 13 over all axes from the one given
def _softmax(node: ir.Node, make: Maker) -> ir.Value:
    x, xs, xz, ys, yz = inputs_of(node, 5)
    real = make.dequantized(x, xs, xz)
    axis, rank = attribute(node, "axis", -1), len(x.shape) if x is not None and x.shape else None
    last = axis == -1 or (rank is not None and axis == rank - 1)
    if attribute(node, "opset", 13) >= 13 or last:
        made = make.like("Softmax", [real], without=("opset",))
    else:
        name = f"{node.name}"
        flat = make.node("Flatten", [real], f"{name}_flat", {"axis": axis})
        shape = make.node("Shape", [real], f"{name}_shape")
        made = make.like("Softmax", [flat], without=("opset", "axis"))
        made = make.node("Reshape", [made, shape], f"{name}_shaped")
    return make.quantized(made, ys, yz)


# q(where(c, dq(x, xs, xz), dq(y, ys, yz)), zs, zz)
def _where(node: ir.Node, make: Maker) -> ir.Value:
    c, x, xs, xz, y, ys, yz, zs, zz = inputs_of(node, 9)
    chosen: list[ir.Value | None] = [c, make.dequantized(x, xs, xz), make.dequantized(y, ys, yz)]
    return make.quantized(make.like("Where", chosen), zs, zz)


# q(concat(dq(x1, s1, z1), dq(x2, s2, z2), ..), ys, yz)
def _concat(node: ir.Node, make: Maker) -> ir.Value:
    ys, yz, *rest = node.inputs
    parts = [make.dequantized(*rest[i : i + 3]) for i in range(0, len(rest), 3)]
    return make.quantized(make.like("Concat", list(parts)), ys, yz)


# gemm(dq(a, as, az), dq(b, bs, bz), dq(c, alpha * as * bs)), alpha; then q where it has a scale
def _gemm(node: ir.Node, make: Maker) -> ir.Value:
    a, a_scale, a_zero, b, b_scale, b_zero, c, ys, yz = inputs_of(node, 9)
    channel = 0 if attribute(node, "transB", 0) else 1
    inputs = [
        make.dequantized(a, a_scale, a_zero),
        make.dequantized(b, b_scale, b_zero, axis=channel),
    ]
    if c is not None:
        given = node.attributes.get("alpha")
        inputs.append(bias(make, c, a_scale, b_scale, given.as_float() if given else 1.0))
    real = make.like("Gemm", list(inputs))
    return real if ys is None else make.quantized(real, ys, yz)


# transpose(max_pool(transpose(x)))      of codes, which are moved
def _max_pool(node: ir.Node, make: Maker) -> ir.Value:
    x = node.inputs[0]
    assert x is not None
    kind = x.type
    moved = _permute(make, x, first=True, rank=_rank(x, make))
    pooled = make.like("MaxPool", [moved], type=kind)
    return _permute(make, pooled, first=False, rank=_rank(x, make))


def bias(
    make: Maker, codes: ir.Value, xs: ir.Value | None, ws: ir.Value | None, alpha: float = 1.0
) -> ir.Value:
    """A bias in integers of 32 bits: its scale is the product of those of the factors."""
    if constant(xs) is None or constant(ws) is None:
        raise make.refuse("the scale of its bias is computed, not constant")
    scale = np.asarray(array(xs).reshape(-1) * array(ws).reshape(-1) * np.float32(alpha))
    if constant(codes) is not None:
        real = (array(codes).astype(np.float64) * scale).astype(scale.dtype)
        return make.constant(real, f"{codes.name}_dq")
    scale = scale.reshape(()) if scale.size == 1 else scale
    value = make.constant(scale, f"{codes.name}_scale")
    return make.dequantized(codes, value, None, axis=(len(codes.shape or (1,)) - 1))


def _rank(value: ir.Value, make: Maker) -> int:
    if value.shape is None:
        raise make.refuse("its layout is channels last, and the rank of its input is not known")
    return len(value.shape)


def _to_first(node: ir.Node, make: Maker, real: ir.Value) -> ir.Value:
    return _moved(node, make, real, first=True)


def _to_last(node: ir.Node, make: Maker, real: ir.Value) -> ir.Value:
    return _moved(node, make, real, first=False)


def _moved(node: ir.Node, make: Maker, real: ir.Value, *, first: bool) -> ir.Value:
    """What the node reads or gives with its channels moved, where they lie last."""
    if not attribute(node, "channels_last", 0):
        return real
    source = node.inputs[0]
    assert source is not None
    return _permute(make, real, first=first, rank=_rank(source, make))


def _permute(make: Maker, value: ir.Value, *, first: bool, rank: int) -> ir.Value:
    """Channels to the front, or back to the end."""
    inner = [*range(2, rank)]
    perm = [0, rank - 1, *range(1, rank - 1)] if first else [0, *inner, 1]
    made = make.node("Transpose", [value], f"{value.name}_moved", {"perm": perm})
    made.type = value.type
    return made


LINEAR: dict[str, Rule] = {
    "QLinearConv": _conv,
    "QLinearMatMul": _matmul,
    "QGemm": _gemm,
    "QLinearAdd": partial(_two, op="Add"),
    "QLinearMul": partial(_two, op="Mul"),
    "QLinearWhere": _where,
    "QLinearConcat": _concat,
    "QLinearAveragePool": partial(_one, op="AveragePool"),
    "QLinearGlobalAveragePool": partial(_one, op="GlobalAveragePool"),
    "QLinearLeakyRelu": partial(_one, op="LeakyRelu"),
    "QLinearSigmoid": partial(_one, op="Sigmoid"),
    "QLinearSoftmax": _softmax,
    "QLinearReduceMean": _reduce_mean,
    "NhwcMaxPool": _max_pool,
}
