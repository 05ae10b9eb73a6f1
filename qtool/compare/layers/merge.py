"""One graph in which three models run side by side over the same inputs.

    reference    as it is
    candidate    as it is
    local        the candidate again, in which whoever reads a place gets the reference's value of
                 it: what a place holds there was made from exact inputs

so that in one pass    own error = local - reference,    inherited = candidate - local.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.compare.layers.codes import Codes
from qtool.compare.layers.form import constants, reads
from qtool.compare.layers.place import Member, Place
from qtool.passes.edit import fresh

CANDIDATE, LOCAL = "candidate/", "local/"


@dataclass(frozen=True)
class Gain:
    """By what the candidate's channels are scaled: candidate = factors * reference along `axis`."""

    axis: int
    factors: NDArray[np.float64]

    def shaped(self, rank: int) -> NDArray[np.float64]:
        """The factors, to broadcast over a tensor of that rank."""
        shape = [1] * rank
        shape[self.axis] = -1
        return self.factors.reshape(shape)


@dataclass(frozen=True)
class Part:
    """A model taken apart: its values by the names that they had, and its inputs."""

    values: dict[str, ir.Value]
    inputs: tuple[str, ...]


class Merged:
    """Reference and candidate side by side; `outputs` of what is asked of them make the model.

    Args:
        reference, candidate: models in one form.
        carried: their states, output -> input; each model has its own.
    """

    def __init__(
        self, reference: ir.Model, candidate: ir.Model, carried: Mapping[str, str]
    ) -> None:
        self._taken: set[str] = set()
        self._version = max(reference.ir_version, candidate.ir_version)
        imports = [model.graph.opset_imports for model in (reference, candidate)]
        domains = dict.fromkeys(domain for each in imports for domain in each)
        self._imports = {d: max(each.get(d, 1) for each in imports) for d in domains}
        self._outputs: list[ir.Value] = []
        self._casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
        self._source = candidate
        self._fixed = constants(candidate.graph)
        self.reference = self._take(reference, "")
        self.candidate = self._take(candidate, CANDIDATE)
        self._inputs = [self.reference.values[name] for name in self.reference.inputs]
        for name in self.candidate.inputs:
            value = self.candidate.values[name]
            if name in carried.values():
                self._inputs.append(value)
            else:
                self._stand(self.candidate, name, self._as(self.reference.values[name], value))
        self._states = [
            part.values[name] for part in (self.reference, self.candidate) for name in carried
        ]

    def local(
        self,
        places: Sequence[Place],
        gains: Mapping[str, Gain],
        ranks: Mapping[str, int],
        weights: Mapping[str, NDArray[Any]],
    ) -> Part:
        """The candidate again, fed with the reference's values, times their gains.

        `weights` are the constants of `plain_weights`, computed.
        """
        part = self._take(self._source, LOCAL)
        for name in part.inputs:
            self._stand(part, name, self._as(self.reference.values[name], part.values[name]))
        for name in self._fixed:
            self._stand(part, name, self.candidate.values[name])
        loaded = {self.candidate.values[n]: self.constant(array) for n, array in weights.items()}
        found = [
            (use, place, member)
            for place in places
            for member in place.members
            for use in outside(part.values, place, member)
        ]  # all of them, before any is changed
        for (node, position), place, member in found:
            exact = self.reference.values[place.tensor]
            if gain := gains.get(place.key):
                exact = self.scaled(exact, gain.shaped(ranks[place.key]))
            if member.codes is None:
                exact = self._as(exact, part.values[member.name])
            else:
                exact = self.quantize(exact, member.codes)
            node.replace_input_with(position, exact)
            for index, value in enumerate(node.inputs if member.restored else ()):
                if value in loaded and value is not None:
                    node.replace_input_with(index, loaded[value])
        return part

    def quantize(self, value: ir.Value, codes: Codes) -> ir.Value:
        """The value as integers of these codes."""
        grid = {"axis": codes.axis, "block_size": codes.block or None}
        given = [self.cast(value, ir.DataType.FLOAT), *self._scale_and_zero(codes)]
        return self.node("QuantizeLinear", given, codes.type, **grid)

    def dequantize(self, value: ir.Value, codes: Codes) -> ir.Value:
        """The real numbers that integers of these codes stand for."""
        grid = {"axis": codes.axis, "block_size": codes.block or None}
        given = [value, *self._scale_and_zero(codes)]
        return self.node("DequantizeLinear", given, ir.DataType.FLOAT, **grid)

    def scaled(self, value: ir.Value, factors: NDArray[np.float64]) -> ir.Value:
        """The value times constants that broadcast to it."""
        assert value.dtype is not None
        kind = value.dtype.numpy()
        return self.node("Mul", [value, self.constant(factors.astype(kind))], value.dtype)

    def cast(self, value: ir.Value, to: ir.DataType) -> ir.Value:
        """The value as that type."""
        if value.dtype is to:
            return value
        if (value, to) not in self._casts:
            self._casts[value, to] = self.node("Cast", [value], to, to=int(to))
        return self._casts[value, to]

    def node(
        self,
        operator: str,
        inputs: Sequence[ir.Value],
        dtype: ir.DataType,
        **attributes: int | None,
    ) -> ir.Value:
        """The result of a new node; attributes that are None are left out."""
        given = {name: number for name, number in attributes.items() if number is not None}
        made = ir.node(operator, list(inputs), attributes=given)
        made.name = fresh(f"layers/{operator}", self._taken)
        value = made.outputs[0]
        value.name = fresh(f"layers/{operator}/result", self._taken)
        value.type = ir.TensorType(dtype)
        return value

    def constant(self, array: NDArray[Any]) -> ir.Value:
        """A new initializer."""
        name = fresh("layers/constant", self._taken)
        tensor = ir.tensor(array, name=name)
        kind, shape = ir.TensorType(tensor.dtype), ir.Shape(array.shape)
        return ir.Value(name=name, type=kind, shape=shape, const_value=tensor)

    def output(self, value: ir.Value) -> str:
        """The name under which a run gives the value."""
        self._outputs.append(value)
        return value.name or ""

    def model(self) -> ir.Model:
        """All that the outputs and the states need, in an order in which little is held at once."""
        outputs = list(dict.fromkeys((*self._outputs, *self._states)))
        nodes = list(_in_order(outputs))
        read = {id(v): v for node in nodes for v in reads(node)} | {id(v): v for v in outputs}
        for value in {v for node in nodes for v in node.outputs} - set(outputs):
            value.type = None  # the runtime finds them itself, faster than it reads them
        given = [v for v in read.values() if v.producer() is None and v.const_value is not None]
        graph = ir.Graph(
            self._inputs,
            outputs,
            nodes=nodes,
            initializers=given,
            opset_imports=self._imports,
            name="layers",
        )
        return ir.Model(graph, ir_version=self._version)

    def _take(self, model: ir.Model, prefix: str) -> Part:
        """A copy whose nodes belong to no graph, and whose names begin with `prefix`."""
        graph = model.clone().graph
        made = [value for node in graph for value in node.outputs]
        values = {v.name or "": v for v in (*graph.initializers.values(), *graph.inputs, *made)}
        inputs = tuple(value.name or "" for value in graph.inputs)
        for node in graph.all_nodes():
            node.name = fresh(f"{prefix}{node.name or node.op_type}", self._taken)
            for value in node.outputs:
                if value.name:
                    value.name = fresh(f"{prefix}{value.name}", self._taken)
                given = value.is_graph_output() and node.graph is not graph  # the runtime may ask
                value.shape = _unnamed(value.shape) if given else None
        for body in graph.subgraphs():
            for value in (*body.inputs, *body.initializers.values()):
                value.name = fresh(f"{prefix}{value.name}", self._taken)
        graph.outputs.clear()
        graph.inputs.clear()
        graph.initializers.clear()
        graph.remove(list(graph))
        for name, value in values.items():
            if value.producer() is None:
                value.name = fresh(f"{prefix}{name}", self._taken)
        values.pop("", None)
        return Part(values, inputs)

    def _stand(self, part: Part, name: str, value: ir.Value) -> None:
        """Let a value be what a part has under that name."""
        part.values[name].replace_all_uses_with(value)
        part.values[name] = value

    def _as(self, value: ir.Value, other: ir.Value) -> ir.Value:
        return value if other.dtype is None else self.cast(value, other.dtype)

    def _scale_and_zero(self, codes: Codes) -> list[ir.Value]:
        return [self.candidate.values[name] for name in (codes.scale, codes.zero) if name]


def outside(
    values: Mapping[str, ir.Value], place: Place, member: Member
) -> list[tuple[ir.Node, int]]:
    """Who reads a form of a place, other than what makes another form of it."""
    own = {values[each.name] for each in place.members}
    return [(node, at) for node, at in values[member.name].uses() if node.outputs[0] not in own]


def plain_weights(candidate: ir.Model, places: Sequence[Place]) -> list[str]:
    """Constants that are computed, and read beside what was restored from integers.

    Read beside exact floats instead, they could make the runtime take a kernel that rounds these
    in its own way.
    """
    graph, fixed = candidate.graph, constants(candidate.graph)
    values = {v.name or "": v for v in (*graph.inputs, *(v for n in graph for v in n.outputs))}
    nodes = [
        node
        for place in places
        for member in place.members
        for node, _ in outside(values, place, member)
        if member.restored
    ]
    read = {v.name or "": v for node in nodes for v in node.inputs if v is not None}
    return [
        name
        for name, value in read.items()
        if name in fixed and value.producer() is not None and value.dtype is ir.DataType.FLOAT
    ]


def _unnamed(shape: ir.Shape | None) -> ir.Shape | None:
    """A shape without names of axes, which mean another thing in each model."""
    if shape is None:
        return None
    return ir.Shape([axis if isinstance(axis, int) else None for axis in shape])


def _in_order(outputs: Sequence[ir.Value]) -> Iterator[ir.Node]:
    """What outputs are computed by, one after the other."""
    done: set[ir.Node] = set()
    stack = [(value.producer(), False) for value in reversed(outputs)]
    while stack:
        node, ready = stack.pop()
        if node is None or node in done:
            continue
        if ready:
            done.add(node)
            yield node
            continue
        stack.append((node, True))
        stack += [(value.producer(), False) for value in reversed(reads(node))]
