"""The runtime's own operators over weights in integers: the same operator over float weights.

Weights are constants here, so the arithmetic is done at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.ops import attribute, constant
from qtool.passes.dequantize.maker import Maker, inputs_of
from qtool.passes.edit import array

Array = NDArray[Any]


def _need(value: ir.Value | None, make: Maker) -> Array:
    if constant(value) is None:
        raise make.refuse("its weight, scale or zero point is computed, not constant")
    return array(value)


def unpack(packed: Array, bits: int) -> Array:
    """Codes that lie in bytes along the last axis, the lowest bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (packed[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return codes.reshape(*packed.shape[:-1], -1)


# matmul(x, W) + bias      W[k, n] = (codes[n, k] - zero[n, k / block]) * scale[n, k / block]
def _matmul(node: ir.Node, make: Maker) -> ir.Value:
    x, codes, scales, zeros, groups, bias = inputs_of(node, 6)
    if groups is not None:
        raise make.refuse("its columns are in groups of their own (g_idx)")
    if attribute(node, "weight_prepacked", 0):
        raise make.refuse("its weight is packed for one device")
    rows, columns = attribute(node, "K", 0), attribute(node, "N", 0)
    bits, size = attribute(node, "bits", 4), attribute(node, "block_size", 32)
    if bits not in (2, 4, 8) or size <= 0:
        raise make.refuse(f"bits = {bits} and block_size = {size} are not known")
    blocks = -(-rows // size)
    scale = _need(scales, make).reshape(columns, blocks, 1)
    stored = unpack(_need(codes, make).reshape(columns, blocks, -1), bits).astype(np.float32)
    zero: Any = np.float32(1 << (bits - 1))
    if zeros is not None:
        given = _need(zeros, make)
        if given.dtype == np.uint8:
            given = unpack(given.reshape(columns, -1), bits)[:, :blocks]
        zero = given.reshape(columns, blocks, 1).astype(np.float32)
    real = ((stored - zero) * scale.astype(np.float32)).reshape(columns, -1)[:, :rows]
    weight = np.ascontiguousarray(real.T.astype(scale.dtype))
    kind = ir.TensorType(ir.DataType.from_numpy(scale.dtype))
    product = make.node(
        "MatMul", [x, make.constant(weight, f"{_base(codes)}_dq")], f"{node.name}_real"
    )
    product.type = kind
    make.keep_name(node, product)
    if bias is not None:
        product = make.node("Add", [product, bias], f"{node.name}_bias")
        product.type = kind
    return product


# gather(table, ids)      table = (codes - zero) * scale, each along blocks of the axis
def _gather(node: ir.Node, make: Maker) -> ir.Value:
    data, ids, scales, zeros = inputs_of(node, 4)
    codes, scale = _need(data, make), _need(scales, make)
    bits, size = attribute(node, "bits", 4), attribute(node, "block_size", 128)
    packed = codes.dtype == np.uint8 and bits < 8
    wide = unpack(codes, bits) if packed else codes
    axis = attribute(node, "quantize_axis", 1) % wide.ndim
    size = size or wide.shape[axis]
    zero: Any = np.float32(1 << (bits - 1) if codes.dtype == np.uint8 else 0)
    if zeros is not None:
        given = _need(zeros, make)
        given = unpack(given, bits) if packed else given
        zero = _over_blocks(given[..., : scale.shape[-1]].astype(np.float32), axis, size, wide)
    spread = _over_blocks(scale.astype(np.float32), axis, size, wide)
    table = ((wide.astype(np.float32) - zero) * spread).astype(scale.dtype)
    made = make.node(
        "Gather",
        [make.constant(table, f"{_base(data)}_dq"), ids],
        f"{node.name}_real",
        {"axis": attribute(node, "gather_axis", 0)},
    )
    made.type = ir.TensorType(ir.DataType.from_numpy(scale.dtype))
    make.keep_name(node, made)
    return made


def _over_blocks(values: Array, axis: int, size: int, over: Array) -> Array:
    """One value for each of the codes along the axis."""
    keep = tuple(slice(0, n) if i == axis else slice(None) for i, n in enumerate(over.shape))
    return np.repeat(values, size, axis=axis)[keep]


# lstm(x, W, R, ..)      W of (directions, inputs, 4 hidden), there (directions, 4 hidden, inputs)
def _lstm(node: ir.Node, make: Maker) -> list[ir.Value]:
    x, w, r, *rest = inputs_of(node, 12)
    others, (ws, wz, rs, rz) = rest[:5], rest[5:9]

    def real(codes: ir.Value | None, scale: ir.Value | None, zero: ir.Value | None) -> ir.Value:
        stored, by = _need(codes, make), _need(scale, make)
        lead = (stored.shape[0], 1, -1)  # a scale per direction, or per direction and column
        from_zero = stored.astype(np.float32) - _need(zero, make).astype(np.float32).reshape(lead)
        turned = np.ascontiguousarray((from_zero * by.reshape(lead)).transpose(0, 2, 1))
        return make.constant(turned.astype(np.float32), f"{_base(codes)}_dq")

    return _contrib(node, make, "LSTM", [x, real(w, ws, wz), real(r, rs, rz), *others])


# attention(dq(x, xs, xz), dq(W, ws, wz), b, mask, past)
def _attention(node: ir.Node, make: Maker) -> list[ir.Value]:
    x, w, b, xs, ws, mask, xz, wz, past = inputs_of(node, 9)
    inputs = [make.dequantized(x, xs, xz), make.dequantized(w, ws, wz, axis=1), b, mask, past]
    return _contrib(node, make, "Attention", inputs)


# embed_layer_norm(ids, segments, dq(words), dq(positions), dq(segments), dq(gamma), dq(beta), mask)
def _embed(node: ir.Node, make: Maker) -> list[ir.Value]:
    ids, segments, words, positions, kinds, gamma, beta, mask, *rest = inputs_of(node, 18)
    scales, zeros = rest[:5], rest[5:10]
    stored = (words, positions, kinds, gamma, beta)
    real = [
        None if codes is None else make.dequantized(codes, scale, zero)
        for codes, scale, zero in zip(stored, scales, zeros, strict=True)
    ]
    return _contrib(node, make, "EmbedLayerNormalization", [ids, segments, *real, mask])


def _contrib(node: ir.Node, make: Maker, op: str, inputs: list[ir.Value | None]) -> list[ir.Value]:
    """The runtime's own float operator with the attributes and outputs of the node."""
    while inputs[-1] is None:
        inputs.pop()
    name = make.write.name(f"{node.name}_real")
    made = ir.Node(
        node.domain if op != "LSTM" else "", op, inputs, dict(node.attributes),
        num_outputs=len(node.outputs), name=name,
    )  # fmt: skip
    assert node.graph is not None
    node.graph.insert_before(node, made)
    for old, new in zip(node.outputs, made.outputs, strict=True):
        new.name = make.write.name(f"{old.name}_real") if old.name else ""
        new.type, new.shape = old.type, old.shape
    make.keep_name(node, made.outputs[0])
    return list(made.outputs)


def _base(value: ir.Value | None) -> str:
    return (value.name if value is not None else None) or "weight"


PACKED: dict[str, Callable[[ir.Node, Maker], ir.Value | list[ir.Value]]] = {
    "MatMulNBits": _matmul,
    "GatherBlockQuantized": _gather,
    "DynamicQuantizeLSTM": _lstm,
    "QAttention": _attention,
    "QEmbedLayerNormalization": _embed,
}
