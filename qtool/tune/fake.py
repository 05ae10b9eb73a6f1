"""Fake quantization: floats on the grid of their codes, with gradients that pass straight through.

    x' = (clip(round(x / s) + z, low, high) - z) s        round: gradient 1; clip: 0 beyond its ends
    x' = L[nearest(x / s)] s                              with levels L: to x 1 between their ends

Scale and levels have the gradients that follow from that; the scale's is made smaller by
g = 1 / sqrt(values of a scale x high), so that it goes about as fast as what it scales: learned
step size quantization (Esser et al., 2020).

What is `stored` is divided by the scale as it was at first, u: its codes are learned, and a scale
that changes takes none of them over the edge to the next. The gradient of the scale is exact then;
else it is 0 for values that are on the grid, as those are that algorithms have rounded.

    x' = (clip(round(x / u) + z, low, high) - z) s
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qtool.numeric.affine import Codes, QParams, lowest, quantize
from qtool.numeric.codebook import Codebook
from qtool.numeric.granularity import Shape


class FakeQuantizer(nn.Module):
    """Puts a tensor of one shape, or any shape where it has one scale, on a grid that is learned.

    `stored` tells weights from activations. `fixed` scales are not learned, and one that `shrinks`
    does not grow. A scale keeps its sign, and at least 1/16 of its size.
    """

    zero: Tensor
    unit: Tensor | None
    least: Tensor
    below: Tensor

    def __init__(
        self,
        params: QParams,
        *,
        fixed: bool = False,
        shrinks: bool = False,
        stored: bool = False,
        half: bool = False,
    ) -> None:
        super().__init__()
        self.params, self._half, self.slows = params, half, True
        self.scale = nn.Parameter(_tensor(params.scale), not fixed)
        self.register_buffer("zero", _tensor(params.zero_point))
        self.register_buffer("unit", self.scale.detach().clone() if stored else None)
        self.register_buffer("least", self.scale.detach().abs() / 16)
        self.most = self.scale.detach().abs() if shrinks else None
        self.register_buffer("below", self.scale.detach() < 0)
        self.low, self.high = lowest(params), params.type.maximum
        if params.book is not None:
            self.levels = nn.Parameter(torch.from_numpy(params.book.levels.copy()), not fixed)

    def forward(self, x: Tensor) -> Tensor:
        """The same, of values that codes stand for."""
        slowed = _slowed(self.scale, self._gain(x.numel()) if self.slows else 1)
        slowed = _halved(slowed) if self._half else slowed
        block = self.params.granularity.block(tuple(x.shape))
        scale, zero = (_spread(each, x.shape, block) for each in (slowed, self.zero))
        unit = scale if self.unit is None else _spread(self.unit, x.shape, block)
        if self.params.book is not None:
            return self._on_levels(x, scale, unit, self.params.book)
        if self.unit is None and not self.scale.dim():
            return _on_grid(x, scale, self.low - float(zero), self.high - float(zero))
        codes = torch.clamp(rounded(x / unit), self.low - zero, self.high - zero)
        return codes * scale

    def _on_levels(self, x: Tensor, scale: Tensor, unit: Tensor, book: Codebook) -> Tensor:
        gain = 1 / math.sqrt(max(1, x.numel() / self.levels.numel()))
        levels = _halved(_slowed(self.levels, gain))
        with torch.no_grad():
            reals = (x / unit).detach()
            group, codes = self._chosen(reals, book)
            inside = (reals >= levels[group, 0]) & (reals <= levels[group, -1])
        return levels[group, codes] * scale + torch.where(inside, x - x.detach(), 0.0)

    def _chosen(self, reals: Tensor, book: Codebook) -> tuple[Tensor, Tensor]:
        """The group of levels of each value, and its level among them."""
        codes = torch.from_numpy(self._book(book).nearest(reals.numpy())).long()
        group = torch.zeros(1, dtype=torch.long)
        if book.axis is not None:
            rank = [-1 if axis == book.axis else 1 for axis in range(reals.dim())]
            group = torch.from_numpy(book.groups_along(reals.shape[book.axis])).reshape(rank)
        return group.expand_as(codes), codes

    def pull(self, x: Tensor, part: float) -> None:
        """Move stored values, in place, so much of the way to the middle of what has their code."""
        assert self.unit is not None
        block = self.params.granularity.block(tuple(x.shape))
        unit, zero = (_spread(each, x.shape, block) for each in (self.unit, self.zero))
        with torch.no_grad():
            reals = x.detach() / unit
            if self.params.book is None:
                middle = torch.clamp(torch.round(reals), self.low - zero, self.high - zero)
            else:
                middle = self.levels.detach()[self._chosen(reals, self.params.book)]
            x.lerp_(middle * unit, part)

    def _book(self, book: Codebook) -> Codebook:
        found = _halved(self.levels.detach()).numpy()  # as they are written
        return Codebook(np.sort(found, axis=1), book.axis, book.size, book.maker)

    def _gain(self, count: int) -> float:
        return 1 / math.sqrt(max(1, count / self.scale.numel()) * max(1, self.high))

    def settle(self) -> None:
        """Keep scales from 0, and levels in their order, after a step."""
        with torch.no_grad():
            size = torch.maximum(self.scale.abs(), self.least)
            size = size if self.most is None else torch.minimum(size, self.most)
            self.scale.copy_(torch.where(self.below, -size, size))
            if self.params.book is not None:
                self.levels.copy_(self.levels.sort(dim=1).values)

    def codes(self, x: NDArray[Any]) -> Codes:
        """The codes of values, which the parameters go with that were learned."""
        params = self.learned()
        if self.unit is not None:
            params = replace(params, scale=np.array(self.unit.numpy()))
        return quantize(x.astype(np.float32), params)

    def learned(self) -> QParams:
        """The parameters as they are now."""
        own, book = self.scale.detach(), self.params.book
        scale = np.array((_halved(own) if self._half else own).numpy())
        found = None if book is None else self._book(book)
        return replace(self.params, scale=scale, book=found)


class _OnGrid(torch.autograd.Function):
    """clip(round(x / s), low, high) s of one scale, in fewer passes over an activation than the
    same in single steps, with the same gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: float, high: float) -> Tensor:
        reals = (x / scale).clamp_(low - 1, high + 1)  # of a mask the product with 0 would be NaN
        codes = torch.round(reals).clamp_(low, high)
        ctx.save_for_backward(reals, codes)
        return codes * scale

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (reals, codes) = grads, ctx.saved_tensors
        # What is rounded to an end lies inside.
        inside = torch.round(reals).sub_(codes).eq_(0)
        through = grad * inside
        own = torch.dot(grad.flatten(), codes.flatten()) - torch.dot(
            through.flatten(), reals.flatten()
        )
        return through, own, None, None


def _on_grid(x: Tensor, scale: Tensor, low: float, high: float) -> Tensor:
    made: Tensor = _OnGrid.apply(x, scale, low, high)
    return made


def on_the_run(x: Tensor) -> Tensor:
    """What DynamicQuantizeLinear leaves of a tensor: 256 codes from its least to its greatest
    value, 0 among them. Gradients pass straight through."""
    with torch.no_grad():
        low, high = x.min().clamp(max=0), x.max().clamp(min=0)
        scale = ((high - low) / 255).clamp(min=torch.finfo(x.dtype).tiny)
        zero = torch.clamp(torch.round(-low / scale), 0, 255)
    return (torch.clamp(rounded(x / scale) + zero, 0, 255) - zero) * scale


def _tensor(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32))


def rounded(x: Tensor) -> Tensor:
    """Half to even, as QuantizeLinear; gradient 1, of what is infinite too."""
    found: Tensor = _Rounded.apply(x)
    return found


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient


def _halved(x: Tensor) -> Tensor:
    """As float16 holds it; gradient 1."""
    return x + (x.half().float() - x).detach()


def _slowed(x: Tensor, gain: float) -> Tensor:
    """The same value, with a gradient that is so much smaller."""
    return x.detach() + (x - x.detach()) * gain


def _spread(cells: Tensor, shape: torch.Size, block: Shape) -> Tensor:
    """One value for each block -> an array that broadcasts against the shape."""
    if cells.dim() == 0:
        return cells
    for axis, (count, size) in enumerate(zip(cells.shape, block, strict=True)):
        if count > 1 and size > 1:
            cells = cells.repeat_interleave(size, axis).narrow(axis, 0, shape[axis])
    return cells
