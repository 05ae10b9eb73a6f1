"""Formulas in front of one node."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.passes.classical.scores import Scores

# what gives another type than that of its first input
_GIVES = dict.fromkeys(
    ("Equal", "Greater", "GreaterOrEqual", "IsNaN", "Less", "LessOrEqual"), ir.DataType.BOOL
)
_GIVES |= {"ArgMax": ir.DataType.INT64}
_ARRAYS = (np.ndarray, np.generic)


class At:
    """Writes in front of a node: `at("Mul", x, 2)`. A number is a constant of float32, and equal
    constants are one."""

    def __init__(self, node: ir.Node, write: Scores) -> None:
        self.node, self._write = node, write
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    @property
    def x(self) -> ir.Value:
        """What the node reads."""
        value = self.node.inputs[0]
        assert value is not None
        return value

    def __call__(
        self, operator: str, *inputs: ir.Value | NDArray[Any] | float, **attributes: int
    ) -> ir.Value:
        """What a new node gives."""
        values = [each if isinstance(each, ir.Value) else self.constant(each) for each in inputs]
        made = self._write.then(self.node, operator, *values, **attributes)
        if operator in _GIVES:
            made.type = ir.TensorType(_GIVES[operator])
        elif operator == "Where":
            made.type = values[1].type
        return made

    def constant(self, values: NDArray[Any] | ir.TensorProtocol | float) -> ir.Value:
        """An initializer."""
        if isinstance(values, ir.TensorProtocol):
            return self._write.constant(self.node, values)
        given = np.asarray(values, None if isinstance(values, _ARRAYS) else np.float32)
        key = str(given.dtype), given.shape, given.tobytes()
        if key not in self._constants:
            self._constants[key] = self._write.constant(self.node, given)
        return self._constants[key]

    def cast(self, value: ir.Value, to: ir.DataType) -> ir.Value:
        """The value in a type; itself where it has that."""
        return value if value.dtype is to else self._write.cast(self.node, value, to)

    def floats(self, value: ir.Value) -> ir.Value:
        """The value in float32."""
        return self.cast(value, ir.DataType.FLOAT)

    def over(self, operator: str, value: ir.Value, axis: int) -> ir.Value:
        """A reduction over one axis, which stays."""
        return self._write.over(self.node, operator, value, axis)

    def result(self, value: ir.Value) -> ir.Value:
        """The value, or a copy where it has a name to keep."""
        kept = value.producer() is None or value.graph is not self.node.graph
        return self("Identity", value) if kept or value.is_graph_output() else value

    def matrix(self, features: int) -> ir.Value:
        """What the node reads, as float32 (rows, features)."""
        return self._write.rows(self.node, features)

    def joined(self, axis: int, *values: ir.Value) -> ir.Value:
        """Side by side along an axis."""
        return self("Concat", *values, axis=axis)
