"""Nodes whose inputs are all constants become constants, computed by the runtime itself.

In bodies of If, Loop and Scan too: what is computed there is the same on every turn. What fails is
left as it is there, since a branch may be there never to be taken.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from qtool import model as models
from qtool.errors import QtoolError
from qtool.ops import bytes_of, constant
from qtool.passes.edit import add_initializer, fresh, names, require_own_names
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

    never = frozenset(_NEVER)

    def requires(self, model: ir.Model) -> None:
        """What is computed is known by its name."""
        require_own_names(model, of_nodes=False)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        # 1. Mark, in order of computation: constant inputs make a constant output.
        fixed = (v for graph in model.graphs() for v in graph.initializers.values())
        known: set[ir.Value] = {v for v in fixed if constant(v) is not None}
        marked = []
        for node in model.graph.all_nodes():
            if all(v is None or v in known for v in node.inputs) and self._foldable(node):
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
        # 3. Put the constants in the place of the nodes, which die with their last reader.
        changed, taken = False, names(model.graph)
        for graph in model.graphs():
            here = [value for value in wanted if value.graph is graph]
            for name, computed in _computed(model, here).items():
                value = next(v for v in here if v.name == name)
                if computed.nbytes > max(_SMALL, 4 * _bytes_read(value, known)):
                    continue
                value.name = fresh(f"{name}_folded", taken)
                value.replace_all_uses_with(add_initializer(graph, name, computed))
                changed = True
        return ir.passes.PassResult(model, modified=changed)

    def _foldable(self, node: ir.Node) -> bool:
        bodies = any(
            a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
            for a in node.attributes.values()
        )
        return node.domain == "" and node.op_type not in self.never and not bodies


def _is_array(value: ir.Value) -> bool:
    dtype = value.dtype
    if dtype is None or not isinstance(value.type, ir.TensorType):
        return False
    return dtype is not ir.DataType.STRING and dtype.numpy().isbuiltin == 1


def _computed(model: ir.Model, wanted: list[ir.Value]) -> dict[str, NDArray[Any]]:
    """The values of one graph by name; none where they cannot be computed, and need not be."""
    if not wanted:
        return {}
    small = ir.Model(_part(model, wanted), ir_version=model.ir_version)
    try:
        return Session(models.serialize(small), optimize=False).run({})
    except QtoolError:
        if wanted[0].graph is model.graph:
            raise
        return {}


def _part(model: ir.Model, wanted: list[ir.Value]) -> ir.Graph:
    """Copies of the nodes that the values are made by, and of the constants that those read."""
    copies: dict[ir.Value, ir.Value] = {}
    needed, stack = set[ir.Node](), list(wanted)
    while stack:
        node = stack.pop().producer()
        if node is not None and node not in needed:
            needed.add(node)
            stack += [v for v in node.inputs if v is not None]
    fixed, nodes = list[ir.Value](), list[ir.Node]()
    for node in model.graph.all_nodes():
        if node not in needed:
            continue
        for read in node.inputs:
            if read is not None and read not in copies:
                copies[read] = ir.Value(
                    name=read.name, type=read.type, shape=read.shape, const_value=read.const_value
                )
                fixed.append(copies[read])
        inputs = [None if v is None else copies[v] for v in node.inputs]
        outputs = [ir.Value(name=v.name, type=v.type, shape=v.shape) for v in node.outputs]
        copies.update(zip(node.outputs, outputs, strict=True))
        attributes = list(node.attributes.values())
        nodes.append(ir.Node("", node.op_type, inputs, attributes, outputs=outputs, name=node.name))
    imports = dict(model.graph.opset_imports)
    results = [copies[value] for value in wanted]
    return ir.Graph([], results, nodes=nodes, initializers=fixed, opset_imports=imports)


def _bytes_read(value: ir.Value, known: set[ir.Value]) -> int:
    """Bytes of the constants that this one value is computed from; narrow ones count as bytes."""
    total, seen, stack = 0, set(), [value]
    while stack:
        current = stack.pop()
        if current in seen:
            continue
        seen.add(current)
        tensor = constant(current)
        total += max(bytes_of(tensor), tensor.size) if tensor is not None else 0
        node = current.producer()
        if node is not None:
            stack += [v for v in node.inputs if v in known and v is not None]
    return total
