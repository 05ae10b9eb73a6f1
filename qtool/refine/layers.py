"""The layers whose weights can be rounded by what their inputs are, and those weights as matrices.

    Conv     W (outputs, channels / groups, *kernel)    each group a matrix
    ConvTranspose   W (channels, outputs, *kernel)      as the convolution that it is (`columns`)
    Gemm     W (columns, rows), or transposed           MatMul     W (columns, rows)

Nodes in bodies, recurrent layers, transposed convolutions of groups and stacks of matrices are left
out, and so keep what is nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.numeric.affine import Codes, QParams, lowest
from qtool.numeric.granularity import PerBlock, spread
from qtool.ops import attribute, constant
from qtool.plan.plan import Plan
from qtool.refine.columns import Floats, Window, rows
from qtool.rounding.problem import Problem, Reals
from qtool.rounding.scales import Grid

Key: TypeAlias = tuple[str, int]  # node name, input position

# Bytes of each entry of a layer's moments while they are summed up: two sums of 8 bytes, and as
# much for columns that wait to be added, of both models.
_BYTES = 32


@dataclass(frozen=True, eq=False)
class Layer:
    """A weight, and the nodes that multiply it: several, where they read one tensor and quantize it
    alike. `window` is None for a product of matrices, whose weight is stored as (rows, columns)
    only if `transposed`."""

    keys: tuple[Key, ...]
    weight: Floats
    params: QParams
    window: Window | None
    transposed: bool = False

    @property
    def groups(self) -> int:
        """How many matrices the weight is made of."""
        return 1 if self.window is None else self.window.groups

    @property
    def width(self) -> int:
        """The columns of each matrix."""
        return int(self.matrices(self.weight).shape[2])

    @property
    def bytes(self) -> int:
        """What its moments take while they are summed up."""
        return _BYTES * self.groups * self.width**2

    @property
    def _sizes(self) -> tuple[int, ...]:
        """The axes of a kernel's sizes."""
        return tuple(range(2, self.weight.ndim))

    def matrices(self, values: NDArray[Any]) -> NDArray[Any]:
        """An array of the weight's shape -> (groups, rows, columns)."""
        if self.window is None:
            return (values if self.transposed else values.T)[None]
        if self.window.spread is not None:
            values = np.flip(values.swapaxes(0, 1), self._sizes)
        outputs = values.shape[0] // self.groups
        return values.reshape(self.groups, outputs, -1)

    def restored(self, matrices: Codes) -> Codes:
        """The way back: (groups, rows, columns) -> the weight's shape."""
        if self.window is None:
            return np.ascontiguousarray(matrices[0] if self.transposed else matrices[0].T)
        if self.window.spread is not None:
            channels, outputs, *sizes = self.weight.shape
            turned = np.flip(matrices.reshape(outputs, channels, *sizes), self._sizes)
            return np.ascontiguousarray(turned.swapaxes(0, 1))
        return matrices.reshape(self.weight.shape)

    def grid(self) -> Grid:
        """Its scales and zero points as the matrices share them."""
        grains, whole = self.params.granularity, self.params.scale.ndim == 0
        block = grains.size if isinstance(grains, PerBlock) else self.width

        def view(values: NDArray[Any]) -> NDArray[Any]:
            if whole:
                return values.reshape(1, 1, 1)
            shape = self.weight.shape
            return self.matrices(np.broadcast_to(spread(values, grains, shape), shape))[
                :, :, ::block
            ]

        scale = np.asarray(view(self.params.scale), np.float64)
        return Grid(scale, view(self.params.zero_point), block, not self.params.symmetric)

    def params_of(self, grid: Grid) -> QParams:
        """The parameters with scales and zero points of such a grid."""

        def stored(values: NDArray[Any]) -> NDArray[Any]:
            if self.window is None and values.size > 1:
                values = values[0] if self.transposed else values[0].T
            return values.reshape(self.params.scale.shape)  # one of all has no axes

        scale, zero = stored(grid.scale).astype(np.float32), stored(grid.zero_point)
        return replace(self.params, scale=scale, zero_point=zero.astype(np.int32))

    def columns(self, x: Floats, most: int) -> Floats:
        """What a node reads -> (groups, columns, places)."""
        return rows(x, most) if self.window is None else self.window.columns(x, most)

    def problem(self, target: Reals, moments: Reals) -> Problem:
        """What is asked of a rounding algorithm; `target` (groups, rows, columns)."""
        shape, params = self.weight.shape, self.params

        def view(values: NDArray[Any]) -> NDArray[Any]:
            if values.ndim:
                values = spread(values, params.granularity, shape)
            return self.matrices(np.broadcast_to(values, shape))

        return Problem(
            target, view(params.scale), view(params.zero_point),
            lowest(params), params.type.maximum, moments, *self._book(),
        )  # fmt: skip

    def _book(self) -> tuple[NDArray[Any], ...]:
        """The levels of a codebook, and which of its books each row of the matrices has."""
        shape, book = self.weight.shape, self.params.book
        if book is None:
            return ()
        groups = np.zeros((1,) * len(shape), np.int64)
        if book.axis is not None:
            along = book.groups_along(shape[book.axis])
            groups = along.reshape([-1 if i == book.axis else 1 for i in range(len(shape))])
        return book.levels, self.matrices(np.broadcast_to(groups, shape))[:, :, 0]


def find_layers(model: ir.Model, plan: Plan) -> list[Layer]:
    """The layers of a plan in the main graph, in the order in which they run.

    Not those of a weight that others read too, such as a table that is looked up: what all have the
    same codes of is stored once.
    """
    found: list[Layer] = []
    known: dict[str, list[int]] = {}  # a weight's tensor -> places in `found`
    for node in model.graph:
        key = node.name or "", 1
        weight = plan.weights.get(key)
        layer = None if weight is None else _layer(node, key, weight.params)
        if layer is None or weight is None:
            continue
        places = known.setdefault(weight.tensor, [])
        for place in places:
            if _alike(found[place], layer):
                first = found[place]
                found[place] = Layer(
                    (*first.keys, key), first.weight, first.params, first.window, first.transposed
                )
                break
        else:
            places.append(len(found))
            found.append(layer)
    own = {key for layer in found for key in layer.keys}
    shared = {weight.tensor for key, weight in plan.weights.items() if key not in own}
    return [
        layer
        for layer in found
        if plan.weights[layer.keys[0]].tensor not in shared and not plan.tied.keys() & {*layer.keys}
    ]


def _layer(node: ir.Node, key: Key, params: QParams) -> Layer | None:
    tensor = constant(node.inputs[1])
    if node.op_type not in _MAKERS or node.domain != "" or tensor is None:
        return None
    data = node.inputs[0]
    if data is None or data.is_initializer():
        return None
    weight = tensor.numpy().astype(np.float32, copy=False)
    made = _MAKERS[node.op_type](node, weight)
    if made is None:
        return None
    layer: Layer = made(keys=(key,), weight=weight, params=params)
    return layer


def _conv(node: ir.Node, weight: Floats) -> Any:
    return partial(Layer, window=Window.of(node, weight.shape))


def _turned(node: ir.Node, weight: Floats) -> Any:
    window = Window.turned(node, weight.shape)
    return None if window is None else partial(Layer, window=window)


def _product(node: ir.Node, weight: Floats) -> Any:
    if weight.ndim != 2 or attribute(node, "transA", 0):
        return None
    return partial(Layer, window=None, transposed=bool(attribute(node, "transB", 0)))


_MAKERS = {"Conv": _conv, "ConvTranspose": _turned, "Gemm": _product, "MatMul": _product}


def _alike(one: Layer, other: Layer) -> bool:
    """Whether one choice of codes can serve both; the weight is the same."""
    a, b = one.params, other.params
    same = a.type == b.type and a.granularity == b.granularity
    form = one.transposed == other.transposed and (one.window is None) == (other.window is None)
    groups = one.groups == other.groups
    if one.window is not None and other.window is not None:
        form = form and (one.window.spread is None) == (other.window.spread is None)
    return (
        same and form and groups
        and np.array_equal(a.scale, b.scale)
        and np.array_equal(a.zero_point, b.zero_point)
        and (a.book is b.book or (a.book is not None and a.book.same(b.book)))
    )  # fmt: skip


def in_groups(layers: Sequence[Layer], most: int) -> list[list[Layer]]:
    """The layers in at most so many groups, in order."""
    share = -(-len(layers) // most)
    return [list(layers[start : start + share]) for start in range(0, len(layers), share or 1)]


def in_loads(layers: Sequence[Layer], size: int) -> list[list[Layer]]:
    """The layers in as few runs of them as have moments of at most `size` bytes, each of which
    fits alone."""
    loads: list[list[Layer]] = []
    held = 0
    for layer in layers:
        if not loads or held + layer.bytes > size:
            loads.append([])
            held = 0
        loads[-1].append(layer)
        held += layer.bytes
    return loads
