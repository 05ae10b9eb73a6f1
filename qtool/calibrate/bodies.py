"""Statistics of what is made inside bodies of If, Loop and Scan: reduced there, and carried out.

Nothing inside a body can be an output of the model, and how often a body runs may follow from the
data. So the tensors of a graph are reduced where they are made, to records of one size:

    low, high   the exact ends
    flaw        0, or NaN where a value is NaN or infinite
    weight      how many values there were
    values      K of them: those at floor(stretch_k * weight / K)

A record is a new output of an If, and a new state of a Loop or Scan, where each turn is merged with
what was before. A branch that is not taken, no turn at all and an empty tensor give the neutral
element, (inf, -inf, 0, 0, zeros).

    merge(a, b)   min, max, sum, sum; slot k takes b's value where
                  lot_k < b.weight / (a.weight + b.weight)

This is a reservoir: of all that went by, each value is as likely to be left as any other, and
memory does not grow with the number of turns. Each slot draws lots of its own, from a seed of its
own (Park and Miller 1988), so the same model and data give the same statistic:

    state = 48271 * state mod (2^31 - 1)        lot = state / (2^31 - 1)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.bodies import bodies_of, graphs_in, has_known_bodies
from qtool.calibrate.body_nodes import Maker, add_branch_outputs, add_states
from qtool.numeric.tally import LOTS

_FLOAT, _REAL, _WHOLE = ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.INT64
_TURN = 48271


@dataclass(frozen=True)
class Record:
    """Of n tensors at once: (n,) each, `values` (n, K)."""

    low: ir.Value
    high: ir.Value
    flaw: ir.Value
    weight: ir.Value
    values: ir.Value

    @classmethod
    def of(cls, parts: Sequence[ir.Value]) -> Record:
        """A record of `parts`, in order."""
        return cls(*parts)

    @property
    def parts(self) -> list[ir.Value]:
        """All of it, in order."""
        return [self.low, self.high, self.flaw, self.weight, self.values]


_TYPES = (_FLOAT, _FLOAT, _FLOAT, _REAL, _FLOAT)
_NEUTRAL = (np.float32(np.inf), np.float32(-np.inf), np.float32(0), np.float64(0))


@dataclass(frozen=True)
class Carried:
    """Tensors, and the names of the outputs of the model that hold their record."""

    tensors: tuple[str, ...]
    low: str
    high: str
    flaw: str
    weight: str
    values: str

    def seen(self, results: Mapping[str, Any]) -> Iterator[tuple[str, float, float, NDArray[Any]]]:
        """Tensor, its ends, and values (K,), of each tensor of which there was one value or more.

        Raises:
            ValueError: a value is NaN or infinite.
        """
        found = zip(*(results[name] for name in astuple(self)[1:]), strict=True)
        for tensor, (low, high, flaw, weight, values) in zip(self.tensors, found, strict=True):
            if not np.isfinite(flaw):
                what = "Inf" if np.isinf(low) or np.isinf(high) else "NaN"
                raise ValueError(f"{what} in tensor {tensor!r}")
            if weight:
                yield tensor, float(low), float(high), values


def inside(model: ir.Model) -> set[str]:
    """The names of all that bodies take and make."""
    bodies = [body for body in graphs_in(model.graph) if body is not model.graph]
    made = (v for body in bodies for node in body for v in node.outputs)
    return {v.name or "" for v in (*(v for body in bodies for v in body.inputs), *made)}


def carry_out(
    model: ir.Model,
    tensors: Collection[str],
    stretches: ir.Value,
    seeds: ir.Value,
    taken: set[str],
) -> list[Carried]:
    """Let the model tell of tensors inside its bodies; its outputs grow by what is returned.

    Args:
        stretches: an input of the model, (K or more,), float64.
        seeds: an input of the model, (K,), int64, each from 1 to 2^31 - 2.
        taken: names that are not free; grows.
    """
    return _Bodies(model.graph, tensors, stretches, seeds, taken).carry_out()


class _Bodies:
    def __init__(
        self,
        graph: ir.Graph,
        tensors: Collection[str],
        stretches: ir.Value,
        seeds: ir.Value,
        taken: set[str],
    ) -> None:
        self.graph, self.tensors, self.seeds = graph, frozenset(tensors), seeds
        self.make = Maker(graph, taken)
        first = self.make.first
        self.slots = first("Shape", [seeds], _WHOLE)
        self.count = first("Cast", [self.slots], _REAL, to=int(_REAL))
        zero = self.make.constant(np.array([0]))
        self.steps = first("Slice", [stretches, zero, self.slots], _REAL)
        self.neutrals: dict[int, Record] = {}

    def carry_out(self) -> list[Carried]:
        made = []
        for node in list(self.graph):
            names, record = self._widened(node)
            if record is not None:
                self.graph.outputs.extend(record.parts)
                made.append(Carried(tuple(names), *(v.name or "" for v in record.parts)))
        self.make.finish()
        return made

    def _record(self, body: ir.Graph) -> tuple[list[str], Record | None]:
        """What one run of a body tells, of the tensors in it and in the bodies of its nodes."""
        names, found = list[str](), list[Record]()
        for node in list(body):
            inner, record = self._widened(node)
            if record is not None:
                names += inner
                found.append(record)
        made = (v for node in body for v in node.outputs)
        own = [v for v in (*body.inputs, *made) if v.name in self.tensors]
        if own:
            names += [v.name or "" for v in own]
            found.append(self._leaf(body, own))
        return names, self._joined(body, found) if found else None

    def _widened(self, node: ir.Node) -> tuple[list[str], Record | None]:
        """Let a node give the records of its bodies; it is replaced by another where it does."""
        if not has_known_bodies(node):
            return [], None
        told = [(body, *self._record(body)) for body in bodies_of(node)]
        names = [name for _, inner, _ in told for name in inner]
        if not names:
            return [], None
        if node.op_type == "If":
            return names, self._branches(node, told, len(names))
        ((body, _, record),) = told
        assert record is not None
        return names, self._turns(node, body, record, len(names))

    def _branches(
        self, node: ir.Node, told: list[tuple[ir.Graph, list[str], Record | None]], total: int
    ) -> Record:
        """Each branch gives the neutral element for what is in the others."""
        before, new = 0, list[list[ir.Value]]()
        for body, inner, record in told:
            if record is None:  # a branch gives nothing that it has not made
                parts = zip(self._neutral(total).parts, _TYPES, strict=True)
                new.append([self.make.node(body, "Identity", [v], kind) for v, kind in parts])
                continue
            around = (before, total - before - len(inner))
            before += len(inner)
            sides = [[self._neutral(count)] if count else [] for count in around]
            new.append(self._joined(body, [*sides[0], record, *sides[1]]).parts)
        return Record.of(add_branch_outputs(node, new, self.make))

    def _turns(self, node: ir.Node, body: ir.Graph, new: Record, total: int) -> Record:
        neutral = self._neutral(total)
        starts = [self.seeds, *neutral.parts]
        states = [self.make.value("state", _WHOLE), *(self.make.value("record", t) for t in _TYPES)]
        factor, prime = self.make.constant(np.array(_TURN)), self.make.constant(np.array(LOTS))
        grown = self.make.node(body, "Mul", [states[0], factor], _WHOLE)
        turned = self.make.node(body, "Mod", [grown, prime], _WHOLE)
        merged = self._merged(body, Record.of(states[1:]), new, turned)
        for value in merged.parts:  # the runtime cannot infer what a Loop within gives, a Scan asks
            value.shape = ir.Shape([total, None] if value is merged.values else [total])
        last = add_states(node, body, starts, states, [turned, *merged.parts], self.make)
        return Record.of(last[1:])

    def _leaf(self, graph: ir.Graph, tensors: list[ir.Value]) -> Record:
        """The record of tensors in one turn."""
        make = self.make
        nought = make.constant(np.zeros(1, np.float32))
        lows, highs, flaws, sizes, padded = [], [], [], [], []
        for x in tensors:
            if x.dtype not in (None, _FLOAT):
                x = make.node(graph, "Cast", [x], _FLOAT, to=int(_FLOAT))
            flat = make.node(graph, "Reshape", [x, make.constant(np.array([-1]))], _FLOAT)
            lows.append(make.node(graph, "ReduceMin", [flat], _FLOAT, keepdims=1))
            highs.append(make.node(graph, "ReduceMax", [flat], _FLOAT, keepdims=1))
            nothing = make.node(graph, "Mul", [flat, nought], _FLOAT)  # but of NaN and infinity
            flaws.append(make.node(graph, "ReduceSum", [nothing], _FLOAT, keepdims=1))
            sizes.append(make.node(graph, "Shape", [flat], _WHOLE))
            padded.append(make.node(graph, "Concat", [flat, nought], _FLOAT, axis=0))
        size = self._stack(graph, sizes, _WHOLE)
        weight = make.node(graph, "Cast", [size], _REAL, to=int(_REAL))
        ratio = self._column(graph, make.node(graph, "Div", [weight, self.count], _REAL))
        places = make.node(graph, "Mul", [ratio, self.steps], _REAL)
        index = make.node(graph, "Cast", [places], _WHOLE, to=int(_WHOLE))
        values = []
        for row, flat in enumerate(padded):
            chosen = [index, make.constant(np.array([row]))]
            own = make.node(graph, "Gather", chosen, _WHOLE, axis=0)
            values.append(make.node(graph, "Gather", [flat, own], _FLOAT, axis=0))
        ends = [self._stack(graph, each, _FLOAT) for each in (lows, highs, flaws)]
        return Record.of([*ends, weight, self._stack(graph, values, _FLOAT)])

    def _merged(self, graph: ir.Graph, a: Record, b: Record, state: ir.Value) -> Record:
        make = self.make
        one, prime = make.constant(np.array(1.0)), make.constant(np.array(float(LOTS)))
        weight = make.node(graph, "Add", [a.weight, b.weight], _REAL)
        whole = make.node(graph, "Max", [weight, one], _REAL)
        share = self._column(graph, make.node(graph, "Div", [b.weight, whole], _REAL))
        drawn = make.node(graph, "Cast", [state], _REAL, to=int(_REAL))
        lot = make.node(graph, "Div", [drawn, prime], _REAL)
        taken = make.node(graph, "Less", [lot, share], ir.DataType.BOOL)
        return Record(
            make.node(graph, "Min", [a.low, b.low], _FLOAT),
            make.node(graph, "Max", [a.high, b.high], _FLOAT),
            make.node(graph, "Add", [a.flaw, b.flaw], _FLOAT),
            weight,
            make.node(graph, "Where", [taken, b.values, a.values], _FLOAT),
        )

    def _neutral(self, total: int) -> Record:
        """Of so many tensors; made once, outside of all bodies."""
        if total not in self.neutrals:
            ends = [self.make.constant(np.full(total, value)) for value in _NEUTRAL]
            rows = [self.make.constant(np.array([total])), self.slots]
            shape = self.make.first("Concat", rows, _WHOLE, axis=0)
            values = self.make.first("ConstantOfShape", [shape], _FLOAT)
            self.neutrals[total] = Record.of([*ends, values])
        return self.neutrals[total]

    def _joined(self, graph: ir.Graph, records: list[Record]) -> Record:
        columns = zip(_TYPES, zip(*(r.parts for r in records), strict=True), strict=True)
        return Record.of([self._stack(graph, list(each), kind) for kind, each in columns])

    def _stack(self, graph: ir.Graph, values: list[ir.Value], kind: ir.DataType) -> ir.Value:
        if len(values) == 1:
            return values[0]
        return self.make.node(graph, "Concat", values, kind, axis=0)

    def _column(self, graph: ir.Graph, value: ir.Value) -> ir.Value:
        shape = self.make.constant(np.array([-1, 1]))
        return self.make.node(graph, "Reshape", [value, shape], _REAL)
