"""Between which bounds values can lie, as far as the operators that give them tell.

A quantizer also clamps: where values lie between its bounds anyway, nothing is lost without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qtool.ops import constant
from qtool.passes.edit import array

ANY = (-math.inf, math.inf)
Bounds = tuple[float, float]

# Outputs between fixed bounds.
_FIXED: dict[str, Bounds] = {
    "Relu": (0.0, math.inf), "Abs": (0.0, math.inf), "Exp": (0.0, math.inf),
    "Softplus": (0.0, math.inf), "Sqrt": (0.0, math.inf),
    "Sigmoid": (0.0, 1.0), "HardSigmoid": (0.0, 1.0), "Softmax": (0.0, 1.0),
    "Tanh": (-1.0, 1.0), "Softsign": (-1.0, 1.0), "Erf": (-1.0, 1.0),
    "Sin": (-1.0, 1.0), "Cos": (-1.0, 1.0),
}  # fmt: skip
# Outputs between the bounds of the first input.
_WITHIN = {
    "AveragePool", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GatherElements",
    "GatherND", "GlobalAveragePool", "GlobalMaxPool", "Identity", "MaxPool", "ReduceMax",
    "ReduceMean", "ReduceMin", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile",
    "Transpose", "Unsqueeze",
}  # fmt: skip
_JOINS = {"Concat": 0, "Max": 0, "Min": 0, "Where": 1}  # between those of all, from this one on


@dataclass
class Known:
    """What is known of the values that were seen, node by node."""

    def __post_init__(self) -> None:
        self._bounds: dict[ir.Value, Bounds] = {}

    def of(self, value: ir.Value | None) -> Bounds:
        """The bounds of a value; a constant's are its least and its largest."""
        if value is None:
            return ANY
        if value not in self._bounds and constant(value) is not None:
            self._bounds[value] = _of_constant(value)
        return self._bounds.get(value, ANY)

    def see(self, node: ir.Node) -> None:
        """Note what a node says of its outputs; its inputs were seen before."""
        found = self._found(node) if node.domain in ("", "ai.onnx") else ANY
        if found != ANY:
            for value in node.outputs[: None if node.op_type == "Split" else 1]:
                self._bounds[value] = found

    def _found(self, node: ir.Node) -> Bounds:
        if node.op_type in _FIXED:
            low, high = _FIXED[node.op_type]
            if node.op_type == "Relu":
                high = max(0.0, self.of(node.inputs[0])[1])
            return low, high
        if node.op_type in _WITHIN:
            low, high = self.of(node.inputs[0])
            if node.op_type == "AveragePool":  # padding may count, as zeros
                low, high = min(low, 0.0), max(high, 0.0)
            return low, high
        if node.op_type in _JOINS:
            parts = [self.of(v) for v in node.inputs[_JOINS[node.op_type] :]]
            return min(low for low, _ in parts), max(high for _, high in parts)
        if node.op_type == "Clip":
            low, high = self.of(node.inputs[0])
            least, most = (*node.inputs[1:3], None, None)[:2]
            lower, upper = self.of(least)[0], self.of(most)[1]
            return min(max(low, lower), upper), min(max(high, lower), upper)
        return ANY


def _of_constant(value: ir.Value) -> Bounds:
    values = array(value)
    if values.size == 0 or values.dtype.kind not in "fiub":
        return ANY
    low, high = float(np.min(values)), float(np.max(values))
    return ANY if math.isnan(low) or math.isnan(high) else (low, high)
