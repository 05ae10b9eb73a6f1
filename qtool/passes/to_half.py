"""The rewrite to floats of 16 bits.

stored     W -> 16 bits -> Cast to float32 -> its node; the runtime folds the Cast at load
computing  W -> 16 bits -> its node, whose activations have 16 bits too; a Cast stands where a node
           that computes so meets one that does not, and at inputs and outputs that keep their type
"""

from __future__ import annotations

import onnx_ir as ir

from qtool.numeric.half import narrowed
from qtool.ops import constant
from qtool.passes.edit import array, drop_unused, insert_behind
from qtool.passes.writer import Writer
from qtool.plan.half import HalfSite, in_half
from qtool.plan.plan import Plan

FLOAT, FLOAT16 = ir.DataType.FLOAT, ir.DataType.FLOAT16


class ToHalf(ir.passes.InPlacePass):
    """Carry out the part of a plan that speaks of 16-bit floats."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph, self._write = model.graph, Writer(model.graph)
        self._casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
        if not self.plan.halves and self.plan.keep_io_types:
            return ir.passes.PassResult(model, modified=False)
        self._turned: set[ir.Value] = set()  # have 16 bits now
        if not self.plan.keep_io_types:
            for value in graph.inputs:
                self._turn(value, FLOAT16)
        sites = {n: self.plan.halves[n.name or ""] for n in graph if n.name in self.plan.halves}
        for node, site in sites.items():
            self._constants(node, site)
        computing = {node: site for node, site in sites.items() if site.computes}
        for node, site in computing.items():
            for value in node.outputs:
                self._turn(value, site.type)
            for attribute in list(node.attributes.values()):
                node.attributes[attribute.name] = in_half(attribute, site.dtype)
        values = [*graph.inputs, *(v for node in graph for v in node.outputs)]
        for value in values:
            self._border(value, computing)
        self._interface(graph)
        return ir.passes.PassResult(model, modified=True)

    def _constants(self, node: ir.Node, site: HalfSite) -> None:
        for position in site.positions:
            value = node.inputs[position]
            if value is None or constant(value) is None:
                continue
            values = narrowed(array(value), site.dtype)
            stored = self._write.constant(f"{value.name}_half", values)
            if not site.computes:
                stored = self._cast(stored, FLOAT, before=node)
            node.replace_input_with(position, stored)
            drop_unused(self._write.graph, value)

    def _turn(self, value: ir.Value, to: ir.DataType) -> None:
        if value.dtype is FLOAT:
            value.type = ir.TensorType(to)
            self._turned.add(value)

    def _border(self, value: ir.Value, computing: dict[ir.Node, HalfSite]) -> None:
        """Cast for the readers that want the other type, once."""
        if value.dtype is not FLOAT and value not in self._turned:
            return
        for node, position in sorted(value.uses(), key=lambda use: (use.node.name or "", use.idx)):
            site, wanted = computing.get(node), FLOAT
            if site is not None and position in site.positions:
                wanted = site.type
            if value.dtype is not wanted:
                node.replace_input_with(position, self._cast(value, wanted))

    def _interface(self, graph: ir.Graph) -> None:
        """Outputs keep their type, or take 16 bits as the inputs do."""
        wanted = FLOAT if self.plan.keep_io_types else FLOAT16
        for value in dict.fromkeys(graph.outputs):  # one value may stand for several outputs
            if value.dtype is wanted or not (value in self._turned or value.dtype is FLOAT):
                continue
            self._write.stand_in(value, self._cast(value, wanted), "before_cast")

    def _cast(self, value: ir.Value, to: ir.DataType, before: ir.Node | None = None) -> ir.Value:
        key = (value, to)
        if key not in self._casts:
            node = self._write.cast(value, to, f"{value.name}_as_{to.name.lower()}")
            if before is not None:
                self._write.graph.insert_before(before, node)
            else:
                insert_behind(self._write.graph, value, [node])
            self._casts[key] = node.outputs[0]
        return self._casts[key]
