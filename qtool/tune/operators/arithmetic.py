"""Rows that compute: of several tensors, broadcast, here; of one in `elementwise`, `reductions`."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from qtool.ops import attribute
from qtool.tune.operators.elementwise import ELEMENTWISE, plain
from qtool.tune.operators.reading import from_front, listed
from qtool.tune.operators.reductions import REDUCTIONS


def clip(node: ir.Node, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """min(max(x, low), high): where the bounds cross, high."""
    bounds = [None if bound is None else bound.reshape(()) for bound in (low, high)]
    return x if low is None and high is None else torch.clamp(x, *bounds)


def cumulated(function: Callable[..., Tensor], first: float) -> Callable[..., Tensor]:
    """The row of cumsum or cumprod; `exclusive` begins with what none make, and drops the last."""

    def row(node: ir.Node, x: Tensor, axis: Tensor) -> Tensor:
        along = from_front(listed(axis)[0], x.dim())
        turned = [along] if attribute(node, "reverse", 0) else []
        x = x.flip(turned)
        if attribute(node, "exclusive", 0):
            start = torch.full_like(x.narrow(along, 0, min(1, x.shape[along])), first)
            x = torch.cat([start, x.narrow(along, 0, max(0, x.shape[along] - 1))], along)
        return function(x, along, dtype=x.dtype).flip(turned)

    return row


def div(a: Tensor, b: Tensor) -> Tensor:
    """a / b; of integers towards zero."""
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def mean(*inputs: Tensor) -> Tensor:
    """Of one or more."""
    return reduce(torch.add, inputs) / len(inputs)


def mod(node: ir.Node, a: Tensor, b: Tensor) -> Tensor:
    """What division leaves: with the sign of b, with fmod of a."""
    return torch.fmod(a, b) if attribute(node, "fmod", 0) else torch.remainder(a, b)


def power(a: Tensor, b: Tensor) -> Tensor:
    """a ** b in the type of a; of integers by way of double, as the runtime does."""
    if a.is_floating_point():
        return torch.pow(a, b).to(a.dtype)
    return torch.pow(a.double(), b.double()).to(a.dtype)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """x where x >= 0, else slope x."""
    return torch.where(x < 0, slope * x, x)


_PLAIN: dict[str, Callable[..., Tensor]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "Div": div,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Max": lambda *inputs: reduce(torch.maximum, inputs),
    "Mean": mean,
    "Min": lambda *inputs: reduce(torch.minimum, inputs),
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "Pow": power,
    "PRelu": prelu,
    "Sub": torch.sub,
    "Sum": lambda *inputs: reduce(torch.add, inputs),
    "Where": torch.where,
    "Xor": torch.logical_xor,
}
ARITHMETIC: dict[str, Callable[..., Any]] = {
    **ELEMENTWISE,
    **REDUCTIONS,
    **{name: plain(function) for name, function in _PLAIN.items()},
    "Clip": clip,
    "CumProd": cumulated(torch.cumprod, 1),
    "CumSum": cumulated(torch.cumsum, 0),
    "Mod": mod,
}
