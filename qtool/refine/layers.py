"""The layers whose weights can be rounded by what their inputs are, and those weights as matrices.

How a node multiplies its weights, and which nodes, stands in `forms`. Nodes in bodies, transposed
convolutions of groups and stacks of matrices are left out, and so keep what is nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.numeric.affine import QParams, lowest
from qtool.numeric.granularity import PerBlock, spread
from qtool.ops import constant, weights_of
from qtool.plan.plan import Plan
from qtool.refine.columns import Floats
from qtool.refine.forms import Form, form_of
from qtool.rounding.problem import Problem, Reals
from qtool.rounding.scales import Grid

Key: TypeAlias = tuple[str, int]  # node name, input position

# Bytes of each entry of a layer's moments while they are summed up: two sums of 8 bytes, and as
# much for columns that wait to be added, of both models.
_BYTES = 32


@dataclass(frozen=True, eq=False)
class Layer:
    """A weight, and the nodes that multiply it: several, where they read one tensor and quantize it
    alike."""

    keys: tuple[Key, ...]
    weight: Floats
    params: QParams
    forms: tuple[Form, ...]  # how each of them multiplies it; the same matrices for all

    @property
    def uses(self) -> tuple[tuple[Key, Form], ...]:
        """Who multiplies it, and how."""
        return tuple(zip(self.keys, self.forms, strict=True))

    @property
    def groups(self) -> int:
        """How many matrices the weight is made of."""
        return self.forms[0].groups

    @property
    def width(self) -> int:
        """The columns of each matrix."""
        return int(self.matrices(self.weight).shape[2])

    @property
    def apart(self) -> bool:
        """Whether no scale is shared by several matrices, unless one is for all."""
        return self.grid().scale.size == self.params.scale.size

    @property
    def bytes(self) -> int:
        """What its moments take while they are summed up."""
        return _BYTES * self.groups * self.width**2

    def matrices(self, values: NDArray[Any]) -> NDArray[Any]:
        """An array of the weight's shape -> (groups, rows, columns)."""
        return self.forms[0].matrices(values)

    def restored(self, matrices: NDArray[Any]) -> NDArray[Any]:
        """The way back: (groups, rows, columns) -> the weight's shape."""
        return self.forms[0].restored(matrices, self.weight.shape)

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
            shape = self.params.scale.shape
            if values.size > 1:
                values = self.forms[0].restored(values, shape)
            return values.reshape(shape)  # one of all has no axes

        scale, zero = stored(grid.scale).astype(np.float32), stored(grid.zero_point)
        return replace(self.params, scale=scale, zero_point=zero.astype(np.int32))

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
    uses = [(node, position) for node in model.graph for position, _ in weights_of(node)]
    for node, position in uses:
        key = node.name or "", position
        weight = plan.weights.get(key)
        layer = None if weight is None else _layer(node, key, weight.params)
        if layer is None or weight is None:
            continue
        places = known.setdefault(weight.tensor, [])
        for place in places:
            first = found[place]
            if _alike(first, layer):
                keys, forms = (*first.keys, key), (*first.forms, *layer.forms)
                found[place] = replace(first, keys=keys, forms=forms)
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
    tensor, data = constant(node.inputs[key[1]]), node.inputs[0]
    if tensor is None or data is None or data.is_initializer() or _makes_distances(node):
        return None
    form = form_of(node, key[1], tuple(tensor.shape.numpy()))
    if form is None:
        return None
    return Layer((key,), tensor.numpy().astype(np.float32, copy=False), params, (form,))


def _makes_distances(node: ir.Node) -> bool:
    """Whether the squares of its weight are taken too: codes that are best for the product are not
    for the distance of which it is a part, |x|^2 - 2 x w + |w|^2 (`plan.delicate`)."""
    weight = node.inputs[1]
    return weight is not None and any(u.node.op_type == "ReduceSumSquare" for u in weight.uses())


def _alike(one: Layer, other: Layer) -> bool:
    """Whether one choice of codes can serve both; the weight is the same."""
    a, b = one.params, other.params
    places = np.arange(one.weight.size).reshape(one.weight.shape)
    return (
        a.type == b.type and a.granularity == b.granularity
        and np.array_equal(one.matrices(places), other.matrices(places))
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
