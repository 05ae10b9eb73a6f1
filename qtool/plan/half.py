"""Which nodes go over to floats of 16 bits, and how far.

stored     its float32 and double constants are written with 16 bits, behind a Cast that the
           runtime folds at load: a half or a quarter of the file, arithmetic as it was
computing  its activations have 16 bits too, where they have float32, the target computes so and the
           runtime takes the node in that type: it is asked, with a model of that one node
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool import model as models
from qtool.errors import QtoolError
from qtool.numeric.half import narrowed, outside
from qtool.numeric.scheme import Half
from qtool.ops import constant
from qtool.plan.eligible import NO_ROW
from qtool.plan.float_types import FLOAT, FLOATS
from qtool.runtime import Session
from qtool.target import Target
from qtool.typed import STANDARD

FEWEST = 128  # values: the Cast behind a smaller constant takes more bytes than it saves


@dataclass(frozen=True)
class HalfSite:
    """The inputs of a node that get 16 bits, whether it computes in them, and how many constant
    values are clamped for lying beyond the range."""

    dtype: str
    positions: tuple[int, ...]
    computes: bool
    clamped: int = 0

    @property
    def type(self) -> ir.DataType:
        """The ONNX type."""
        return ir.DataType[self.dtype.upper()]


def half_site(node: ir.Node, wish: Half, target: Target) -> HalfSite | str:
    """What becomes of the node, or the reason why it stays as it is. Cases in order:

    0. an operator of the runtime's own, or of a library, is left alone
    1. the target computes so, and the runtime takes the node, its constants in 16 bits or, if not,
       in float32 (Resize has such)
    2. it has constants that are worth a Cast
    """
    if node.domain not in STANDARD:  # 0: it may read its constants when it is loaded
        return NO_ROW
    dtype, inputs = wish.dtype, dict(enumerate(node.inputs))
    types = {i: v.dtype for i, v in inputs.items() if v is not None}
    floats = [i for i, kind in types.items() if kind is FLOAT]
    wide = [i for i, kind in types.items() if kind is ir.DataType.DOUBLE]
    fixed = [i for i in floats if constant(inputs[i]) is not None]
    narrow = [kind for kind in types.values() if kind in FLOATS]
    if narrow and not floats and not wide:
        return f"it is in {narrow[0].name.lower()} already"
    reason = "it has no large weights"
    if dtype in target.halves and (floats or any(v.dtype is FLOAT for v in node.outputs)):
        free = [i for i in floats if i not in fixed]
        for positions in (floats, free):
            if _taken(node, positions, dtype):  # 1
                return _site(node, positions, dtype, computes=True)
        reason = f"the runtime does not take {node.op_type} in {dtype}"
    elif dtype in target.halves and not wide:
        reason = "it has nothing in float32"
    fixed += [i for i in wide if constant(inputs[i]) is not None]
    worth = [i for i in sorted(fixed) if _values(inputs[i]).size >= FEWEST]
    return _site(node, worth, dtype, computes=False) if worth else reason  # 2


def _site(node: ir.Node, positions: list[int], dtype: str, *, computes: bool) -> HalfSite:
    clamped = sum(outside(_values(node.inputs[i]), dtype) for i in positions)
    return HalfSite(dtype, tuple(positions), computes, clamped)


def in_half(attribute: ir.Attr, dtype: str) -> ir.Attr:
    """The attribute of a node that gives float32, for one that gives 16 bits."""
    half = ir.DataType[dtype.upper()]
    name, kind = attribute.name, attribute.type
    typed = name in ("to", "dtype") and kind is ir.AttributeType.INT
    if typed and attribute.as_int() == ir.DataType.FLOAT:
        return ir.AttrInt64(name, int(half))
    filled = name == "value" and kind is ir.AttributeType.TENSOR
    if filled and attribute.as_tensor().dtype is ir.DataType.FLOAT:
        return ir.AttrTensor(name, ir.tensor(narrowed(attribute.as_tensor().numpy(), dtype)))
    return attribute


def _values(value: ir.Value | None) -> NDArray[Any]:
    tensor = constant(value)
    return np.empty(0) if tensor is None else tensor.numpy()


def _taken(node: ir.Node, positions: list[int], dtype: str) -> bool:
    """Whether the runtime loads the node alone, these inputs and its outputs in 16 bits."""
    assert node.graph is not None
    half = ir.DataType[dtype.upper()]
    attributes = [in_half(a, dtype) for a in node.attributes.values()]
    bodies = {ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS}
    values = [v for v in (*node.inputs, *node.outputs) if v is not None]
    if any(v.dtype is None for v in values) or any(a.type in bodies for a in attributes):
        return False
    if "reduction" in node.attributes and node.op_type in _FAIL_LATE:
        return False
    if any(a.name.startswith("value_float") for a in attributes):  # float32 by its very name
        return False

    def alone(name: str, value: ir.Value, turned: bool) -> ir.Value:
        return ir.Value(name=name, type=ir.TensorType(half if turned else value.dtype or half))

    inputs = [v and alone(f"i{i}", v, i in positions) for i, v in enumerate(node.inputs)]
    outputs = [alone(f"o{i}", v, v.dtype is ir.DataType.FLOAT) for i, v in enumerate(node.outputs)]
    made = ir.Node(node.domain, node.op_type, inputs, attributes, outputs=outputs, name="n")
    given = [v for v in inputs if v is not None]
    imports = dict(node.graph.opset_imports)
    graph = ir.Graph(given, outputs, nodes=[made], opset_imports=imports, name="g")
    model = ir.Model(graph, ir_version=8)
    models.stamp(model)
    return _loads(models.serialize(model))


# loaded with a reduction in 16 bits, and refused when run
_FAIL_LATE = {"ScatterElements", "ScatterND"}


@cache
def _loads(data: bytes) -> bool:
    try:
        Session(data, threads=1, optimize=False)
    except QtoolError:
        return False
    return True
