"""The graph that measures: the model with other outputs, which cost little and hold little.

    small tensor -> an output of its own, looked at outside
    large tensor -> ReduceMin, ReduceMax, ReduceSum, and Gather of the values that are counted

Both give the same statistic; a small tensor costs less time outside, a large one less memory
inside. The sum is there for NaN, which min and max of the runtime may pass over.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qtool.passes.edit import add_initializer, fresh, names

FETCHED = 8 << 20  # values of one run that may be outputs: 32 MB


@dataclass(frozen=True)
class Reduced:
    """The outputs that stand for one large tensor; all are scalars but `values`, (n,)."""

    low: str
    high: str
    sum: str
    values: str


@dataclass(frozen=True)
class Measuring:
    """A model to run: what each tensor is found in, and the input that `stretches` feed."""

    model: ir.Model
    fetched: tuple[str, ...]
    reduced: Mapping[str, Reduced]
    stretches: str


def small(sizes: Mapping[str, int]) -> tuple[str, ...]:
    """The tensors that are fetched: from the smallest on, as many as `FETCHED` holds."""
    kept, held = set(), 0
    for name in sorted(sizes, key=lambda name: (sizes[name], name)):
        held += sizes[name]
        if held > FETCHED:
            break
        kept.add(name)
    return tuple(name for name in sizes if name in kept)


def known_sizes(
    model: ir.Model, tensors: Collection[str], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, int] | None:
    """How many values tensors have, from what the file says of them and the shapes of the inputs;
    None where that leaves one open."""
    bound: dict[str | None, int] = {}
    for value in model.graph.inputs:
        for axis, size in zip(value.shape or (), shapes.get(value.name or "", ()), strict=False):
            if isinstance(axis, ir.SymbolicDim):
                bound[axis.value] = size
    values = {v.name or "": v for node in model.graph for v in node.outputs}
    found = {}
    for name in tensors:
        shape = values[name].shape
        if shape is None:
            return None
        axes = [axis if isinstance(axis, int) else bound.get(axis.value) for axis in shape]
        if None in axes:
            return None
        found[name] = math.prod(axis for axis in axes if axis is not None)
    return found


def sizing(model: ir.Model, tensors: Collection[str]) -> tuple[ir.Model, dict[str, str]]:
    """A model that tells how many values tensors have, and tensor name -> output name."""
    made = _Outputs(model)
    outputs = {name: made.node("Size", [made.values[name]], ir.DataType.INT64) for name in tensors}
    return made.model, outputs


def measuring(
    model: ir.Model, fetched: Collection[str], others: Collection[str], kept: Collection[str] = ()
) -> Measuring:
    """A copy of `model` that fetches some tensors and reduces others; `kept` stay outputs too."""
    made = _Outputs(model)
    for name in dict.fromkeys((*fetched, *kept)):
        made.output(made.values[name])
    stretches = ir.Value(
        name=fresh("stretches", made.taken),
        type=ir.TensorType(ir.DataType.DOUBLE),
        shape=ir.Shape([None]),
    )
    reduced = {}
    if others:
        made.model.graph.inputs.append(stretches)
        reduced = {name: made.reduce(made.values[name], stretches) for name in others}
    return Measuring(made.model, tuple(fetched), reduced, stretches.name or "")


class _Outputs:
    """A clone without outputs, to which new ones are added."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model.clone()
        graph = self.model.graph
        self.taken = names(graph)
        constants = graph.initializers.values()  # one may be an output
        self.values = {
            v.name or "": v for v in (*constants, *(o for n in graph for o in n.outputs))
        }
        graph.outputs.clear()

    def output(self, value: ir.Value) -> None:
        if value.type is None:
            value.type = ir.TensorType(ir.DataType.FLOAT)
        self.model.graph.outputs.append(value)

    def node(
        self, operator: str, inputs: list[ir.Value], dtype: ir.DataType,
        **attributes: int,
    ) -> str:  # fmt: skip
        value = self._value(operator, inputs, dtype, **attributes)
        self.output(value)
        return value.name or ""

    def reduce(self, x: ir.Value, stretches: ir.Value) -> Reduced:
        """x[floor(stretches[:m] * n / m)] of n values in x and 2 m stretches; all if n <= 2 m."""
        real, whole = ir.DataType.DOUBLE, ir.DataType.INT64
        low, high, sum_ = (
            self.node(f"Reduce{kind}", [x], ir.DataType.FLOAT, keepdims=0)
            for kind in ("Min", "Max", "Sum")
        )
        flat = self._value("Reshape", [x, self._constant([-1])], ir.DataType.FLOAT)
        zero, one = self._constant([0]), self._constant(1.0)
        size = self._value("Shape", [flat], whole)
        length = self._value("Shape", [stretches], whole)
        half = self._value("Div", [length, self._constant([2])], whole)
        every = self._value("LessOrEqual", [size, length], ir.DataType.BOOL)
        chosen = self._value("Where", [every, size, half], whole)
        steps = self._value("Slice", [stretches, zero, chosen], real)
        parts = [self._cast(size, real), self._cast(half, real)]
        ratio = self._value("Where", [every, one, self._value("Div", parts, real)], real)
        index = self._cast(self._value("Mul", [steps, ratio], real), whole)
        values = self.node("Gather", [flat, index], ir.DataType.FLOAT, axis=0)
        return Reduced(low, high, sum_, values)

    def _value(
        self, operator: str, inputs: list[ir.Value], dtype: ir.DataType, **attributes: int
    ) -> ir.Value:
        node = ir.node(operator, inputs, attributes=attributes)
        node.name = fresh(f"measure_{operator}", self.taken)
        value = node.outputs[0]
        value.name = fresh(f"measured_{operator}", self.taken)
        value.type = ir.TensorType(dtype)
        self.model.graph.append(node)
        return value

    def _cast(self, value: ir.Value, to: ir.DataType) -> ir.Value:
        return self._value("Cast", [value], to, to=int(to))

    def _constant(self, values: float | list[int]) -> ir.Value:
        dtype = np.int64 if isinstance(values, list) else np.float64
        name = fresh("measure_constant", self.taken)
        return add_initializer(self.model.graph, name, np.array(values, dtype))
