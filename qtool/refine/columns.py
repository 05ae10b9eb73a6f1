"""The columns that a layer's weights are multiplied with: its input, one column for each place of
its output.

A convolution gives y[n, o, p] = sum over c, k of W[o, c, k] x[n, c, p stride + k dilation - pad];
the column of (n, p) is what W is multiplied with there (im2col). The channels of each group have
columns of their own.

A transposed convolution of stride s is a convolution of stride 1 of its input with s - 1 zeros
between neighbours, by the kernel turned around, padded by the kernel's extent - 1 - pad.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd, prod
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from qtool.ops import attribute

Floats = NDArray[np.float32]
Shape: TypeAlias = tuple[int, ...]
Seen: TypeAlias = Sequence[Any]  # arrays that columns are made of; None where one is left out

_GOLDEN = 0.6180339887


@dataclass(frozen=True)
class Window:
    """How a convolution reads its input; `auto_pad` says how `pads` follow from the input's size,
    if they do, `spread` how far apart neighbours are set first, with zeros between."""

    groups: int
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    auto_pad: str = "NOTSET"
    spread: tuple[int, ...] | None = None

    @classmethod
    def turned(cls, node: ir.Node, weight: tuple[int, ...]) -> Window | None:
        """The window of a ConvTranspose; None where groups share scales, or pads follow from the
        output's size."""
        plain = cls.of(node, weight)
        if plain.groups > 1 or plain.auto_pad != "NOTSET" or "output_shape" in node.attributes:
            return None
        rank, more = len(plain.kernel), node.attributes.get("output_padding")
        behind = (0,) * rank if more is None else tuple(more.as_ints())
        extents = (*plain._extents(), *plain._extents())
        pads = (
            extent - 1 - pad + add
            for extent, pad, add in zip(extents, plain.pads, (*(0,) * rank, *behind), strict=True)
        )
        return replace(plain, strides=(1,) * rank, pads=tuple(pads), spread=plain.strides)

    @classmethod
    def of(cls, node: ir.Node, weight: tuple[int, ...]) -> Window:
        """The window of a Conv whose weight has this shape."""
        kernel = weight[2:]

        def numbers(name: str, default: tuple[int, ...]) -> tuple[int, ...]:
            attr = node.attributes.get(name)
            return default if attr is None else tuple(attr.as_ints())

        ones, auto_pad = (1,) * len(kernel), node.attributes.get("auto_pad")
        return cls(
            attribute(node, "group", 1),
            kernel,
            numbers("strides", ones),
            numbers("dilations", ones),
            numbers("pads", (0,) * (2 * len(kernel))),
            "NOTSET" if auto_pad is None else auto_pad.as_string(),
        )

    def columns(self, x: Floats, most: int) -> Floats:
        """(batch, channels, *sizes) -> (groups, columns, places): at most so many places."""
        rank, extents = len(self.kernel), self._extents()
        x = x if self.spread is None else _apart(x, self.spread)
        pads = self._pads(x.shape[2:])
        for axis, (begin, end) in enumerate(zip(pads[:rank], pads[rank:], strict=True), 2):
            if begin < 0 or end < 0:  # what a transposed convolution cuts off beyond its kernel
                x = np.take(x, range(max(-begin, 0), x.shape[axis] - max(-end, 0)), axis)
        pads = tuple(max(pad, 0) for pad in pads)
        around = [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)]
        windows = sliding_window_view(np.pad(x, around), extents, tuple(range(2, x.ndim)))
        steps = (1, 1, *self.strides, *self.dilations)
        windows = windows[tuple(slice(None, None, step) for step in steps)]
        sizes = windows.shape[: 2 + rank]
        places = np.unravel_index(chosen(sizes[0] * prod(sizes[2:]), most), (sizes[0], *sizes[2:]))
        where: tuple[Any, ...] = (places[0], slice(None), *places[1:])
        found = windows[where]  # (places, channels, *kernel)
        return np.asarray(found.reshape(len(found), self.groups, -1).transpose(1, 2, 0))

    def _extents(self) -> tuple[int, ...]:
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def _pads(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """All begins, then all ends. SAME: as many places as ceil(size / stride)."""
        if self.auto_pad == "VALID":
            return (0,) * (2 * len(sizes))
        if self.auto_pad == "NOTSET":
            return self.pads
        less, more = [], []
        for size, stride, extent in zip(sizes, self.strides, self._extents(), strict=True):
            total = max((-(-size // stride) - 1) * stride + extent - size, 0)
            less.append(total // 2)
            more.append(total - total // 2)
        return (*less, *more) if self.auto_pad == "SAME_UPPER" else (*more, *less)


def _apart(x: Floats, steps: tuple[int, ...]) -> Floats:
    """(batch, channels, *sizes) with zeros between neighbours, those of an axis so far apart."""
    sizes = [(size - 1) * step + 1 for size, step in zip(x.shape[2:], steps, strict=True)]
    found = np.zeros((*x.shape[:2], *sizes), x.dtype)
    places: tuple[Any, ...] = (..., *(slice(None, None, step) for step in steps))
    found[places] = x
    return found


def rows(x: Floats, most: int) -> Floats:
    """(..., columns) -> (1, columns, places): what a matrix is multiplied with."""
    flat = x.reshape(-1, x.shape[-1])
    return flat[chosen(len(flat), most)].T[None]


def chosen(total: int, most: int) -> NDArray[np.int64]:
    """At most so many of the places, evenly spread, in order.

    A step of golden ratio, prime to the total, keeps no time with the rows of an image.
    """
    if total <= most:
        return np.arange(total)
    step = max(1, round(total * _GOLDEN))
    while gcd(step, total) > 1:
        step += 1
    return np.sort(np.arange(most) * step % total)
