"""What a rewrite needs: new nodes and constants under free names, equal constants made once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.numeric.affine import QParams
from qtool.numeric.granularity import PerChannel
from qtool.numeric.packing import packed
from qtool.numeric.types import IntType
from qtool.passes.edit import add_initializer, fresh, names, replace_output

_MADE = "qtool.made"
_LONG, _KEPT = 64, 40  # characters


def mark_made(node: ir.Node) -> ir.Node:
    """The same node, known as one that carries out a plan, and so computes in float32."""
    node.meta[_MADE] = True
    return node


def is_made(node: ir.Node) -> bool:
    """Whether the node was marked so."""
    return _MADE in node.meta


class Writer:
    """Adds to one graph."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self._taken = names(graph)
        self._made: dict[tuple[str, bytes, str, str], ir.Value] = {}

    def name(self, wanted: str) -> str:
        """A free name, taken from now on; of a long one the end, where exporters put what tells
        values apart: Keras lists all that was fused, and each name stands five times in a file."""
        return fresh(
            wanted if len(wanted) <= _LONG else wanted[-_KEPT:].lstrip("/;:."), self._taken
        )

    def node(
        self,
        op: str,
        inputs: list[ir.Value],
        name: str,
        attributes: Mapping[str, int | Sequence[int]] | None = None,
        domain: str = "",
    ) -> ir.Node:
        """A node of one output, both of that name; the caller inserts it."""
        name = self.name(name)
        made = ir.node(op, inputs, attributes=attributes or {}, domain=domain, name=name)
        made.outputs[0].name = name
        return mark_made(made)

    def constant(
        self, name: str, values: NDArray[Any], kind: IntType | None = None, *, own: bool = False
    ) -> ir.Value:
        """The initializer of these values, made once: also for a weight that two nodes read.

        With `own` it is shared only under the same name.
        """
        stored = np.asarray(values, order="C") if kind is None else _narrow(values, kind)
        content = hashlib.sha256(stored.reshape(-1).view(np.uint8).data).digest()
        key = (str(kind or values.dtype), content, str(values.shape), name if own else "")
        if key not in self._made:
            tensor: Any = stored
            if kind is not None and kind.container < 8:
                tensor = ir.PackedTensor(stored, onnx_type(kind), shape=values.shape)
            self._made[key] = add_initializer(self.graph, self.name(name), tensor)
        return self._made[key]

    def params(
        self,
        name: str,
        params: QParams,
        *,
        keep_zero: bool = False,
        own: bool = False,
        half: bool = False,
    ) -> list[ir.Value]:
        """Scale, as float16 or float32, and zero point as QuantizeLinear and its like take them.

        A constant's zero point of 0 is the default of DequantizeLinear, so it is left out to keep
        the file small, unless the target's fusion looks for it.
        """
        scale = onnx_shape(params.scale, params).astype(np.float16 if half else np.float32)
        values = [self.constant(f"{name}_scale", scale, own=own)]
        if keep_zero or params.zero_point.any():
            zero = onnx_shape(params.zero_point, params)
            values.append(self.constant(f"{name}_zero_point", zero, params.type, own=own))
        return values

    def cast(self, value: ir.Value, to: ir.DataType, name: str) -> ir.Node:
        """A Cast; the caller inserts it."""
        made = self.node("Cast", [value], name, {"to": int(to)})
        made.outputs[0].type, made.outputs[0].shape = ir.TensorType(to), value.shape
        return made

    def mover(
        self,
        op: str,
        inputs: list[ir.Value],
        name: str,
        attributes: Mapping[str, int | Sequence[int]] | None = None,
    ) -> ir.Node:
        """A node that computes in no float, and so is not marked as made: nothing is to be widened
        in front of it. The caller inserts it."""
        made = self.node(op, inputs, name, attributes)
        del made.meta[_MADE]
        return made

    def widened(self, value: ir.Value) -> ir.Node:
        """A Cast of 16-bit scales to float32; the caller inserts it."""
        return self.mover("Cast", [value], f"{value.name}_cast", {"to": int(ir.DataType.FLOAT)})

    def take_place(self, node: ir.Node, result: ir.Value) -> None:
        """Let a value stand for the node's output, under the output's name."""
        graph, old = node.graph, node.outputs[0]
        assert isinstance(graph, ir.Graph)
        result.type, result.shape = old.type, old.shape
        old.replace_all_uses_with(result, replace_graph_outputs=True)
        graph.remove(node, safe=True)
        result.name = old.name

    def stand_in(
        self, value: ir.Value, out: ir.Value, suffix: str, graph: ir.Graph | None = None
    ) -> None:
        """Let `out` be the output of the graph, or of a body, in place of `value`, under its name,
        which is a promise; `value` gets that name with a suffix."""
        name, value.name = value.name, fresh(f"{value.name}_{suffix}", self._taken)
        replace_output(graph or self.graph, value, out)
        out.name = name


def _narrow(codes: NDArray[Any], kind: IntType) -> NDArray[Any]:
    """Codes as they are stored: of that type, or packed in bytes."""
    if kind.container >= 8:
        return np.asarray(codes, kind.onnx_name, order="C")
    return packed(codes.astype(np.int8, copy=False), kind.container)


def onnx_type(kind: IntType) -> ir.DataType:
    """The ONNX type that stores it."""
    return ir.DataType[kind.onnx_name.upper()]


def onnx_shape(values: NDArray[Any], params: QParams) -> NDArray[Any]:
    """The grid as ONNX wants it: one axis per channel, all axes per block, none per tensor."""
    return values.reshape(-1) if isinstance(params.granularity, PerChannel) else values
