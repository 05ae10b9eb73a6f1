"""Rows of one tensor, each element by itself; and Softmax, whose elements know their row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

from qtool.ops import attribute, real
from qtool.tune.operators.reading import axis_of, choice


def plain(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The row of an operator that has no attribute."""
    return lambda node, *inputs: function(*inputs)


def celu(node: ir.Node, x: Tensor) -> Tensor:
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1))."""
    return functional.celu(x, real(node, "alpha", 1.0))


def elu(node: ir.Node, x: Tensor) -> Tensor:
    """x where x > 0, else alpha (exp(x) - 1)."""
    return functional.elu(x, real(node, "alpha", 1.0))


def selu(node: ir.Node, x: Tensor) -> Tensor:
    """gamma times elu, with other defaults."""
    alpha = real(node, "alpha", 1.67326319217681884765625)
    return real(node, "gamma", 1.05070102214813232421875) * functional.elu(x, alpha)


def gelu(node: ir.Node, x: Tensor) -> Tensor:
    """x times the normal distribution's share below x, or its tanh approximation."""
    return functional.gelu(x, approximate=choice(node, "approximate", "none", "tanh"))


def hard_sigmoid(node: ir.Node, x: Tensor) -> Tensor:
    """max(0, min(1, alpha x + beta))."""
    return (real(node, "alpha", 0.2) * x + real(node, "beta", 0.5)).clamp(0, 1)


def leaky_relu(node: ir.Node, x: Tensor) -> Tensor:
    """x where x >= 0, else alpha x."""
    return functional.leaky_relu(x, real(node, "alpha", 0.01))


def thresholded_relu(node: ir.Node, x: Tensor) -> Tensor:
    """x where x > alpha, else 0."""
    return torch.where(x > real(node, "alpha", 1.0), x, torch.zeros_like(x))


def swish(node: ir.Node, x: Tensor) -> Tensor:
    """x sigmoid(alpha x)."""
    return x * torch.sigmoid(real(node, "alpha", 1.0) * x)


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)); torch's own is the identity above 20."""
    return torch.logaddexp(x, torch.zeros_like(x))


def is_inf(node: ir.Node, x: Tensor) -> Tensor:
    """Of either sign, unless an attribute says that one does not count."""
    above = torch.isposinf(x) if attribute(node, "detect_positive", 1) else torch.zeros_like(x) > 0
    return above | torch.isneginf(x) if attribute(node, "detect_negative", 1) else above


def softmax(node: ir.Node, x: Tensor) -> Tensor:
    """exp(x) / sum(exp(x)) along one axis, as from opset 13 on."""
    return torch.softmax(x, axis_of(node, x.dim(), -1))


def log_softmax(node: ir.Node, x: Tensor) -> Tensor:
    """log(softmax(x)), without the detour."""
    return torch.log_softmax(x, axis_of(node, x.dim(), -1))


_PLAIN: dict[str, Callable[..., Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": functional.hardswish,  # x max(0, min(1, x / 6 + 0.5))
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Mish": functional.mish,  # x tanh(softplus(x))
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,  # halves to even
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": softplus,
    "Softsign": functional.softsign,  # x / (1 + |x|)
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}
ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **{name: plain(function) for name, function in _PLAIN.items()},
    "Celu": celu,
    "Elu": elu,
    "Gelu": gelu,
    "HardSigmoid": hard_sigmoid,
    "IsInf": is_inf,
    "LeakyRelu": leaky_relu,
    "LogSoftmax": log_softmax,
    "Selu": selu,
    "Softmax": softmax,
    "Swish": swish,
    "ThresholdedRelu": thresholded_relu,
}
