"""What the rules of dequantization build with: nodes in the place of one node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.errors import ModelError
from qtool.ops import constant
from qtool.passes.edit import array
from qtool.passes.writer import Writer

DOMAINS = ("", "ai.onnx", "com.microsoft")


class Maker:
    """Makes nodes in front of the node `at`; constants go to the main graph."""

    def __init__(self, graph: ir.Graph) -> None:
        self.write = Writer(graph)
        self.at: ir.Node

    def node(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        name: str,
        attributes: Mapping[str, Any] | None = None,
    ) -> ir.Value:
        """The output of a new node of the standard."""
        name = self.write.name(name)
        made = ir.node(op, inputs, attributes, name=name)
        made.outputs[0].name = name
        graph = self.at.graph
        assert graph is not None
        graph.insert_before(self.at, made)
        return made.outputs[0]

    def like(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        without: tuple[str, ...] = (),
        type: ir.TypeProtocol | None = None,
    ) -> ir.Value:
        """The output of a node `op` with the name and the attributes of the node `at`."""
        kept = {k: a for k, a in self.at.attributes.items() if k not in without}
        made = self.node(op, inputs, f"{self.at.name or op}_real", kept)
        made.type = type or ir.TensorType(ir.DataType.FLOAT)
        self.keep_name(self.at, made)
        return made

    def keep_name(self, old: ir.Node, made: ir.Value) -> None:
        """Let the node that gives a value have the name of the one whose place it takes."""
        node = made.producer()
        if old.name and node is not None:
            node.name, old.name = old.name, self.write.name(f"{old.name}_old")

    def constant(self, values: NDArray[Any], name: str) -> ir.Value:
        """An initializer; equal ones are made once."""
        return self.write.constant(name, values)

    def dequantized(
        self,
        codes: ir.Value | None,
        scale: ir.Value | None,
        zero: ir.Value | None,
        *,
        axis: int | None = None,
    ) -> ir.Value:
        """DequantizeLinear(codes); along `axis` where the scale has several values."""
        assert codes is not None and scale is not None
        if constant(scale) is not None and (zero is None or constant(zero) is not None):
            scale, zero = self._parameters(scale, zero)
        along = {"axis": axis} if len(scale.shape or ()) == 1 and axis is not None else {}
        made = self.node(
            "DequantizeLinear", [codes, scale, zero], f"{codes.name}_dq",
            along,
        )  # fmt: skip
        made.type, made.shape = ir.TensorType(scale.dtype or ir.DataType.FLOAT), codes.shape
        return made

    def quantized(self, real: ir.Value, scale: ir.Value | None, zero: ir.Value | None) -> ir.Value:
        """QuantizeLinear(real)."""
        assert scale is not None
        made = self.node("QuantizeLinear", [real, scale, zero], f"{real.name}_q")
        codes = ir.DataType.UINT8 if zero is None else zero.dtype
        made.type = ir.TensorType(codes) if codes is not None else None
        return made

    def _parameters(
        self, scale: ir.Value, zero: ir.Value | None
    ) -> tuple[ir.Value, ir.Value | None]:
        """Both of one shape, as DequantizeLinear wants them: () or (channels,)."""
        scales = array(scale).reshape(-1)
        zeros = None if zero is None else array(zero).reshape(-1)
        size = max(scales.size, 1 if zeros is None else zeros.size)
        shape = () if size == 1 else (size,)
        if scales.shape != shape:
            spread = np.ascontiguousarray(np.broadcast_to(scales, size).reshape(shape))
            scale = self.constant(spread, f"{scale.name}_spread")
        elif len(scale.shape or ()) != len(shape):
            scale = self.constant(scales.reshape(shape), f"{scale.name}_spread")
        if zeros is not None and zero is not None and (array(zero).shape != shape):
            spread = np.ascontiguousarray(np.broadcast_to(zeros, size).reshape(shape))
            zero = self.constant(spread, f"{zero.name}_spread")
        return scale, zero

    def refuse(self, why: str) -> ModelError:
        """The error that names the operator and the node that cannot be dequantized."""
        return refusal(self.at, why)


def refusal(node: ir.Node, why: str) -> ModelError:
    """The error that names the operator and the node that cannot be dequantized."""
    return ModelError(
        f"{node.op_type} {node.name!r} cannot be dequantized",
        why,
        "give the float model it was made from",
    )


def inputs_of(node: ir.Node, count: int) -> list[ir.Value | None]:
    """The inputs, filled up with None to `count`."""
    return [*node.inputs, *[None] * (count - len(node.inputs))]


def put(old: ir.Value, new: ir.Value, maker: Maker) -> None:
    """Let `new` stand for `old`, under the name of `old` where that is an output of a graph."""
    producer = old.producer()
    assert producer is not None
    if new.type is None:
        new.type = old.type
    if new.shape is None:
        new.shape = old.shape
    if old.is_graph_output():
        graph, source = producer.graph, new.producer()
        if source is None or source.graph is not graph or new.is_graph_output():
            maker.at = producer
            copied = maker.node("Identity", [new], f"{old.name}_out")
            copied.type, copied.shape, new = new.type, new.shape, copied
        name = old.name
        old.name = maker.write.name(f"{name}_old")
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        new.name = name
        return
    old.replace_all_uses_with(new)
