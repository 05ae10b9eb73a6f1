"""Nodes whose inputs are all constants become constants, computed by the runtime itself."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from qtool import model as models
from qtool.ops import constant
from qtool.passes.edit import add_initializer, fresh, names
from qtool.runtime import Session

_SMALL = 1 << 16  # bytes that a folded constant may take whatever it was made from
_NEVER = {
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
    "Multinomial", "Bernoulli", "Dropout",
}  # fmt: skip


class FoldConstants(ir.passes.InPlacePass):
    """f(constants) -> constant.

    Left as they are: what would grow the file (a large Expand), nodes with bodies, and what numpy
    has no type for (sequences, texts, bfloat16).
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        # 1. Mark, in order of computation: constant inputs make a constant output.
        known: set[ir.Value] = {v for v in graph.initializers.values() if constant(v) is not None}
        marked = []
        for node in graph:
            if all(v is None or v in known for v in node.inputs) and _foldable(node):
                marked.append(node)
                known.update(node.outputs)
        # 2. Compute only what somebody outside reads.
        inside = set(marked)
        wanted = [
            value
            for node in marked
            for value in node.outputs
            if any(use.node not in inside for use in value.uses())
            and not value.is_graph_output()
            and _is_array(value)
        ]
        if not wanted:
            return ir.passes.PassResult(model, modified=False)
        results = _compute(model, wanted)
        # 3. Put the constants in the place of the nodes, which die with their last reader.
        changed, taken = False, names(graph)
        for value in wanted:
            computed = results[value.name or ""]
            if computed.nbytes > max(_SMALL, 4 * _bytes_read(value, known)):
                continue
            name = value.name
            assert name is not None
            value.name = fresh(f"{name}_folded", taken)
            value.replace_all_uses_with(add_initializer(graph, name, computed))
            changed = True
        return ir.passes.PassResult(model, modified=changed)


def _foldable(node: ir.Node) -> bool:
    bodies = any(
        a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        for a in node.attributes.values()
    )
    return node.domain == "" and node.op_type not in _NEVER and not bodies


def _is_array(value: ir.Value) -> bool:
    dtype = value.dtype
    if dtype is None or not isinstance(value.type, ir.TensorType):
        return False
    return dtype is not ir.DataType.STRING and dtype.numpy().isbuiltin == 1


def _compute(model: ir.Model, wanted: list[ir.Value]) -> dict[str, NDArray[Any]]:
    part = ir.convenience.extract(model.graph, [], [v.name or "" for v in wanted])
    part.opset_imports.update(model.graph.opset_imports)
    small = ir.Model(part, ir_version=model.ir_version)
    return Session(models.serialize(small), optimize=False).run({})


def _bytes_read(value: ir.Value, known: set[ir.Value]) -> int:
    """Bytes of the constants that this one value is computed from."""
    total, seen, stack = 0, set(), [value]
    while stack:
        current = stack.pop()
        if current in seen:
            continue
        seen.add(current)
        tensor = constant(current)
        total += tensor.nbytes if tensor is not None else 0
        node = current.producer()
        if node is not None:
            stack += [v for v in node.inputs if v in known and v is not None]
    return total
