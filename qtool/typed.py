"""Types and shapes of all values: ONNX inference, and the runtime where that stops.

Behind an operator that is not of the standard ONNX inference knows nothing, and of some of
`ai.onnx.ml` little. The runtime does: it
says what comes out of a session, so a session is opened whose outputs are the unknown values.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import onnx_ir as ir

from qtool import model as models
from qtool.classical import DOMAIN
from qtool.errors import QtoolError
from qtool.external import without_large
from qtool.maps import remembered
from qtool.runtime import Session
from qtool.signature import TensorSpec

STANDARD = {"", DOMAIN}  # domains that ONNX inference knows


def infer(model: ir.Model) -> ir.Model:
    """The model with the types and shapes that can be found out; incomplete is not an error."""
    inferred = models.infer_shapes(model)
    while _carried_on(inferred.graph):
        inferred = models.infer_shapes(inferred)
    graph = inferred.graph
    if all(node.domain == "" for node in graph):
        return inferred
    ends = remembered(inferred)  # of types that onnx_ir cannot hold
    unknown = {
        value.name: value
        for node in graph
        for value in node.outputs
        if value.name and value.name not in ends and (value.type is None or value.shape is None)
    }
    for spec in _outputs(inferred, set(unknown)) if unknown else ():
        _tell(unknown[spec.name], spec.dtype, spec.shape)
    return inferred


def _carried_on(graph: ir.Graph) -> bool:
    """Tell shapes on where ONNX inference stops: what prepares numbers of a table gives a table."""
    changed = False
    for node in graph:
        if node.domain == DOMAIN and node.op_type in _SHAPED_ALIKE:
            given, made = node.inputs[0], node.outputs[0]
            if given is not None and given.shape is not None and made.shape is None:
                made.shape, changed = given.shape, True
                if made.type is None:
                    made.type = given.type if node.op_type == "Imputer" else _FLOAT
    return changed


_FLOAT = ir.TensorType(ir.DataType.FLOAT)
_SHAPED_ALIKE = {"Imputer", "Normalizer", "Scaler"}


def _outputs(model: ir.Model, names: set[str]) -> tuple[TensorSpec, ...]:
    """What the runtime says of values in the graph; nothing where it does not take the model."""
    # Some kernels want a large weight to be constant.
    for asked in (without_large(model)[0], model.clone()):
        made = [value for node in asked.graph for value in node.outputs]
        asked.graph.outputs[:] = [value for value in made if value.name in names]
        with suppress(QtoolError):
            return Session(models.serialize(asked), threads=1, optimize=False).signature.outputs
    return ()


def _tell(value: ir.Value, dtype: str, shape: tuple[int | str | None, ...] | None) -> None:
    try:
        kind = ir.DataType.from_numpy(np.dtype(dtype))
    except TypeError:  # a sequence, or a type that numpy lacks
        return
    if value.type is None:
        value.type = ir.TensorType(kind)
    if value.shape is None and shape:  # to the runtime, () is a shape that it does not know too
        value.shape = ir.Shape(shape)
