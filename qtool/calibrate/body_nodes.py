"""Edits of If, Loop and Scan: nodes in bodies, more outputs of branches, more states of turns."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from qtool.bodies import bodies_of
from qtool.passes.edit import add_initializer, fresh


class Maker:
    """Adds nodes to the end of any graph, constants and first nodes to the main graph."""

    def __init__(self, main: ir.Graph, taken: set[str]) -> None:
        self.main, self._taken = main, taken
        self._firsts: list[ir.Node] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    def value(self, name: str, kind: ir.DataType) -> ir.Value:
        """A value of nobody yet."""
        return ir.Value(name=fresh(f"measured_{name}", self._taken), type=ir.TensorType(kind))

    def node(
        self, graph: ir.Graph, operator: str, inputs: list[ir.Value], kind: ir.DataType,
        **attributes: int,
    ) -> ir.Value:  # fmt: skip
        """The output of a new node at the end of a graph."""
        made = self._made(operator, inputs, kind, attributes)
        graph.append(made)
        return made.outputs[0]

    def first(
        self, operator: str, inputs: list[ir.Value], kind: ir.DataType, **attributes: int
    ) -> ir.Value:
        """The output of a new node that will stand before all others, in the main graph."""
        self._firsts.append(self._made(operator, inputs, kind, attributes))
        return self._firsts[-1].outputs[0]

    def finish(self) -> None:
        """Put the first nodes in their place."""
        if self._firsts:
            self.main.insert_before(self.main.node(0), self._firsts)
        self._firsts = []

    def constant(self, values: NDArray[Any]) -> ir.Value:
        """The initializer of these values, made once."""
        key = (str(values.dtype), values.shape, values.tobytes())
        if key not in self._constants:
            name = fresh("measure_constant", self._taken)
            self._constants[key] = add_initializer(self.main, name, values)
        return self._constants[key]

    def replace(self, old: ir.Node, inputs: list[ir.Value | None], at: int, new: int) -> ir.Node:
        """A node of the same kind and bodies with `new` more outputs from position `at` on."""
        graph = old.graph
        assert graph is not None
        outputs = [ir.Value(name=v.name, type=v.type, shape=v.shape) for v in old.outputs]
        while len(outputs) < at:  # nobody reads the last ones
            outputs.append(ir.Value(name=fresh("measured_unread", self._taken)))
        kept = list(outputs)
        names = [fresh("measured_record", self._taken) for _ in range(new)]
        outputs[at:at] = [ir.Value(name=name) for name in names]
        attributes = list(old.attributes.values())
        made = ir.Node(old.domain, old.op_type, inputs, attributes, outputs=outputs, name=old.name)
        graph.insert_before(old, made)
        for value, other in zip(old.outputs, kept, strict=False):
            value.replace_all_uses_with(other, replace_graph_outputs=True)
        graph.remove(old, safe=True)
        return made

    def _made(
        self, operator: str, inputs: list[ir.Value], kind: ir.DataType, attributes: dict[str, int]
    ) -> ir.Node:
        node = ir.node(operator, inputs, attributes=attributes)
        node.name = fresh(f"measure_{operator}", self._taken)
        node.outputs[0].name = fresh(f"measured_{operator}", self._taken)
        node.outputs[0].type = ir.TensorType(kind)
        return node


def add_branch_outputs(node: ir.Node, new: list[list[ir.Value]], make: Maker) -> list[ir.Value]:
    """Let an If give more, each branch its own; returns what the node gives."""
    for body, values in zip(bodies_of(node), new, strict=True):
        body.outputs.extend(values)
    count, at = len(new[0]), len(node.outputs)
    made = make.replace(node, list(node.inputs), at, count)
    return _typed(list(made.outputs[at:]), new[0])


def add_states(
    node: ir.Node,
    body: ir.Graph,
    starts: list[ir.Value],
    states: list[ir.Value],
    next_: list[ir.Value],
    make: Maker,
) -> list[ir.Value]:
    """Let a Loop or Scan carry more: from `starts`, as `states` within, `next_` after a turn.

    Loop (trips, condition, states …)
        body (turn, condition, states …) => (condition, states …, rows …)
    Scan (states …, sequences …)
        body (states …, slices …) => (states …, rows …)

    Returns what the node gives of them in the end.
    """
    inputs = list(node.inputs)
    if node.op_type == "Loop":
        inputs += [None] * (2 - len(inputs))
        carried = len(body.inputs) - 2
        taken, given = len(body.inputs), 1 + carried
        inputs += starts
    else:
        sequences = node.attributes["num_scan_inputs"].as_int()
        carried = taken = given = len(body.inputs) - sequences
        inputs[carried:carried] = starts
    for offset, (state, value) in enumerate(zip(states, next_, strict=True)):
        body.inputs.insert(taken + offset, state)
        body.outputs.insert(given + offset, value)
    made = make.replace(node, inputs, carried, len(starts))
    return _typed(list(made.outputs[carried : carried + len(starts)]), next_)


def _typed(values: list[ir.Value], like: list[ir.Value]) -> list[ir.Value]:
    for value, other in zip(values, like, strict=True):
        value.type = other.type
    return values
