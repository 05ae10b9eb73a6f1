"""Constant nodes become initializers, and weights of bodies move to the main graph: one place to
look for them, one copy for all branches.

Only floats: what the shapes inside a body follow from stays beside it, where shape inference
looks. Names must be unique over all graphs, and a body must make what it gives out.
"""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common

from qtool.errors import ModelError
from qtool.plan.float_types import FLOATS


class LiftConstants(ir.passes.InPlacePass):
    """Moves float initializers of bodies to the main graph, and drops those that nobody reads."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for body in model.graph.subgraphs():
            for name, value in list(body.initializers.items()):
                if value.is_graph_output() or value.is_graph_input():
                    continue
                used = bool(value.uses())
                if used and value.dtype not in FLOATS:
                    continue
                body.initializers.pop(name)
                if used:
                    model.graph.register_initializer(value)
                changed = True
        return ir.passes.PassResult(model, modified=changed)


def constants_to_initializers(model: ir.Model) -> None:
    """Of Constant nodes, in bodies too.

    Raises:
        ModelError: one has an attribute that Constant does not know; the runtime may not mind.
    """
    try:
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    except (TypeError, ValueError) as error:
        raise ModelError("a Constant node of the model is not valid", str(error)) from error
