"""The layers whose weights can be rounded by what their inputs are, and those weights as matrices.

    Conv     W (outputs, channels / groups, *kernel)    each group a matrix
    Gemm     W (columns, rows), or transposed           MatMul     W (columns, rows)

Nodes in bodies, recurrent layers, transposed convolutions and stacks of matrices are left out, and
so keep what is nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.numeric.affine import Codes, QParams, lowest
from qtool.numeric.granularity import spread
from qtool.ops import attribute, constant
from qtool.plan.plan import Plan
from qtool.refine.columns import Floats, Window, rows
from qtool.rounding.problem import Problem, Reals

Key: TypeAlias = tuple[str, int]  # node name, input position

WIDEST = 4608  # columns of one matrix, 512 channels of 3 x 3: their moments are 170 MB


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

    def matrices(self, values: NDArray[Any]) -> NDArray[Any]:
        """An array of the weight's shape -> (groups, rows, columns)."""
        if self.window is None:
            return (values if self.transposed else values.T)[None]
        outputs = values.shape[0] // self.groups
        return values.reshape(self.groups, outputs, -1)

    def restored(self, matrices: Codes) -> Codes:
        """The way back: (groups, rows, columns) -> the weight's shape."""
        if self.window is None:
            return np.ascontiguousarray(matrices[0] if self.transposed else matrices[0].T)
        return matrices.reshape(self.weight.shape)

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
            lowest(params), params.type.maximum, moments,
        )  # fmt: skip


def find_layers(model: ir.Model, plan: Plan) -> list[Layer]:
    """The layers of a plan in the main graph, in the order in which they run."""
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
    return found


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
    layer = made(keys=(key,), weight=weight, params=params)
    return layer if layer.width <= WIDEST else None


def _conv(node: ir.Node, weight: Floats) -> Any:
    return partial(Layer, window=Window.of(node, weight.shape))


def _product(node: ir.Node, weight: Floats) -> Any:
    if weight.ndim != 2 or attribute(node, "transA", 0):
        return None
    return partial(Layer, window=None, transposed=bool(attribute(node, "transB", 0)))


_MAKERS = {"Conv": _conv, "Gemm": _product, "MatMul": _product}


def _alike(one: Layer, other: Layer) -> bool:
    """Whether one choice of codes can serve both; the weight is the same."""
    a, b = one.params, other.params
    same = a.type == b.type and a.granularity == b.granularity
    form = one.transposed == other.transposed and (one.window is None) == (other.window is None)
    groups = one.groups == other.groups
    return (
        same and form and groups
        and np.array_equal(a.scale, b.scale)
        and np.array_equal(a.zero_point, b.zero_point)
    )  # fmt: skip


def in_groups(layers: Sequence[Layer], most: int, size: int) -> list[list[Layer]]:
    """The layers in at most so many groups, in order; more only where the moments of a group would
    take more than `size` bytes."""
    groups: list[list[Layer]] = []
    share, held = -(-len(layers) // most), 0
    for layer in layers:
        needs = 2 * 8 * layer.groups * layer.width**2
        if not groups or len(groups[-1]) >= share or held + needs > size:
            groups.append([])
            held = 0
        groups[-1].append(layer)
        held += needs
    return groups
