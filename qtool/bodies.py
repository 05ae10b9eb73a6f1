"""Nodes with bodies: If, Loop and Scan, whose bodies are as good as the graph around them."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

_OPERATORS = {("", "If"), ("", "Loop"), ("", "Scan")}


def has_known_bodies(node: ir.Node) -> bool:
    """Whether it is an If, Loop or Scan; what others do with their bodies is theirs."""
    return (node.domain, node.op_type) in _OPERATORS


def bodies_of(node: ir.Node) -> list[ir.Graph]:
    """The bodies of a node, in the order of its attributes."""
    attributes = node.attributes.values()
    return [a.as_graph() for a in attributes if a.type is ir.AttributeType.GRAPH]


def graphs_in(graph: ir.Graph) -> Iterator[ir.Graph]:
    """The graph, and the bodies of If, Loop and Scan in it, at any depth."""
    yield graph
    for node in graph:
        if has_known_bodies(node):
            for body in bodies_of(node):
                yield from graphs_in(body)


def nodes_in(graph: ir.Graph) -> Iterator[ir.Node]:
    """Their nodes: those in a body stand before the node that it is the body of."""
    for node in graph:
        if has_known_bodies(node):
            for body in bodies_of(node):
                yield from nodes_in(body)
        yield node
