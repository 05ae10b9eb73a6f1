"""The part of a model that is learned: from the first quantized weight to the last row.

    before   nodes that read nothing learned: the runtime computes what they give, once
    part     nodes with a row, from the first learned weight on
    behind   nodes without a row, and all that reads them: what they read is an end

So a Scaler in front, or the names of classes behind, need no row. A learned weight behind a node
that has none ends in an error. What is quantized in a body (If, Loop, Scan) is not learned: the
node that holds it has no row.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import onnx_ir as ir

from qtool.bodies import bodies_of, nodes_in
from qtool.ops import constant
from qtool.plan.float_types import FLOATS
from qtool.plan.plan import Plan
from qtool.tune.operators import has_row, lacking


@dataclass(frozen=True)
class Part:
    """Nodes in order, values that they are given, and float values that they end in."""

    nodes: tuple[ir.Node, ...]
    given: tuple[str, ...]
    ends: tuple[str, ...]


def part_of(graph: ir.Graph, first: Collection[str] | None = None) -> Part:
    """The part of a graph that learns, from the nodes called so on, in bodies too; by default all
    of it.

    Raises:
        ModelError: a node has no row, and what it gives is needed to learn.
    """
    ours = set[ir.Value | None]()
    behind = dict[ir.Value | None, set[ir.Node]]()  # value -> the nodes without a row before it
    nodes = list[ir.Node]()
    for node in graph:
        reads, rowless = _reads(node), set[ir.Node]() if has_row(node) else {node}
        between = rowless.union(*(behind[value] for value in reads if value in behind))
        starts = first is None or node.name in first
        holds = first is not None and any(each.name in first for each in _within(node))
        if starts and between:
            raise lacking(graph if first is None else between)
        if not reads.isdisjoint(behind) or (rowless and (holds or not reads.isdisjoint(ours))):
            behind.update(dict.fromkeys(node.outputs, between))
        elif starts or not reads.isdisjoint(ours):
            ours.update(node.outputs)
            nodes.append(node)
    given = dict.fromkeys(
        value.name or ""
        for node in nodes
        for value in node.inputs
        if value is not None and value not in ours and constant(value) is None
    )
    inside, results = set(nodes), set(graph.outputs)
    ends = [value for value in graph.outputs if value in ours]
    for node in nodes:
        for value in node.outputs:
            outside = any(use.node not in inside for use in value.uses())
            ends += [value] if outside and value not in results else []
    return Part(tuple(nodes), tuple(given), tuple(v.name or "" for v in ends if is_real(v)))


def first_of(graph: ir.Graph, plan: Plan) -> set[str]:
    """The nodes that read something quantized or learned, from which on what they give is learned;
    in bodies too."""
    names = {key[0] for key in (*plan.weights, *plan.operands)}
    weights = {weight.tensor for weight in plan.weights.values()}
    for node in graph.all_nodes():
        read = {value.name for value in node.inputs if value is not None}
        activations = has_row(node) and not read.isdisjoint(plan.activations)
        if activations or not read.isdisjoint(weights):
            names.add(node.name or "")
    return names


def is_real(value: ir.Value) -> bool:
    """Whether it holds real numbers, which can be learned by."""
    return value.dtype in FLOATS


def _reads(node: ir.Node) -> set[ir.Value | None]:
    """What a node reads, in its bodies too."""
    found = (node, *_within(node))
    return {value for each in found for value in each.inputs if value is not None}


def _within(node: ir.Node) -> list[ir.Node]:
    return [each for body in bodies_of(node) for each in nodes_in(body)]
