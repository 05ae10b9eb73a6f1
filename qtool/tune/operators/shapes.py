"""Rows that keep values and change shapes; `indexing` picks by index, `making` makes tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from qtool.ops import attribute
from qtool.tune.operators.indexing import INDEXING
from qtool.tune.operators.making import MAKING
from qtool.tune.operators.reading import axes_of, axis_of, choice, listed, numbers, places


def concat(node: ir.Node, *inputs: Tensor) -> Tensor:
    """One behind the other along `axis`."""
    return torch.cat(inputs, axis_of(node, inputs[0].dim(), 0))


# the order of (n, blocks down, blocks across, c, h, w) or (n, c, down, across, h, w) in the result
_SPREAD = {"DCR": (0, 3, 4, 1, 5, 2), "CRD": (0, 1, 4, 2, 5, 3)}
# the order of (n, c, h, down, w, across)
_STACKED = {"DCR": (0, 3, 5, 1, 2, 4), "CRD": (0, 1, 3, 5, 2, 4)}


def depth_to_space(node: ir.Node, x: Tensor) -> Tensor:
    """(n, c b b, h, w) -> (n, c, h b, w b)."""
    mode, b = choice(node, "mode", *_SPREAD), attribute(node, "blocksize", 1)
    n, deep, h, w = x.shape
    c = deep // (b * b)
    parted = x.reshape((n, b, b, c, h, w) if mode == "DCR" else (n, c, b, b, h, w))
    return parted.permute(_SPREAD[mode]).reshape(n, c, h * b, w * b)


def space_to_depth(node: ir.Node, x: Tensor) -> Tensor:
    """(n, c, h b, w b) -> (n, c b b, h, w)."""
    mode, b = choice(node, "mode", *_STACKED), attribute(node, "blocksize", 1)
    n, c, high, wide = x.shape
    parted = x.reshape(n, c, high // b, b, wide // b, b)
    return parted.permute(_STACKED[mode]).reshape(n, c * b * b, high // b, wide // b)


def expand(node: ir.Node, x: Tensor, shape: Tensor) -> Tensor:
    """Broadcast with a shape; an axis of that which is 1 leaves x's as it is."""
    wanted = listed(shape)
    known = [1] * (len(wanted) - x.dim()) + list(x.shape)
    wanted = [1] * (x.dim() - len(wanted)) + wanted
    return x.expand([n if m == 1 else m for n, m in zip(known, wanted, strict=True)])


def flatten(node: ir.Node, x: Tensor) -> Tensor:
    """(a, b, c, d) at axis 2 -> (a b, c d)."""
    axis = axis_of(node, x.dim(), 1)
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def identity(node: ir.Node, x: Tensor) -> Tensor:
    """x."""
    return x


def reshape(node: ir.Node, x: Tensor, shape: Tensor) -> Tensor:
    """0 keeps the axis, unless allowzero; -1 takes what is left."""
    wanted = listed(shape)
    if not attribute(node, "allowzero", 0):
        wanted = [size or x.shape[axis] for axis, size in enumerate(wanted)]
    return x.reshape(wanted)


def shape(node: ir.Node, x: Tensor) -> Tensor:
    """The sizes from `start` to before `end`, cut off as slices are."""
    attr = node.attributes.get("end")
    end = x.dim() if attr is None else attr.as_int()
    return places(x.shape[attribute(node, "start", 0) : end], x)


def size(node: ir.Node, x: Tensor) -> Tensor:
    """How many elements, as a scalar."""
    return torch.tensor(x.numel(), device=x.device)


def split(node: ir.Node, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    """Of the sizes given, or as many as outputs: equal ones, of which the last may be smaller."""
    axis, parts = axis_of(node, x.dim(), 0), len(node.outputs)
    if sizes is not None:
        return torch.split(x, listed(sizes), axis)
    each = -(-x.shape[axis] // parts)
    starts = [min(part * each, x.shape[axis]) for part in range(parts + 1)]
    return tuple(x.narrow(axis, start, end - start) for start, end in pairwise(starts))


def squeeze(node: ir.Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Without these axes of size 1, or without all."""
    gone = axes_of(node, axes, x.dim())
    return x.squeeze() if gone is None else x.squeeze(gone)


def unsqueeze(node: ir.Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """With axes of size 1 where the result has them."""
    given = numbers(node, "axes") if axes is None else listed(axes)
    rank = x.dim() + len(given or ())
    for axis in sorted(axes_of(node, axes, rank) or ()):
        x = x.unsqueeze(axis)
    return x


def tile(node: ir.Node, x: Tensor, repeats: Tensor) -> Tensor:
    """As often along each axis."""
    return x.repeat(listed(repeats))


def transpose(node: ir.Node, x: Tensor) -> Tensor:
    """Axes in the order of `perm`, or turned around."""
    order = numbers(node, "perm")
    return x.permute(list(range(x.dim()))[::-1] if order is None else order)


def trilu(node: ir.Node, x: Tensor, k: Tensor | None = None) -> Tensor:
    """Zero below the k-th diagonal; without `upper`, above it."""
    diagonal = 0 if k is None else listed(k)[0]
    return (torch.triu if attribute(node, "upper", 1) else torch.tril)(x, diagonal)


SHAPES: dict[str, Callable[..., Any]] = {
    **INDEXING,
    **MAKING,
    "Concat": concat,
    "DepthToSpace": depth_to_space,
    "Expand": expand,
    "Flatten": flatten,
    "Identity": identity,
    "Reshape": reshape,
    "Shape": shape,
    "Size": size,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Trilu": trilu,
    "Unsqueeze": unsqueeze,
}
