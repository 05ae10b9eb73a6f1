"""The columns that a layer's weights are multiplied with: its input, one column for each place of
its output.

A convolution gives y[n, o, p] = sum over c, k of W[o, c, k] x[n, c, p stride + k dilation - pad];
the column of (n, p) is what W is multiplied with there (im2col). The channels of each group have
columns of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, prod
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from qtool.ops import attribute

Floats = NDArray[np.float32]

_GOLDEN = 0.6180339887


@dataclass(frozen=True)
class Window:
    """How a convolution reads its input; `auto_pad` says how `pads` follow from the input's size,
    if they do."""

    groups: int
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    auto_pad: str = "NOTSET"

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
        pads = self._pads(x.shape[2:])
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
