"""Rows that make one value of many: the reduced axes become the last one, and that one goes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from qtool.ops import attribute
from qtool.tune.operators.reading import axes_of, axis_of


def reduction(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """The row of what `function` makes of the last axis.

    1. axes given     these
    2. none, or []    all of them; or with noop_with_empty_axes none: each element is a row of one
    """

    def row(node: ir.Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
        idle = attribute(node, "noop_with_empty_axes", 0)
        gone = axes_of(node, axes, x.dim()) or ([] if idle else list(range(x.dim())))
        kept = [axis for axis in range(x.dim()) if axis not in gone]
        sizes = [x.shape[axis] for axis in kept]
        length = math.prod(x.shape[axis] for axis in gone)
        found = function(x.permute(kept + sorted(gone)).reshape(*sizes, length))
        if attribute(node, "keepdims", 1):
            found = found.reshape([1 if axis in gone else n for axis, n in enumerate(x.shape)])
        return found

    return row


def total(x: Tensor) -> Tensor:
    """The sum, in the type that it is of: torch would widen integers."""
    return x.sum(-1, dtype=x.dtype)


def in_floats(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same of integers: in double, cut off at the point, as the runtime does."""
    return lambda x: function(x) if x.is_floating_point() else function(x.double()).to(x.dtype)


def extreme(function: Callable[..., Tensor], of_none: float) -> Callable[[Tensor], Tensor]:
    """amax or amin, which torch refuses of nothing; equal ones share the gradient."""
    empty = in_floats(lambda x: x.new_full(x.shape[:-1], of_none))
    return lambda x: function(x, -1) if x.shape[-1] else empty(x)


def position(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The row of argmax or argmin: of equal ones the first, or with select_last_index the last."""

    def row(node: ir.Node, x: Tensor) -> Tensor:
        axis, keep = axis_of(node, x.dim(), 0), bool(attribute(node, "keepdims", 1))
        if attribute(node, "select_last_index", 0):
            return x.shape[axis] - 1 - function(x.flip(axis), axis, keepdim=keep)
        return function(x, axis, keepdim=keep)

    return row


_OF_A_ROW: dict[str, Callable[[Tensor], Tensor]] = {
    "ReduceL1": lambda x: total(x.abs()),
    "ReduceL2": in_floats(lambda x: torch.linalg.vector_norm(x, dim=-1)),  # at 0 its gradient is 0
    "ReduceLogSum": in_floats(lambda x: x.sum(-1).log()),
    "ReduceLogSumExp": in_floats(lambda x: torch.logsumexp(x, -1)),
    "ReduceMax": extreme(torch.amax, -math.inf),
    "ReduceMean": in_floats(lambda x: x.mean(-1)),
    "ReduceMin": extreme(torch.amin, math.inf),
    "ReduceProd": lambda x: x.prod(-1, dtype=x.dtype),
    "ReduceSum": total,
    "ReduceSumSquare": lambda x: total(x * x),
}
REDUCTIONS: dict[str, Callable[..., Any]] = {
    **{name: reduction(function) for name, function in _OF_A_ROW.items()},
    "ArgMax": position(torch.argmax),
    "ArgMin": position(torch.argmin),
}
