"""How nodes multiply their weights: as which matrices, and with columns made of what.

    MatMul, Gemm       W (columns, rows), or (rows, columns) if transposed
    Conv               W (outputs, channels / groups, *kernel), each group a matrix
    ConvTranspose      W (channels, outputs, *kernel), as the convolution that it is
    LSTM, GRU, RNN     W and R, see `recurrent`

What the columns of a convolution are stands in `columns`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.ops import attribute
from qtool.refine.columns import Floats, Seen, Shape, Window, rows
from qtool.refine.recurrent import Inputs, States


class Form(Protocol):
    """How a node multiplies a weight; `recurs` if with what it gave itself a step before."""

    @property
    def recurs(self) -> bool: ...
    @property
    def groups(self) -> int:
        """How many matrices the weight is made of."""

    def matrices(self, values: NDArray[Any]) -> NDArray[Any]:
        """An array of the weight's shape -> (groups, rows, columns)."""

    def restored(self, matrices: NDArray[Any], shape: Shape) -> NDArray[Any]:
        """The way back."""

    def reads(self, node: ir.Node) -> Sequence[ir.Value | None]:
        """What the columns are made of."""

    def columns(self, seen: Seen, most: int) -> Floats:
        """What is read -> (groups, columns, places): at most so many places."""


@dataclass(frozen=True)
class Product:
    """A product of matrices."""

    transposed: bool
    recurs, groups = False, 1

    def matrices(self, values: NDArray[Any]) -> NDArray[Any]:
        """The weight itself, rows first."""
        return (values if self.transposed else values.T)[None]

    def restored(self, matrices: NDArray[Any], shape: Shape) -> NDArray[Any]:
        """The way back."""
        return np.ascontiguousarray(matrices[0] if self.transposed else matrices[0].T)

    def reads(self, node: ir.Node) -> Sequence[ir.Value | None]:
        """Its first input."""
        return node.inputs[:1]

    def columns(self, seen: Seen, most: int) -> Floats:
        """The rows of that."""
        return rows(seen[0], most)


@dataclass(frozen=True)
class Convolution:
    """A convolution, or a transposed one."""

    window: Window
    recurs = False

    @property
    def groups(self) -> int:
        """Those of the node."""
        return self.window.groups

    def matrices(self, values: NDArray[Any]) -> NDArray[Any]:
        """The kernels, a row each."""
        if self.window.spread is not None:
            values = np.flip(values.swapaxes(0, 1), _sizes(values.shape))
        return values.reshape(self.groups, values.shape[0] // self.groups, -1)

    def restored(self, matrices: NDArray[Any], shape: Shape) -> NDArray[Any]:
        """The way back."""
        if self.window.spread is None:
            return matrices.reshape(shape)
        channels, outputs, *sizes = shape
        turned = np.flip(matrices.reshape(outputs, channels, *sizes), _sizes(shape))
        return np.ascontiguousarray(turned.swapaxes(0, 1))

    def reads(self, node: ir.Node) -> Sequence[ir.Value | None]:
        """Its first input."""
        return node.inputs[:1]

    def columns(self, seen: Seen, most: int) -> Floats:
        """What each of the windows shows."""
        return self.window.columns(seen[0], most)


def form_of(node: ir.Node, position: int, shape: Shape) -> Form | None:
    """How a node multiplies the weight at a position; None where that is left out."""
    make = _FORMS.get(node.op_type)
    return None if make is None or node.domain != "" else make(node, position, shape)


def _conv(node: ir.Node, position: int, shape: Shape) -> Form | None:
    return Convolution(Window.of(node, shape))


def _turned(node: ir.Node, position: int, shape: Shape) -> Form | None:
    window = Window.turned(node, shape)
    return None if window is None else Convolution(window)


def _product(node: ir.Node, position: int, shape: Shape) -> Form | None:
    if len(shape) != 2 or attribute(node, "transA", 0):
        return None
    return Product(bool(attribute(node, "transB", 0)))


def _recurrent(node: ir.Node, position: int, shape: Shape) -> Form | None:
    if attribute(node, "layout", 0):  # which onnxruntime does not run
        return None
    return Inputs() if position == 1 else States.of(node)


_FORMS: dict[str, Callable[[ir.Node, int, Shape], Form | None]] = {
    "Conv": _conv,
    "ConvTranspose": _turned,
    "Gemm": _product,
    "MatMul": _product,
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _recurrent),
}


def _sizes(shape: Shape) -> Shape:
    """The axes of a kernel's sizes."""
    return tuple(range(2, len(shape)))
