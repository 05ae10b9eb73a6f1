"""The graph that measures: the model with other outputs, which cost little and hold little.

    small tensor -> an output of its own, looked at outside
    large tensor -> ReduceMin, ReduceMax, ReduceSum, and Gather of the values that are counted

Both give the same statistic; a small tensor costs less time outside, a large one less memory
inside. The sum is there for NaN, which min and max of the runtime may pass over. For tensors inside
bodies of If, Loop and Scan see `bodies`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qtool.calibrate.bodies import Carried, carry_out
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
    """A model to run: what each tensor is found in, and the inputs that `stretches` and `seeds`
    feed, each "" where it is not needed."""

    model: ir.Model
    fetched: tuple[str, ...]
    reduced: Mapping[str, Reduced]
    carried: tuple[Carried, ...] = ()
    stretches: str = ""
    seeds: str = ""


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
    values = made.values
    outputs = {name: made.node("Size", [values[name]], ir.DataType.INT64) for name in tensors}
    return made.model, outputs


def measuring(
    model: ir.Model,
    fetched: Collection[str],
    others: Collection[str],
    kept: Collection[str] = (),
    inside: Collection[str] = (),
) -> Measuring:
    """A copy of `model` that fetches some tensors and reduces others, those in `inside` within
    bodies; `kept` stay outputs too."""
    made = _Outputs(model)
    stretches, seeds = "", ""
    carried, reduced = list[Carried](), dict[str, Reduced]()
    if inside or others:
        steps = made.input("stretches", ir.DataType.DOUBLE)
        stretches = steps.name or ""
    if inside:
        drawn = made.input("seeds", ir.DataType.INT64)
        seeds = drawn.name or ""
        carried = carry_out(made.model, inside, steps, drawn, made.taken)
    values = made.values
    for name in dict.fromkeys((*fetched, *kept)):
        made.output(values[name])
    if others:
        reduced = {name: made.reduce(values[name], steps) for name in others}
    return Measuring(made.model, tuple(fetched), reduced, tuple(carried), stretches, seeds)


class _Outputs:
    """A clone without outputs, to which new ones are added."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model.clone()
        graph = self.model.graph
        self.taken = names(graph)
        graph.outputs.clear()

    @property
    def values(self) -> dict[str, ir.Value]:
        """What the main graph holds and makes, by name."""
        graph = self.model.graph
        constants = graph.initializers.values()  # one may be an output
        return {v.name or "": v for v in (*constants, *(o for n in graph for o in n.outputs))}

    def input(self, name: str, dtype: ir.DataType) -> ir.Value:
        """A new input of one axis."""
        name = fresh(name, self.taken)
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape([None]))
        self.model.graph.inputs.append(value)
        return value

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
        if x.dtype not in (None, ir.DataType.FLOAT):
            x = self._cast(x, ir.DataType.FLOAT)
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
