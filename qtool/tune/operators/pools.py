"""Pools: what a window has on average, at most, or as a norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from qtool.ops import attribute
from qtool.tune.operators.reading import cannot, choice, numbers
from qtool.tune.operators.windows import AUTO_PADS, Windows, both, flag, windows

_AVERAGE: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAXIMUM: dict[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def average_pool(node: ir.Node, x: Tensor) -> Tensor:
    """Sum over a window / its elements that lie on data, or with count_include_pad on pads too.

    What the last window has behind the pads, for ceil_mode, never counts.
    """
    at, beyond = _read(node, x)
    pads, more = both(at.begins, at.ends), both([0] * len(beyond), beyond)
    if not any(pads) and not any(more):
        return _means(x, at)
    counts = F.pad(
        x.new_ones((1, 1, *x.shape[2:])), pads, value=float(flag(node, "count_include_pad"))
    )
    return _means(F.pad(F.pad(x, pads), more), at) / _means(F.pad(counts, more), at)


def max_pool(node: ir.Node, x: Tensor) -> Tensor:
    """The largest of a window; pads are less than everything."""
    if len(node.outputs) > 1 and node.outputs[1].name:
        raise cannot(node, "its second output, Indices")
    at, beyond = _read(node, x)
    lowest = -torch.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
    x = _padded(x, at, beyond, lowest)
    if x.is_floating_point() and x.dim() - 2 in _MAXIMUM:
        y: Tensor = _MAXIMUM[x.dim() - 2](x, at.kernel, at.strides, 0, at.dilations)
        return y
    return _unfolded(x, at).amax(_last(at))


def lp_pool(node: ir.Node, x: Tensor) -> Tensor:
    """(sum over a window of |x|^p) ^ 1/p; pads are 0."""
    at, beyond = _read(node, x)
    taken = _unfolded(_padded(x, at, beyond, 0.0), at)
    return _norm(taken, attribute(node, "p", 2), _last(at))


def global_average_pool(node: ir.Node, x: Tensor) -> Tensor:
    """The average of a channel."""
    return x.mean(_behind(x), keepdim=True)


def global_max_pool(node: ir.Node, x: Tensor) -> Tensor:
    """The largest of a channel."""
    return x.amax(_behind(x), keepdim=True)


def global_lp_pool(node: ir.Node, x: Tensor) -> Tensor:
    """(sum over a channel of |x|^p) ^ 1/p."""
    return _norm(x, attribute(node, "p", 2), _behind(x), keepdim=True)


def _read(node: ir.Node, x: Tensor) -> tuple[Windows, tuple[int, ...]]:
    at = windows(node, x.shape[2:], numbers(node, "kernel_shape") or [])
    gaps = any(stride > extent for stride, extent in zip(at.strides, at.extents, strict=True))
    if gaps and choice(node, "auto_pad", *AUTO_PADS).startswith("SAME"):
        raise cannot(node, "auto_pad and strides beyond the kernel")  # kernels differ there
    return at, at.beyond(x.shape[2:], flag(node, "ceil_mode"))


def _padded(x: Tensor, at: Windows, beyond: tuple[int, ...], value: float) -> Tensor:
    ends = [end + more for end, more in zip(at.ends, beyond, strict=True)]
    pads = both(at.begins, ends)
    return F.pad(x, pads, value=value) if any(pads) else x


def _means(x: Tensor, at: Windows) -> Tensor:
    if len(at.kernel) in _AVERAGE and set(at.dilations) == {1}:
        y: Tensor = _AVERAGE[len(at.kernel)](x, at.kernel, at.strides)
        return y
    return _unfolded(x, at).mean(_last(at))


def _unfolded(x: Tensor, at: Windows) -> Tensor:
    """(batch, channels, windows..., elements of a window...), a view."""
    every = zip(at.extents, at.strides, at.dilations, strict=True)
    for axis, (extent, stride, dilation) in enumerate(every, start=2):
        x = x.unfold(axis, extent, stride)[..., ::dilation]
    return x


def _norm(x: Tensor, p: int, axes: list[int], keepdim: bool = False) -> Tensor:
    """With a gradient of 0, not NaN, where everything is 0."""
    y: Tensor = torch.linalg.vector_norm(x, p, axes, keepdim)
    return y


def _last(at: Windows) -> list[int]:
    return list(range(-len(at.kernel), 0))


def _behind(x: Tensor) -> list[int]:
    return list(range(2, x.dim()))


POOLS: dict[str, Callable[..., Any]] = {
    "AveragePool": average_pool,
    "MaxPool": max_pool,
    "LpPool": lp_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "GlobalLpPool": global_lp_pool,
}
