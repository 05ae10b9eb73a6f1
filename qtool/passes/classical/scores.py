"""What all of them write: rows as a float matrix, products, and results under the old names."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.classical import Floats, Reals
from qtool.passes.edit import Around

_FLOAT = ir.TensorType(ir.DataType.FLOAT)


_UNLIKE = 8  # times: what the largest row of weights may be of the smallest


class Scores:
    """Writes in front of a node of a graph, or one of its bodies."""

    def __init__(self, graph: ir.Graph, opset: int) -> None:
        self._around, self.opset = Around(graph), opset

    def then(
        self, node: ir.Node, operator: str, *inputs: ir.Value | NDArray[Any], **attributes: int
    ) -> ir.Value:
        """What a new node in front of `node` gives, of the type of its first input."""
        values = [
            each if isinstance(each, ir.Value) else self.constant(node, each) for each in inputs
        ]
        made = self._around.before(node, operator, list(values))
        for name, number in attributes.items():
            made.attributes[name] = ir.AttrInt64(name, number)
        made.outputs[0].type = next((v.type for v in values if v.type is not None), _FLOAT)
        return made.outputs[0]

    def cast(self, node: ir.Node, value: ir.Value, to: ir.DataType) -> ir.Value:
        """The value in another type."""
        found = self.then(node, "Cast", value, to=int(to))
        found.type = ir.TensorType(to)
        return found

    def constant(self, node: ir.Node, values: NDArray[Any] | ir.TensorProtocol) -> ir.Value:
        """An initializer in the node's graph."""
        return self._around.constant(node, values)

    def rows(self, node: ir.Node, features: int) -> ir.Value:
        """What the node reads, as float32 (rows, features): it takes other numbers too, and a
        vector as one row."""
        value = node.inputs[0]
        assert value is not None
        if value.dtype is not ir.DataType.FLOAT:
            value = self.cast(node, value, ir.DataType.FLOAT)
        shape = node.inputs[0].shape  # type: ignore[union-attr]
        if shape is None or len(shape) != 2:
            value = self.then(node, "Reshape", value, np.array([-1, features]))
        return value

    def product(
        self, node: ir.Node, x: ir.Value, weights: Floats | Reals, bias: Floats
    ) -> ir.Value:
        """x W + b, in float32, or in double from x on."""
        dtype = np.float64 if x.dtype is ir.DataType.DOUBLE else np.float32
        own = [np.ascontiguousarray(weights, dtype), *([bias.astype(dtype)] if bias.any() else [])]
        found = self.then(node, "Gemm" if bias.any() else "MatMul", x, *own)
        return found if dtype is np.float32 else self.cast(node, found, ir.DataType.FLOAT)

    def linear(self, node: ir.Node, x: ir.Value, weights: Floats | Reals, bias: Floats) -> ir.Value:
        """x W + b of columns of any size: x W = (x s) (W / s), s powers of two that make the rows
        of W alike. Else one step of 8 bits would be more than the weights of large columns."""
        largest = np.abs(weights).max(axis=1).astype(np.float64)
        known = largest[largest > 0]
        unlike = known.size > 0 and known.max() > _UNLIKE * known.min()
        if unlike and not _is_scaled(node.inputs[0]):
            sizes = np.where(largest > 0, largest, known.min())
            sizes = 2.0 ** np.clip(np.round(np.log2(sizes)), -60, 60)
            x = self.then(node, "Mul", x, sizes.astype(np.float32))
            weights = weights / sizes[:, None]
        return self.product(node, x, weights, bias)

    def squares(self, node: ir.Node, value: ir.Value, axis: int) -> ir.Value:
        """The sums of squares along an axis, which stays."""
        return self.over(node, "ReduceSumSquare", value, axis)

    def over(self, node: ir.Node, operator: str, value: ir.Value, axis: int) -> ir.Value:
        """A reduction over one axis, which stays."""
        if self.opset >= _AXES.get(operator, 18):
            return self.then(node, operator, value, np.array([axis]))
        found = self.then(node, operator, value)
        producer = found.producer()
        assert producer is not None
        producer.attributes["axes"] = ir.AttrInt64s("axes", [axis])
        return found


_AXES = {"ReduceSum": 13}  # from which opset on the axes of a reduction are an input, if not 18


def label_table(classes: tuple[int, ...] | tuple[str, ...]) -> ir.TensorProtocol:
    """What a Gather looks labels up in."""
    if isinstance(classes[0], str):
        return ir.tensor([str(each) for each in classes])
    return ir.tensor(np.array(classes, np.int64))


def _is_scaled(value: ir.Value | None) -> bool:
    """Whether columns were made alike before: a small weight there says little of its column."""
    node = value.producer() if value is not None else None
    if node is None:
        return False
    if node.op_type in _SCALE:
        return True
    inputs = node.inputs[:1] if node.op_type != "Concat" else node.inputs
    return node.op_type in _PASS and all(map(_is_scaled, inputs))


_SCALE = {"Div", "Mul", "Normalizer", "Scaler"}
_PASS = {"ArrayFeatureExtractor", "Cast", "Clip", "Concat", "Gather", "Imputer", "Reshape"}


def replace(node: ir.Node, *results: ir.Value) -> None:
    """Let values stand for what the node gives, under its names, and take the node away."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    for old, new in zip(node.outputs, results, strict=False):
        new.type, new.shape = old.type or new.type, old.shape
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    names = [old.name for old in node.outputs]
    graph.remove(node, safe=True)
    for name, new in zip(names, results, strict=False):
        if name:
            new.name = name


def passing_on(node: ir.Node, scores: ir.Value, **attributes: ir.Attr) -> None:
    """Leave the node what it makes of scores, with numbers that pass these on as they are."""
    node.replace_input_with(0, scores)
    for name, attr in attributes.items():
        node.attributes[name] = attr
