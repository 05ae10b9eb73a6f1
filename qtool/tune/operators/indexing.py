"""Rows that pick or place values by index; negative indices count from the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from qtool.ops import attribute
from qtool.tune.operators.reading import (
    axis_of,
    choice,
    from_front,
    indices_from_front,
    listed,
    places,
)


def compress(node: ir.Node, x: Tensor, condition: Tensor) -> Tensor:
    """Where the condition holds, along an axis, or of all elements in a row."""
    chosen = places([i for i, holds in enumerate(listed(condition)) if holds], x)
    if "axis" not in node.attributes:
        return x.reshape(-1).index_select(0, chosen)
    return x.index_select(axis_of(node, x.dim(), 0), chosen)


def gather(node: ir.Node, x: Tensor, indices: Tensor) -> Tensor:
    """(a, n, b) at axis 1 by indices (i, j) -> (a, i, j, b)."""
    axis = axis_of(node, x.dim(), 0)
    found = x.index_select(axis, indices_from_front(indices, x.shape[axis]).reshape(-1))
    return found.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def gather_elements(node: ir.Node, x: Tensor, indices: Tensor) -> Tensor:
    """y[i, j] = x[indices[i, j], j] at axis 0."""
    axis = axis_of(node, x.dim(), 0)
    return x.gather(axis, indices_from_front(indices, x.shape[axis]))


def gather_nd(node: ir.Node, x: Tensor, indices: Tensor) -> Tensor:
    """y[b, i] = x[b, *indices[b, i]], behind `batch_dims` axes b."""
    batch, depth = attribute(node, "batch_dims", 0), indices.shape[-1]
    batches, looked = math.prod(x.shape[:batch]), x.shape[batch : batch + depth]
    rest = x.shape[batch + depth :]
    rows = math.prod(looked)
    flat = _flat(indices, looked).reshape(batches, math.prod(indices.shape[batch:-1]))
    flat = flat + rows * torch.arange(batches, device=x.device).unsqueeze(1)
    found = x.reshape(batches * rows, *rest).index_select(0, flat.reshape(-1))
    return found.reshape(*indices.shape[:-1], *rest)


def scatter_elements(node: ir.Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """x, but y[indices[i, j], j] = updates[i, j] at axis 0."""
    axis = axis_of(node, x.dim(), 0)
    return _scatter(node, x, axis, indices_from_front(indices, x.shape[axis]), updates)


def scatter_nd(node: ir.Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """x, but y[*indices[i]] = updates[i]."""
    depth = indices.shape[-1]
    rows, width = math.prod(x.shape[:depth]), math.prod(x.shape[depth:])
    flat = _flat(indices, x.shape[:depth]).reshape(-1, 1)
    values = updates.reshape(flat.shape[0], width)
    found = _scatter(node, x.reshape(rows, width), 0, flat.expand(values.shape), values)
    return found.reshape(x.shape)


# ONNX's reductions -> torch's
_REDUCTIONS = {"none": "", "add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _scatter(node: ir.Node, x: Tensor, axis: int, indices: Tensor, updates: Tensor) -> Tensor:
    reduction = _REDUCTIONS[choice(node, "reduction", *_REDUCTIONS)]
    if not reduction:
        return x.scatter(axis, indices, updates)
    return x.scatter_reduce(axis, indices, updates, reduction)


def _flat(indices: Tensor, sizes: Sequence[int]) -> Tensor:
    """(i, j, k) in the last axis -> (i J + j) K + k."""
    flat = torch.zeros_like(indices[..., :0].sum(-1, dtype=torch.int64))
    for axis, size in enumerate(sizes):
        flat = flat * size + indices_from_front(indices[..., axis], size)
    return flat


def non_zero(node: ir.Node, x: Tensor) -> Tensor:
    """The indices of what is not zero, a row for each axis."""
    return torch.nonzero(x).T


def one_hot(node: ir.Node, indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    """values[1] at the index along a new axis, values[0] elsewhere; out of range, everywhere."""
    (many,), axis = listed(depth), axis_of(node, indices.dim() + 1, -1)
    ramp = torch.arange(many, device=indices.device)
    ramp = ramp.reshape([-1 if each == axis else 1 for each in range(indices.dim() + 1)])
    hot = indices_from_front(indices, many).unsqueeze(axis) == ramp
    return torch.where(hot, values[1], values[0])


# where an axis of n takes what lies at its place i, outside 0 ... n - 1
_BEYOND: dict[str, Callable[[int, int], int]] = {
    "edge": lambda i, n: min(max(i, 0), n - 1),
    "reflect": lambda i, n: n - 1 - abs(n - 1 - i % (2 * n - 2)) if n > 1 else 0,
    "wrap": lambda i, n: i % n,
}


def pad(
    node: ir.Node,
    x: Tensor,
    pads: Tensor,
    value: Tensor | None = None,
    axes: Tensor | None = None,
) -> Tensor:
    """More in front of and behind each axis; a negative number cuts off."""
    mode, many = choice(node, "mode", "constant", *_BEYOND), listed(pads)
    along = range(x.dim()) if axes is None else [from_front(a, x.dim()) for a in listed(axes)]
    filling = x.new_zeros(()) if value is None else value.reshape(())
    for axis, low, high in zip(along, many, many[len(along) :], strict=False):
        cut = max(0, -low)
        x = x.narrow(axis, cut, x.shape[axis] - cut - max(0, -high))
        low, high, n = max(0, low), max(0, high), x.shape[axis]
        if mode != "constant":
            taken = [_BEYOND[mode](i, n) for i in range(-low, n + high)]
            x = x.index_select(axis, places(taken, x))
        elif low or high:
            sizes = [(*x.shape[:axis], more, *x.shape[axis + 1 :]) for more in (low, high)]
            x = torch.cat([filling.expand(sizes[0]), x, filling.expand(sizes[1])], axis)
    return x


def reverse_sequence(node: ir.Node, x: Tensor, lengths: Tensor) -> Tensor:
    """The first `lengths[b]` steps of each sequence turned around."""
    batch, time = attribute(node, "batch_axis", 1), attribute(node, "time_axis", 0)
    steps = torch.arange(x.shape[time], device=x.device).unsqueeze(1)
    taken = torch.where(steps < lengths, lengths - 1 - steps, steps)  # (time, batch)
    taken = taken if time < batch else taken.T
    taken = taken.reshape(*taken.shape, *[1] * (x.dim() - 2))
    return x.gather(time, taken.expand(x.shape))


def slice_(
    node: ir.Node,
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    """x[start:end:step] along each axis, cut off as Python's slices are."""
    begins = listed(starts)
    along = list(range(len(begins))) if axes is None else listed(axes)
    strides = [1] * len(begins) if steps is None else listed(steps)
    for start, end, axis, step in zip(begins, listed(ends), along, strides, strict=True):
        axis = from_front(axis, x.dim())
        taken = slice(start, end, step)
        if step > 0:
            x = x[(slice(None),) * axis + (taken,)]
        else:  # torch has none backwards
            x = x.index_select(axis, places(range(x.shape[axis])[taken], x))
    return x


def top_k(node: ir.Node, x: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """The largest or smallest and where they stand; of equal ones the first."""
    axis, (many,) = axis_of(node, x.dim(), -1), listed(k)
    descending = bool(attribute(node, "largest", 1))
    # torch.topk does not say which of equal ones it takes
    values, order = torch.sort(x, dim=axis, descending=descending, stable=True)
    return values.narrow(axis, 0, many), order.narrow(axis, 0, many)


INDEXING: dict[str, Callable[..., Any]] = {
    "Compress": compress,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "NonZero": non_zero,
    "OneHot": one_hot,
    "Pad": pad,
    "ReverseSequence": reverse_sequence,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "Slice": slice_,
    "TopK": top_k,
}
