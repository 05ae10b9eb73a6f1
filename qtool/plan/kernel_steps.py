"""Scales with which a kernel computes right, where it does not with all: 1 over one of a few."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from qtool.ops import OPS, attribute
from qtool.target import Target

FEWEST = 32  # codes that must be left


def steps_of(nodes: Iterable[ir.Node], target: Target) -> dict[str, tuple[int, ...]]:
    """Tensor -> the steps that are right for it, finest first; nodes come in order.

    What moves a tensor on, or casts it, leaves the steps as they are: the runtime looks through.
    """
    found: dict[str, tuple[int, ...]] = {}
    for node in nodes:
        if node.domain != "" or not node.inputs or node.inputs[0] is None:
            continue
        moves = node.op_type == "Cast" or (node.op_type in OPS and OPS[node.op_type].shares)
        steps: tuple[int, ...] = found.get(node.inputs[0].name or "", ()) if moves else ()
        if node.op_type in target.needs_steps:
            most = target.needs_reach[node.op_type] * max(1, _axis(node))
            steps = tuple(s for s in target.needs_steps[node.op_type] if s <= most)
        if steps:
            found.update((value.name or "", steps) for value in node.outputs)
    return found


def _axis(node: ir.Node) -> int:
    """The length of the axis that a node normalizes; 0 where it is not known."""
    value, axis = node.inputs[0], attribute(node, "axis", -1)
    if value is None or value.shape is None or not -len(value.shape) <= axis < len(value.shape):
        return 0
    length = value.shape[axis]
    return length if isinstance(length, int) else 0
