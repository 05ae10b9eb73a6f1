"""How operators carry channels: what becomes of a factor per channel on the way through.

Each tensor has *labels*: an array of channel numbers that broadcasts against it from the right,
(C, 1, 1) for what a Conv gives, (C,) for a MatMul, (heads, 1, size) for the values of attention.
A rule takes the labels of what a node reads, and gives those of what it makes, or None where

    f(s * x) = s * f(x),   s > 0 and the same for all that has the same label

does not hold. Shapes are needed only where places are counted from the left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.ops import attribute, constant

Labels: TypeAlias = NDArray[np.int64]
Rule: TypeAlias = Callable[[ir.Node, Labels], Labels | None]


def stripped(labels: Labels) -> Labels:
    """Without axes of size 1 in front: (1, C, 1, 1) -> (C, 1, 1)."""
    while labels.ndim and labels.shape[0] == 1:
        labels = labels[0]
    return labels


def as_vector(labels: Labels, spatial: int) -> Labels | None:
    """(C, 1, ...) with `spatial` ones behind -> (C,); None where channels lie elsewhere."""
    plain = labels.ndim == spatial + 1 and labels.size == labels.shape[0]
    return labels.reshape(-1) if plain else None


def numbers(node: ir.Node, position: int, name: str) -> list[int] | None:
    """Integers that an attribute or a constant input gives; None where neither does."""
    if name in node.attributes:
        return [int(i) for i in node.attributes[name].as_ints()]
    tensor = constant(node.inputs[position]) if position < len(node.inputs) else None
    return None if tensor is None else [int(i) for i in tensor.numpy().reshape(-1)]


def rank_of(value: ir.Value | None) -> int | None:
    """How many axes the value has, if that is known; of a file that says none, it is not."""
    return None if value is None or value.shape is None else len(value.shape) or None


def bounds(node: ir.Node) -> tuple[float, float]:
    """What a Clip keeps values between."""
    given = [constant(value) for value in (*node.inputs[1:], None, None)[:2]]
    low, high = (None if t is None else float(t.numpy().reshape(-1)[0]) for t in given)
    return -np.inf if low is None else low, np.inf if high is None else high


def _same(node: ir.Node, labels: Labels) -> Labels:
    del node
    return labels


def _pooled(node: ir.Node, labels: Labels) -> Labels | None:
    """One value for many of the same channel; the indices of a MaxPool are not moved."""
    kernel = node.attributes.get("kernel_shape")
    rank = rank_of(node.inputs[0])
    spatial = len(kernel.as_ints()) if kernel is not None else None if rank is None else rank - 2
    if spatial is None or len(node.outputs) > 1:
        return None
    return None if as_vector(labels, spatial) is None else labels


def _reduced(node: ir.Node, labels: Labels) -> Labels | None:
    axes, rank = numbers(node, 1, "axes"), rank_of(node.inputs[0])
    if axes is None or rank is None or not axes:
        return None
    full = _filled(labels, rank)
    over = tuple(sorted(axis % rank for axis in axes))
    if any(full.shape[axis] != 1 for axis in over):
        return None
    return stripped(full if attribute(node, "keepdims", 1) else full.squeeze(over))


def _transposed(node: ir.Node, labels: Labels) -> Labels | None:
    perm, rank = numbers(node, 1, "perm"), rank_of(node.inputs[0])
    if perm is None and rank is not None:
        perm = list(range(rank))[::-1]
    return None if perm is None else stripped(_filled(labels, len(perm)).transpose(perm))


def _reshaped(node: ir.Node, labels: Labels) -> Labels | None:
    """Axes from the first with channels on must be known, and become the last axes of the result:
    (N, C, H, W) -> (N, C H W), (B, S, C) -> (B, S, heads, C / heads), and back."""
    before, after = (_sizes(value) for value in (node.inputs[0], node.outputs[0]))
    if before is None or after is None:
        return None
    inner = before[len(before) - labels.ndim :]
    if len(inner) != labels.ndim or None in inner:
        return None
    whole = np.broadcast_to(labels, [size for size in inner if size is not None])
    shape: list[int] = []
    for size in reversed(after):
        if size is None or whole.size % (int(np.prod(shape)) * size or 1):
            break
        shape.insert(0, size)
        if np.prod(shape) == whole.size:
            return _narrowed(stripped(whole.reshape(shape)))
    return None


def _narrowed(labels: Labels) -> Labels:
    """Axes along which nothing changes have size 1."""
    for axis in range(labels.ndim):
        first = labels.take([0], axis)
        if (labels == first).all():
            labels = first
    return stripped(labels)


def _sizes(value: ir.Value | None) -> list[int | None] | None:
    if value is None or value.shape is None:
        return None
    return [size if isinstance(size, int) else None for size in value.shape]


def _filled(labels: Labels, rank: int) -> Labels:
    return labels.reshape((1,) * (rank - labels.ndim) + labels.shape)


def _padded(node: ir.Node, labels: Labels) -> Labels | None:
    """Zeros, or values of the same channel, beside what is there."""
    mode = node.attributes.get("mode")
    pads, rank = numbers(node, 1, "pads"), rank_of(node.inputs[0])
    axes = numbers(node, 3, "axes") if len(node.inputs) > 3 and node.inputs[3] else None
    if pads is None or rank is None or axes is not None or len(pads) != 2 * rank:
        return None
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if (mode is None or mode.as_string() == "constant") and value is not None:
        tensor = constant(value)
        if tensor is None or tensor.numpy().any():
            return None
    lies = np.array(_filled(labels, rank).shape) > 1
    return None if np.reshape(pads, (2, rank))[:, lies].any() else labels


# x -> f(x), of the first input
THROUGH: dict[str, Rule] = {
    **dict.fromkeys(["Abs", "Identity", "LeakyRelu", "Neg", "PRelu", "Relu"], _same),
    **dict.fromkeys(["AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"], _pooled),
    **dict.fromkeys(["ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"], _reduced),
    **dict.fromkeys(["Flatten", "Reshape", "Squeeze", "Unsqueeze"], _reshaped),
    "Pad": _padded,
    "Transpose": _transposed,
}
