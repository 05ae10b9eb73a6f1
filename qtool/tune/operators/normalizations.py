"""Normalizations, as they are at inference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from qtool.ops import attribute, real
from qtool.tune.operators.reading import cannot, numbers
from qtool.tune.operators.windows import flag


def batch_normalization(
    node: ir.Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor
) -> Tensor:
    """x * f + (bias - mean * f), where f = scale / sqrt(var + epsilon), per channel."""
    if flag(node, "training_mode"):
        raise cannot(node, "training_mode=1")
    factor = scale / torch.sqrt(var + real(node, "epsilon", 1e-5))
    shape = (-1, *[1] * (x.dim() - 2))
    return x * factor.reshape(shape) + (bias - mean * factor).reshape(shape)


def instance_normalization(node: ir.Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """(x - mean) / sqrt(var + epsilon) * scale + bias; each channel of each sample has its own."""
    epsilon = real(node, "epsilon", 1e-5)
    return torch.group_norm(x, x.shape[1], scale, bias, epsilon)


def group_normalization(node: ir.Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """The same, with mean and variance of num_groups groups of channels.

    Until opset 21 scale and bias had one number for each group, since then for each channel.
    """
    groups, channels = attribute(node, "num_groups", 1), x.shape[1]
    scale, bias = (each.repeat_interleave(channels // len(each)) for each in (scale, bias))
    return torch.group_norm(x, groups, scale, bias, real(node, "epsilon", 1e-5))


def layer_normalization(
    node: ir.Node, x: Tensor, scale: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, ...]:
    """The same over all axes from `axis` on; Mean and InvStdDev are outputs, too."""
    shape, epsilon = _normalized(node, x), real(node, "epsilon", 1e-5)
    if scale.shape == shape and (bias is None or bias.shape == shape):
        y: Tensor = F.layer_norm(x, shape, scale, bias, epsilon)
    else:  # scale and bias may also broadcast
        y = F.layer_norm(x, shape, None, None, epsilon) * scale
        y = y if bias is None else y + bias
    if len(node.outputs) == 1:
        return (y,)
    axes = list(range(-len(shape), 0))
    mean = x.mean(axes, keepdim=True)
    deviation = torch.rsqrt((x - mean).square().mean(axes, keepdim=True) + epsilon)
    return (y, mean, deviation)[: len(node.outputs)]


def rms_normalization(node: ir.Node, x: Tensor, scale: Tensor) -> Tensor:
    """x / sqrt(mean of x^2 + epsilon) * scale, over all axes from `axis` on."""
    axes = list(range(-len(_normalized(node, x)), 0))
    square = x.square().mean(axes, keepdim=True)
    return x * torch.rsqrt(square + real(node, "epsilon", 1e-5)) * scale


def lp_normalization(node: ir.Node, x: Tensor) -> Tensor:
    """x / its norm of order p along `axis`; 0 where that is 0."""
    axis = attribute(node, "axis", -1)
    norm = torch.linalg.vector_norm(x, attribute(node, "p", 2), axis, keepdim=True)
    return x / torch.where(norm == 0, 1.0, norm)


def local_response(node: ir.Node, x: Tensor) -> Tensor:
    """x / (bias + alpha / size * sum of x^2 over `size` channels around)^beta."""
    size = attribute(node, "size", 1)
    around = [0, 0] * (x.dim() - 2) + [(size - 1) // 2, size // 2]
    squares = F.pad(x.square(), around).unfold(1, size, 1).sum(-1)
    scale = real(node, "alpha", 1e-4) / size
    power = torch.pow(real(node, "bias", 1.0) + scale * squares, real(node, "beta", 0.75))
    return x / power


def mean_variance(node: ir.Node, x: Tensor) -> Tensor:
    """(x - mean) / (standard deviation + 1e-9), over `axes`."""
    axes = numbers(node, "axes") or [0, 2, 3]
    centered = x - x.mean(axes, keepdim=True)
    count = centered.numel() / max(1, centered.sum(axes).numel())
    # as a norm: where all values are equal its gradient is 0, that of a root is infinite
    norm = torch.linalg.vector_norm(centered, 2, axes, keepdim=True)
    return torch.div(centered, norm / count**0.5 + 1e-9)


def _normalized(node: ir.Node, x: Tensor) -> torch.Size:
    return x.shape[attribute(node, "axis", -1) :]


NORMALIZATIONS: dict[str, Callable[..., Any]] = {
    "BatchNormalization": batch_normalization,
    "InstanceNormalization": instance_normalization,
    "GroupNormalization": group_normalization,
    "LayerNormalization": layer_normalization,
    "RMSNormalization": rms_normalization,
    "LpNormalization": lp_normalization,
    "LRN": local_response,
    "MeanVarianceNormalization": mean_variance,
}
