"""Loops that were unrolled: one computed matrix times what came of its last product.

q p0 ... q p1 ... q p2 ...  with nothing learned between, such as the coupling of pairwise
probabilities (`qtool.passes.standard.coupling`). Steps of 8 bits would grow from each to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx_ir as ir

from qtool.ops import constant, weights_of

ITERATES = "it is a part of an iteration, in which steps of 8 bits would add up"


def iterations(nodes: Iterable[ir.Node]) -> dict[ir.Node, str]:
    """All that such products are made of, and lead to, as far as nothing learned is in between; in
    graph order, and why it must be float."""
    every, groups = list(nodes), dict[ir.Value, list[ir.Node]]()
    for node in every:
        if node.op_type == "MatMul" and all(constant(value) is None for value in node.inputs):
            assert node.inputs[0] is not None
            groups.setdefault(node.inputs[0], []).append(node)
    found = set[ir.Node]()
    for group in (each for each in groups.values() if len(each) > 1):
        behind, before = _reached(group[0], _readers), _reached(group[-1], _makers)
        if len(behind & before & set(group)) > 1:
            found |= behind | before
    return {node: ITERATES for node in every if node in found}


def _readers(node: ir.Node) -> list[ir.Node]:
    return [use.node for value in node.outputs for use in value.uses()]


def _makers(node: ir.Node) -> list[ir.Node]:
    return [made for value in node.inputs if value is not None and (made := value.producer())]


def _reached(node: ir.Node, step: Callable[[ir.Node], list[ir.Node]]) -> set[ir.Node]:
    """The node and those that steps lead to, up to what has weights."""
    found, stack = {node}, [node]
    while stack:
        more = {each for each in step(stack.pop()) if not weights_of(each)} - found
        found |= more
        stack.extend(more)
    return found
