"""One graph in which each quantized tensor has a gate: quantized where it is open, else as it was.

activation   x              ->  If(gate) {x' = DequantizeLinear(QuantizeLinear(x))} else {x}
weight       y = f(x, W)    ->  If(gate) {y = f(x, W')} else {y = f(x, W)}

W' is what is stored of W: in the form that the plan says where f computes in float, since a kernel
that multiplies it packed rounds in its own way, else as the floats that the codes stand for. Where
f measures x on the run, x goes through that in the branch too.

Gates are inputs of the graph, one boolean each. Only one branch is computed, and a weight is a
constant of it, which the runtime packs as ever. A node with several weights has its gates one
within the other: of those, one at a time is meant to be open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qtool.numeric.affine import QParams, dequantize, lowest
from qtool.passes.edit import array, drop_unused, insert_behind
from qtool.passes.insert_qdq import InsertQDQ
from qtool.passes.writer import Writer
from qtool.plan.plan import Plan, TensorPlan, WeightPlan
from qtool.plan.sites import Sites

Key = tuple[str, int]


@dataclass(frozen=True)
class Gated:
    """The graph, and which input is the gate of each source of activations and each weight."""

    model: ir.Model
    activations: Mapping[str, str]
    weights: Mapping[Key, str]


def gated(model: ir.Model, sites: Sites, plan: Plan) -> Gated:
    """A copy of a prepared model with all gates of a plan; `operands` count as weights.

    Tensors of one source have one gate.
    """
    model = model.clone()
    sources: dict[str, dict[str, TensorPlan]] = {}
    for name, tensor in plan.activations.items():
        site = sites.activations.get(name)
        source = name if site is None else site.source
        if name == source or not _alike(tensor, plan.activations.get(source)):
            sources.setdefault(source, {})[name] = tensor
    maker = _Maker(model)
    activations = {source: maker.activations(source, each) for source, each in sources.items()}
    constants = {**plan.weights, **plan.operands}
    weights = {key: maker.weight(key, each) for key, each in constants.items()}
    InsertQDQ(Plan(weights=maker.stored))(model)
    return Gated(model, activations, weights)


def _alike(tensor: TensorPlan, source: TensorPlan | None) -> bool:
    """Whether what was moved lies on the grid already, that of what it was moved from."""
    if source is None:
        return False
    one, other = tensor.params, source.params
    same = one.scale == other.scale and one.zero_point == other.zero_point
    return bool(same) and one.type == other.type


class _Maker:
    """Edits one model; activations first, since weights move nodes into branches."""

    def __init__(self, model: ir.Model) -> None:
        self._graph, self._write = model.graph, Writer(model.graph)
        self._nodes = {node.name or "": node for node in model.graph.all_nodes()}
        made = {v.name: v for node in model.graph.all_nodes() for v in node.outputs}
        self._values = made | {v.name: v for each in model.graphs() for v in each.inputs}
        self.stored: dict[Key, WeightPlan] = {}
        """Of nodes in branches, what the rewrite has yet to carry out."""

    def activations(self, source: str, tensors: Mapping[str, TensorPlan]) -> str:
        """One gate for all of these; its name."""
        gate = self._gate(source)
        for name, tensor in tensors.items():
            self._activation(gate, self._values[name], tensor)
        return gate.name or ""

    def weight(self, key: Key, plan: WeightPlan) -> str:
        """A gate for what the node reads there; its name."""
        name, position = key
        node = self._nodes[name]
        value, kept = node.inputs[position], [v for v in node.outputs if v.name]
        gate, then, other = self._gate(f"{name}/{position}"), self._copy(node), self._copy(node)
        self._nodes[name] = other
        chosen = self._choice(gate, self._quantized(then, position, plan), [other], kept)
        assert isinstance(node.graph, ir.Graph) and value is not None
        node.graph.insert_before(node, chosen)
        for old, new in zip(kept, chosen.outputs, strict=True):
            old.replace_all_uses_with(new, replace_graph_outputs=True)
        node.graph.remove(node, safe=True)
        for old, new in zip(kept, chosen.outputs, strict=True):
            new.name = old.name
        drop_unused(self._graph, value)
        return gate.name or ""

    def _activation(self, gate: ir.Value, value: ir.Value, tensor: TensorPlan) -> None:
        uses = sorted(value.uses(), key=lambda use: (use.node.name or "", use.idx))
        if tensor.readers is not None:
            uses = [use for use in uses if (use.node.name, use.idx) in tensor.readers]
        output, home = tensor.readers is None and value.is_graph_output(), value.graph
        assert isinstance(home, ir.Graph)
        same = self._write.node("Identity", [value], f"{value.name}_same")
        chosen = self._choice(gate, self._through(value, tensor.params), [same], [value])
        insert_behind(self._graph, value, [chosen])
        for node, position in uses:
            node.replace_input_with(position, chosen.outputs[0])
        if output:
            self._write.stand_in(value, chosen.outputs[0], "float", home)

    def _quantized(self, node: ir.Node, position: int, plan: WeightPlan) -> list[ir.Node]:
        """A node with its weight as the plan has it, and what it needs before it."""
        exact, x = array(node.inputs[position]), node.inputs[0]
        if plan.form == "stored" and exact.dtype == np.float32:
            self.stored[node.name or "", position] = plan
            return [node]
        values = dequantize(plan.codes(exact), plan.params).astype(exact.dtype)
        node.replace_input_with(position, self._write.constant(f"{plan.tensor}_is", values))
        if plan.form != "dynamic" or x is None:
            return [node]
        wide = x.dtype in (None, ir.DataType.FLOAT)
        made = [] if wide else [self._write.cast(x, ir.DataType.FLOAT, f"{x.name}_wide")]
        names = [self._write.name(f"{x.name}_{part}") for part in ("codes", "scale", "zero")]
        measured = [ir.Value(name=name) for name in names]
        given = made[-1].outputs[0] if made else x
        made.append(ir.node("DynamicQuantizeLinear", [given], outputs=measured))
        made[-1].name = self._write.name(f"{x.name}_measured")
        made.append(self._write.node("DequantizeLinear", measured, f"{x.name}_restored"))
        if not wide and x.dtype is not None:
            made.append(self._write.cast(made[-1].outputs[0], x.dtype, f"{x.name}_narrow"))
        node.replace_input_with(0, made[-1].outputs[0])
        return [*made, node]

    def _through(self, value: ir.Value, params: QParams) -> list[ir.Node]:
        """What gives the value as its codes hold it."""
        kind, name, write = params.type, value.name or "", self._write
        made: list[ir.Node] = []

        def then(operator: str, *given: ir.Value, to: ir.DataType | None = None) -> None:
            source = made[-1].outputs[0] if made else value
            cast = {} if to is None else {"to": int(to)}
            made.append(write.node(operator, [source, *given], f"{name}_{operator}", cast))

        wide = value.dtype in (None, ir.DataType.FLOAT)
        if not wide:
            then("Cast", to=ir.DataType.FLOAT)
        if not kind.fills:  # the type that stores the codes holds more of them
            ends = ((code - params.zero_point) * params.scale for code in _ends(params))
            then("Clip", *(write.constant(f"{name}_end", e.astype(np.float32)) for e in ends))
        grid = write.params(name, params, keep_zero=True)
        then("QuantizeLinear", *grid)
        then("DequantizeLinear", *grid)
        if not wide:
            then("Cast", to=value.dtype)
        return made

    def _choice(
        self,
        gate: ir.Value,
        then: list[ir.Node],
        other: list[ir.Node],
        results: Sequence[ir.Value],
    ) -> ir.Node:
        """An If of two branches, which the caller inserts; it gives what is like `results`."""
        branches = []
        for name, nodes in (("then_branch", then), ("else_branch", other)):
            outputs = [v for v in nodes[-1].outputs if v.name]
            for value, like in zip(outputs, results, strict=True):
                value.type = like.type
            body = ir.Graph([], outputs, nodes=nodes, name=self._write.name(name))
            branches.append(ir.AttrGraph(name, body))
        name = self._write.name(f"{gate.name}/if")
        made = ir.Node("", "If", [gate], branches, num_outputs=len(results), name=name)
        for value, like in zip(made.outputs, results, strict=True):
            value.name = self._write.name(f"{like.name}_gated")
            value.type, value.shape = like.type, like.shape
        return made

    def _copy(self, node: ir.Node) -> ir.Node:
        """The node again, for a branch."""
        attributes, count = node.attributes.values(), len(node.outputs)
        made = ir.Node(node.domain, node.op_type, node.inputs, attributes, num_outputs=count)
        made.name = self._write.name(node.name or node.op_type)
        for value, old in zip(made.outputs, node.outputs, strict=True):
            value.name = self._write.name(old.name) if old.name else ""
        return made

    def _gate(self, what: str) -> ir.Value:
        kind, name = ir.TensorType(ir.DataType.BOOL), self._write.name(f"gate/{what}")
        self._graph.inputs.append(ir.Value(name=name, type=kind, shape=ir.Shape([])))
        return self._graph.inputs[-1]


def _ends(params: QParams) -> tuple[int, int]:
    return lowest(params), params.type.maximum
