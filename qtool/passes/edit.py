"""Small edits that every pass needs: constants in, constants out, names that do not collide."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.ops import constant


def array(value: ir.Value | None) -> NDArray[Any]:
    """The values of an initializer; the caller knows that it is one."""
    tensor = constant(value)
    assert tensor is not None, f"{value} is not a constant"
    return tensor.numpy()


def names(graph: ir.Graph) -> set[str]:
    """Every name of a value or a node in the graph and its bodies.

    onnxruntime refuses a model in which two nodes have the same name.
    """
    taken = {
        v.name
        for each in (graph, *graph.subgraphs())
        for v in (*each.inputs, *each.initializers.values())
        if v.name
    }
    for node in graph.all_nodes():
        taken |= {v.name for v in (*node.outputs, *node.inputs) if v is not None and v.name}
        taken.add(node.name or "")
    return taken


def require_own_names(model: ir.Model, *, of_nodes: bool = True) -> None:
    """Every value, and every node, has a name of its own, over all graphs.

    Raises:
        PreconditionError: one has not.
    """
    nodes = list(model.graph.all_nodes())
    values = [v.name for n in nodes for v in n.outputs if v.name]  # others are left out
    for found in ([n.name for n in nodes] if of_nodes else [], values):
        if len(set(found)) != len(found):
            raise ir.passes.PreconditionError("names are not unique")


def fresh(wanted: str, taken: set[str]) -> str:
    """`wanted`, or `wanted_1`, `wanted_2` … where it is taken; the result counts as taken then."""
    name, number = wanted, 0
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name)
    return name


def add_initializer(graph: ir.Graph, name: str, tensor: Any) -> ir.Value:
    """A new initializer, of an array or an onnx_ir tensor."""
    made = tensor if isinstance(tensor, ir.TensorProtocol) else ir.tensor(tensor)
    value = ir.Value(
        name=name,
        shape=ir.Shape(made.shape.numpy()),
        type=ir.TensorType(made.dtype),
        const_value=made,
    )
    graph.register_initializer(value)
    return value


class Around:
    """New nodes and constants of a pass, named after the node that they stand in front of."""

    def __init__(self, graph: ir.Graph) -> None:
        self._taken = names(graph)

    def constant(self, node: ir.Node, values: NDArray[Any] | ir.TensorProtocol) -> ir.Value:
        """An initializer in the node's graph."""
        assert isinstance(node.graph, ir.Graph)
        return add_initializer(node.graph, fresh(f"{node.name}_constant", self._taken), values)

    def before(self, node: ir.Node, operator: str, inputs: list[ir.Value | None]) -> ir.Node:
        """A node of one output, right in front of `node`."""
        made = ir.node(operator, inputs, name=fresh(f"{node.name}_{operator}", self._taken))
        made.outputs[0].name = fresh(f"{node.name}_part", self._taken)
        assert node.graph is not None
        node.graph.insert_before(node, made)
        return made


def set_constant(node: ir.Node, position: int, values: NDArray[Any], name: str) -> None:
    """Give input `position` of `node` new constant values, leaving other readers of the old alone.

    `name` is used where there was no constant of its own to replace.
    """
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    old = node.inputs[position] if position < len(node.inputs) else None
    if old is not None and len(old.uses()) == 1 and not old.is_graph_output():
        old.const_value = ir.tensor(values, name=old.name)
        old.shape = ir.Shape(values.shape)
        return
    value = add_initializer(graph, fresh(name, names(graph)), values)
    if position >= len(node.inputs):
        node.resize_inputs(position + 1)
    node.replace_input_with(position, value)


def only_reader(value: ir.Value) -> ir.Node | None:
    """The one node that reads the value, or None if there are more or it is a graph output."""
    uses = tuple(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def can_stand_for(source: ir.Value, result: ir.Value) -> bool:
    """Whether `source` may take the place of what a node gives. An output of a graph must be made
    there, and of two names that are promised both must stay."""
    if not result.is_graph_output():
        return True
    named = source.producer() is None or source.is_graph_output()
    return not named and source.graph is result.graph


def bypass(node: ir.Node) -> None:
    """Remove a node, its first input standing for its output; a graph output keeps its name."""
    graph, source, result = node.graph, node.inputs[0], node.outputs[0]
    assert isinstance(graph, ir.Graph) and source is not None
    name, was_output = result.name, result.is_graph_output()
    shape, kind = result.shape, result.type
    result.replace_all_uses_with(source, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    if was_output:
        source.name, source.shape, source.type = name, shape, kind
    source.shape = shape if source.shape is None else source.shape
    source.type = kind if source.type is None else source.type


def insert_behind(graph: ir.Graph, value: ir.Value, nodes: list[ir.Node]) -> None:
    """Insert nodes behind the producer of a value, or at the start where it is an input.

    The value's own graph counts, be it `graph` or a body in it.
    """
    producer = value.producer()
    home = value.graph or graph
    if producer is None:
        home.insert_before(next(iter(home)), nodes)
    else:
        home.insert_after(producer, nodes)


def replace_output(graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
    """Let a value stand for another wherever that is an output of the graph."""
    for index, value in enumerate(list(graph.outputs)):
        if value is old:
            graph.outputs[index] = new


def drop_unused(graph: ir.Graph, value: ir.Value) -> None:
    """Take away an initializer, of the graph or of one around it, that nobody reads any more."""
    if not value.uses() and not value.is_graph_output():
        (value.graph or graph).initializers.pop(value.name or "", None)


def rounded(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """The result of a pass in the type of its weights; None where the type cannot hold it."""
    with np.errstate(over="ignore"):
        back = values.astype(dtype)
    return None if (np.isfinite(values) & ~np.isfinite(back)).any() else back


def is_float(values: NDArray[Any]) -> bool:
    """Whether the arithmetic of a pass may work on it: float64 inside, and back to its type."""
    return values.dtype in (np.float16, np.float32, np.float64, ml_dtypes.bfloat16)
