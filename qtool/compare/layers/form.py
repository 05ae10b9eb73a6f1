"""Two models brought into one form, so that their nodes can stand side by side in one graph."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import onnx_ir.passes.common as common
from numpy.typing import NDArray

from qtool import model as models
from qtool.apart import open_model
from qtool.errors import ModelError
from qtool.passes.lift_constants import constants_to_initializers
from qtool.typed import infer

LEAST_OPSET = 13  # ReduceSum takes axes as an input, DequantizeLinear knows channels


def in_one_form(reference: ir.Model, candidate: ir.Model) -> tuple[ir.Model, ir.Model]:
    """Both at the higher opset of the two, without functions, constants as initializers, typed.

    Raises:
        ModelError: an operator has no form at that opset.
    """
    pair = []
    for model in (reference, candidate):
        common.InlinePass()(model)
        pair.append(model)
    wanted = max(LEAST_OPSET, *(models.opset(model) for model in pair))
    try:
        pair = [models.raise_opset(model, wanted) for model in pair]
    except ModelError as error:
        raise ModelError(
            "layers cannot be compared: the models have different opsets",
            f"{error.what}: {error.why}",
            f"export both at opset {wanted}",
        ) from error
    for model in pair:
        constants_to_initializers(model)
        common.RemoveInitializersFromInputsPass()(model)
    left, right = map(infer, pair)
    return left, right


def constants(graph: ir.Graph) -> set[str]:
    """The names of all values that depend on no input."""
    found = {name for name, value in graph.initializers.items() if not value.is_graph_input()}
    for node in graph:
        if node.inputs and all(v is None or v.name in found for v in reads(node)):
            found.update(v.name or "" for v in node.outputs)
    return found


def computed(model: ir.Model, names: list[str]) -> dict[str, NDArray[Any]]:
    """The values of constants that nodes compute."""
    if not names:
        return {}
    part = ir.convenience.extract(model.graph, [], names)
    part.opset_imports.update(model.graph.opset_imports)
    return open_model(ir.Model(part, ir_version=model.ir_version)).run({})


def reads(node: ir.Node) -> list[ir.Value]:
    """What a node reads in its own graph: its inputs, and what its bodies take from outside."""
    found = [value for value in node.inputs if value is not None]
    bodies = [body for a in node.attributes.values() for body in _bodies(a)]
    inside = [each for body in bodies for each in _nodes(body)]
    made = {id(value) for each in inside for value in each.outputs}
    for body in bodies:
        for graph in (body, *body.subgraphs()):
            made |= {id(value) for value in (*graph.inputs, *graph.initializers.values())}
    taken = (value for each in inside for value in each.inputs if value is not None)
    return found + [value for value in taken if id(value) not in made]


def _nodes(body: ir.Graph) -> list[ir.Node]:
    return list(body.all_nodes())


def _bodies(attribute: ir.Attr) -> list[ir.Graph]:
    if attribute.type is ir.AttributeType.GRAPH:
        return [attribute.as_graph()]
    if attribute.type is ir.AttributeType.GRAPHS:
        return list(attribute.as_graphs())
    return []
