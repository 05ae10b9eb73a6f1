"""The rewrite of float types: each node computes in the type that the plan says.

stored     W -> 16 bits -> Cast to its own type -> its node; the runtime folds the Cast at load
computing  W -> 16 bits -> its node, whose activations have 16 bits too
widened    float16, bfloat16 and double nodes in float32, in which integer kernels read and give
           reals; so do the nodes that carry a plan out, QuantizeLinear and its like

A Cast stands where a value meets a reader of another type, once for each type, and at inputs and
outputs, which keep theirs; between two nodes of one type there is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from qtool.numeric.half import narrowed
from qtool.ops import constant
from qtool.passes.edit import array, drop_unused, insert_behind
from qtool.passes.writer import Writer, is_made
from qtool.plan.float_types import FLOAT, FLOATS
from qtool.plan.half import HalfSite, in_half
from qtool.plan.plan import Plan


@dataclass(frozen=True)
class _Computes:
    """The type that a node computes in, and the inputs that have it."""

    type: ir.DataType
    positions: tuple[int, ...]


class Retype(ir.passes.InPlacePass):
    """Carry out the part of a plan that speaks of float types."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        plan, graph, self._write = self.plan, model.graph, Writer(model.graph)
        self._casts: dict[tuple[ir.Value, ir.DataType, ir.Graph | None], ir.Value] = {}
        self._own: dict[ir.Value, ir.DataType] = {}  # what turned values were before
        self._computing: dict[ir.Node, _Computes] = {}
        graphs = [graph, *graph.subgraphs()]
        if not plan.keep_io_types:
            for value in graph.inputs:
                if value.dtype is FLOAT:
                    self._turn(value, ir.DataType.FLOAT16)
        nodes = [node for each in graphs for node in each]
        halves = {n: plan.halves[n.name or ""] for n in nodes if n.name in plan.halves}
        for node, site in halves.items():
            self._narrow(node, site)
        widened = set(plan.widened)
        for node in nodes:
            if is_made(node) or node.name in widened:
                self._widen(node)
        for node, computes in self._computing.items():
            for value in node.outputs:
                if value.dtype is FLOAT or computes.type is FLOAT:
                    self._turn(value, computes.type)
        for each in graphs:
            for value in [*each.inputs, *(v for node in each for v in node.outputs)]:
                self._border(each, value)
        for each in graphs:
            self._interface(each, keep=plan.keep_io_types or each is not graph)
        return ir.passes.PassResult(model, modified=bool(self._own or self._casts or halves))

    def _narrow(self, node: ir.Node, site: HalfSite) -> None:
        for position in site.positions:
            value = node.inputs[position]
            if value is None or constant(value) is None:
                continue
            self._store(node, position, site.dtype)
            stored = node.inputs[position]
            if not site.computes and stored is not None and value.dtype is not None:
                assert isinstance(node.graph, ir.Graph)
                cast = self._cast(node.graph, stored, value.dtype, before=node)
                node.replace_input_with(position, cast)
        if site.computes:
            self._computing[node] = _Computes(site.type, site.positions)
            for attribute in list(node.attributes.values()):
                node.attributes[attribute.name] = in_half(attribute, site.dtype)

    def _widen(self, node: ir.Node) -> None:
        """No attribute of a node with a row in the table of operators speaks of its type."""
        inputs = dict(enumerate(node.inputs))
        positions = [i for i, v in inputs.items() if v is not None and v.dtype in FLOATS]
        for position in positions:
            tensor = constant(inputs[position])
            if tensor is not None and tensor.dtype is not FLOAT:
                self._store(node, position, "float32")
        self._computing[node] = _Computes(FLOAT, tuple(positions))

    def _store(self, node: ir.Node, position: int, dtype: str) -> None:
        """Write a constant in another type."""
        value = node.inputs[position]
        assert value is not None
        suffix = "float" if dtype == "float32" else "half"
        values = narrowed(array(value), dtype)
        node.replace_input_with(position, self._write.constant(f"{value.name}_{suffix}", values))
        drop_unused(self._write.graph, value)

    def _turn(self, value: ir.Value, to: ir.DataType) -> None:
        if value.dtype in FLOATS and value.dtype is not to:
            self._own[value] = value.dtype
            value.type = ir.TensorType(to)

    def _border(self, graph: ir.Graph, value: ir.Value) -> None:
        """Cast for the readers that want another type, once."""
        if value.dtype not in FLOATS:
            return
        own = self._own.get(value, value.dtype)
        for node, position in sorted(value.uses(), key=lambda use: (use.node.name or "", use.idx)):
            computes = self._computing.get(node)
            inside = computes is not None and position in computes.positions
            wanted = computes.type if computes is not None and inside else own
            if value.dtype is not wanted:
                node.replace_input_with(position, self._cast(graph, value, wanted))

    def _interface(self, graph: ir.Graph, *, keep: bool) -> None:
        """Outputs keep their type, or take 16 bits as the inputs do."""
        for value in dict.fromkeys(graph.outputs):  # one value may stand for several outputs
            if value.dtype not in FLOATS:
                continue
            own = self._own.get(value, value.dtype)
            wanted = own if keep or own is not FLOAT else ir.DataType.FLOAT16
            if value.dtype is not wanted:
                cast = self._cast(graph, value, wanted)
                self._write.stand_in(value, cast, "before_cast", graph)

    def _cast(
        self, graph: ir.Graph, value: ir.Value, to: ir.DataType, before: ir.Node | None = None
    ) -> ir.Value:
        # What is made in a body is not seen outside of it.
        key = (value, to, None if before is None else graph)
        if key not in self._casts:
            node = self._write.cast(value, to, f"{value.name}_as_{to.name.lower()}")
            if before is not None:
                graph.insert_before(before, node)
            else:
                insert_behind(graph, value, [node])
            self._casts[key] = node.outputs[0]
        return self._casts[key]
