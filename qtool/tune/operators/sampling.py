"""Resize and GridSample: values between the points of a grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from qtool.ops import attribute, real
from qtool.tune.operators.reading import cannot, choice, from_front, listed, numbers
from qtool.tune.operators.windows import flag


@dataclass(frozen=True)
class Axis:
    """One axis to resize: n elements become m; `begin` and `end` are its part of the roi."""

    axis: int
    n: int
    m: int
    scale: float
    begin: float = 0.0
    end: float = 1.0

    @property
    def factor(self) -> Tensor:
        """The scale in float32, as onnxruntime divides by it: a last bit says which is nearest."""
        return torch.tensor(self.scale, dtype=torch.float32)


def resize(
    node: ir.Node,
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    """Axis by axis: y[i] = sum over j of kernel(place(i) - j) x[j]; outside x is as at its edge."""
    mode, placed = choice(node, "mode", "nearest", *_REACH), choice(node, _MODE, *_PLACES)
    if mode != "nearest" and not x.is_floating_point():
        raise cannot(node, f"mode={mode!r} of integers")
    outside = torch.zeros((), dtype=torch.bool)
    y, axes = x, _axes(node, x, roi, scales, sizes)
    # as onnxruntime: no look at the roi or at scales that change nothing
    axes = [] if all(each.n == each.m for each in axes) else axes
    for each in axes:
        if each.scale == 1 or (each.n == each.m and flag(node, "antialias")):
            continue
        places = _PLACES[placed](torch.arange(each.m, dtype=torch.float32), each)
        if mode == "nearest":
            y = _nearest(node, y, each, places)
        else:
            matrix = _matrix(node, mode, each, places).to(y)
            y = (y.movedim(each.axis, -1) @ matrix.T).movedim(-1, each.axis)
        if placed == _CROP:
            off = (places < 0) | (places > each.n - 1)
            outside = outside | off.reshape(-1, *[1] * (x.dim() - 1 - each.axis))
    if not outside.any():
        return y
    return torch.where(outside.to(y.device), real(node, "extrapolation_value", 0.0), y)


_MODE, _CROP = "coordinate_transformation_mode", "tf_crop_and_resize"


def _axes(
    node: ir.Node, x: Tensor, roi: Tensor | None, scales: Tensor | None, sizes: Tensor | None
) -> list[Axis]:
    axes = [from_front(axis, x.dim()) for axis in numbers(node, "axes") or range(x.dim())]
    old = [x.shape[axis] for axis in axes]
    if scales is not None and scales.numel():
        factors = scales.tolist()
        new = (scales.cpu() * torch.tensor(old)).int().tolist()  # in float32 too
    else:
        new = [] if sizes is None else listed(sizes)
        factors = [m / n for n, m in zip(old, new, strict=True)]
        policy = choice(node, "keep_aspect_ratio_policy", "stretch", "not_larger", "not_smaller")
        if policy != "stretch":
            factor = min(factors) if policy == "not_larger" else max(factors)
            factors = [factor] * len(old)
            new = [math.floor(n * factor + 0.5) for n in old]
    if roi is None or not roi.numel():
        bounds = [0.0] * len(axes) + [1.0] * len(axes)
    else:
        bounds = roi.tolist()
    every = zip(axes, old, new, factors, bounds[: len(axes)], bounds[len(axes) :], strict=True)
    return [Axis(*each) for each in every]


# where element i of the result lies among those of the input, as the specification has it
_PLACES: dict[str, Callable[[Tensor, Axis], Tensor]] = {
    "half_pixel": lambda i, a: (i + 0.5) / a.factor - 0.5,
    "half_pixel_symmetric": lambda i, a: (
        a.n / 2 * (1 - a.m / (a.factor * a.n)) + (i + 0.5) / a.factor - 0.5
    ),
    "pytorch_half_pixel": lambda i, a: (i + 0.5) / a.factor - 0.5 if a.m > 1 else 0 * i,
    "align_corners": lambda i, a: i * (a.n - 1) / (a.m - 1) if a.m > 1 else 0 * i,
    "asymmetric": lambda i, a: i / a.factor,
    _CROP: lambda i, a: (
        a.begin * (a.n - 1) + i * (a.end - a.begin) * (a.n - 1) / (a.m - 1)
        if a.m > 1
        else 0 * i + 0.5 * (a.begin + a.end) * (a.n - 1)
    ),
}
_ROUNDED: dict[str, Callable[[Tensor], Tensor]] = {
    "round_prefer_floor": lambda place: (place - 0.5).ceil(),
    "round_prefer_ceil": lambda place: (place + 0.5).floor(),
    "floor": torch.floor,
    "ceil": torch.ceil,
}


def _nearest(node: ir.Node, x: Tensor, axis: Axis, places: Tensor) -> Tensor:
    rounded = _ROUNDED[choice(node, "nearest_mode", *_ROUNDED)](places)
    index = rounded.long().clamp(0, axis.n - 1)
    times = max(1, axis.m // axis.n)
    if torch.equal(index, torch.arange(axis.n).repeat_interleave(times)):
        return x.repeat_interleave(times, axis.axis)  # the same, with a faster gradient
    return x.index_select(axis.axis, index.to(x.device))


def _matrix(node: ir.Node, mode: str, axis: Axis, places: Tensor) -> Tensor:
    """(m, n): what each element of the input adds to each of the result."""
    antialias, exclude = flag(node, "antialias"), flag(node, "exclude_outside")
    shrink = min(axis.scale, 1.0) if antialias else 1.0
    reach = math.ceil(_REACH[mode] / shrink)
    taps = places.floor()[:, None] + torch.arange(1 - reach, reach + 1)
    distance = ((taps - places[:, None]) * shrink).abs()
    weights = _linear(distance) if mode == "linear" else _cubic(distance, _coefficient(node))
    if exclude:
        weights = torch.where((taps >= 0) & (taps < axis.n), weights, 0.0)
    if exclude or antialias:
        weights = weights / weights.sum(1, keepdim=True)
    columns = taps.long().clamp(0, axis.n - 1)
    return torch.zeros(axis.m, axis.n).scatter_add(1, columns, weights)


_REACH = {"linear": 1, "cubic": 2}


def _linear(t: Tensor) -> Tensor:
    """1 - t, and 0 from 1 on."""
    return (1 - t).clamp(min=0)


def _cubic(t: Tensor, a: float) -> Tensor:
    """Keys' kernel: (a + 2) t^3 - (a + 3) t^2 + 1 until 1, a (t^3 - 5 t^2 + 8 t - 4) until 2."""
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * (t**3 - 5 * t**2 + 8 * t - 4)
    return torch.where(t <= 1, near, torch.where(t < 2, far, 0.0))


def _coefficient(node: ir.Node) -> float:
    return real(node, "cubic_coeff_a", -0.75)


def grid_sample(node: ir.Node, x: Tensor, grid: Tensor) -> Tensor:
    """y[p] = x between the points around grid[p], where -1 and 1 are its ends."""
    mode = _GRID_MODES[choice(node, "mode", *_GRID_MODES)]
    if x.dim() not in (4, 5) or (x.dim() == 5 and mode == "bicubic"):
        raise cannot(node, f"mode={mode!r} on {x.dim() - 2} spatial axes")
    y: Tensor = F.grid_sample(
        x,
        grid,
        mode=mode,
        padding_mode=choice(node, "padding_mode", "zeros", "border", "reflection"),
        align_corners=bool(attribute(node, "align_corners", 0)),
    )
    return y


# until opset 20, and since
_GRID_MODES = {
    "linear": "bilinear",
    "cubic": "bicubic",
    "nearest": "nearest",
    "bilinear": "bilinear",
    "bicubic": "bicubic",
}

SAMPLING: dict[str, Callable[..., Any]] = {"Resize": resize, "GridSample": grid_sample}
