"""Scales shared where values are joined: what a Concat alone reads takes the scale of its result.

Codes of another scale would be looked up in a table byte by byte; equal ones are copied. Nothing is
lost: what is joined ends on the scale of the result, and is now rounded to it once and not twice.

    concat(q(x, s1), q(z, s2)) -> s      =>      concat(q(x, s), q(z, s)) -> s

What is behind a clamp keeps its own, unless the codes of the result stay within the clamp too: the
quantizer takes the clamp's place only there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from math import inf

import onnx_ir as ir

from qtool.numeric.affine import QParams, lowest
from qtool.plan.plan import Plan
from qtool.plan.sites import Sites

Clips = Mapping[str, tuple[float, float]]  # what a Clip gives -> its bounds


def joined(
    model: ir.Model, sites: Sites, plan: Plan, clips: Clips, fixed: Collection[str]
) -> Iterator[tuple[str, QParams]]:
    """(tensor, parameters) that come in place of those in the plan; not for the `fixed` tensors."""
    groups: dict[str, list[str]] = {}  # a tensor -> itself and what it is moved to
    for name, site in sites.activations.items():
        groups.setdefault(site.source, []).append(name)
    values = {v.name or "": v for node in model.graph for v in (*node.inputs, *node.outputs) if v}
    given: dict[str, QParams] = {}
    for node in reversed(list(model.graph)):  # of several in a row the last one counts
        result = node.outputs[0].name or ""
        made = sites.activations.get(result)
        if (
            (node.domain, node.op_type) != ("", "Concat")
            or made is None
            or made.readers is not None
        ):
            continue
        params = given.get(result, plan.activations[result].params)
        read = (sites.activations.get(value.name or "") for value in node.inputs if value)
        for source in dict.fromkeys(site.source for site in read if site is not None):
            group = groups[source]
            if source == made.source or source in fixed or not values.keys() >= set(group):
                continue
            alone = all(_alone(values[name], sites, group, node) for name in group)
            alike = plan.activations[source].params.type == params.type
            if alone and alike and _within(values[source], params, clips):
                given.update(dict.fromkeys(group, params))
    yield from given.items()


def _alone(value: ir.Value, sites: Sites, group: list[str], node: ir.Node) -> bool:
    """Whether nobody reads the codes but the node, and what moves them within the group."""
    readers = sites.activations[value.name or ""].readers
    uses = [u for u in value.uses() if readers is None or (u.node.name, u.idx) in readers]
    inside = (use.node is node or use.node.outputs[0].name in group for use in uses)
    return all(inside) and not (readers is None and value.is_graph_output())


def _within(value: ir.Value, params: QParams, clips: Clips) -> bool:
    """Whether the codes stay within what a clamp lets pass, where one gives the value."""
    maker = value.producer()
    clamped = maker is not None and maker.op_type == "Relu"
    low, high = (0.0, inf) if clamped else clips.get(value.name or "", (-inf, inf))
    scale, zero = float(params.scale), int(params.zero_point)
    return (lowest(params) - zero) * scale >= low and (params.type.maximum - zero) * scale <= high
