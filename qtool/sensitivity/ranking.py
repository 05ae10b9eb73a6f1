"""Layers by what their tensors do to the outputs, worst first.

    noise(layer) = sum over its weights and the scales of all that it reads and gives of  effect

A tensor between two layers counts for both, since either of them in float is a step towards a
tensor in float: shares add up to more than one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from qtool.bodies import nodes_in
from qtool.compare.result import LayerError
from qtool.ops import OPS
from qtool.plan.plan import Plan
from qtool.search.rules import integers
from qtool.sensitivity.effects import Effects
from qtool.sensitivity.gates import Key
from qtool.workflow import Job


@dataclass(frozen=True)
class Layer:
    """A node, and what of it is quantized: weights by key, activations by source.

    `noise` is over the power of the outputs, `share` that of the sum of all effects. The other
    figures are those of `compare_layers`; NaN is not known.
    """

    node: str
    op_type: str
    scheme: str
    noise: float
    share: float
    weights: tuple[Key, ...]
    activations: tuple[str, ...]
    own_db: float = math.nan
    inherited_db: float = math.nan
    clipped: float | None = None

    @property
    def alone_db(self) -> float:
        """The SQNR of the outputs with this layer alone quantized."""
        return decibels(self.noise)


def decibels(noise: float) -> float:
    """Noise over signal as signal over noise in dB: inf for none."""
    if math.isnan(noise):
        return math.nan
    return -10 * math.log10(noise) if noise > 0 else math.inf


def ranking(
    job: Job, plan: Plan, effects: Effects, errors: Iterable[LayerError] = ()
) -> tuple[Layer, ...]:
    """The layers with weights in integers, and those that mix quantized tensors, worst first."""
    inside, total = set(integers(job)), effects.total
    quantized = {
        (name, reader) for name, t in plan.activations.items() for reader in t.readers or ()
    }
    known, found = _Known(errors), list[Layer]()
    for node in nodes_in(job.model.graph):
        name = node.name or ""
        if name not in plan.schemes and (name not in inside or not _counts(node, plan)):
            continue
        weights = tuple(key for key in effects.weights if key[0] == name)
        read = [
            value.name or ""
            for position, value in enumerate(node.inputs)
            if value is not None and value.name in plan.activations
            and (
                plan.activations[value.name].readers is None
                or (value.name, (name, position)) in quantized
            )
        ]  # fmt: skip
        given = [v.name or "" for v in given_by(node) if v.name in plan.activations]
        touched = [*read, *(given if name in inside else ())]
        sources = tuple(dict.fromkeys(source_of(job, each) for each in touched))
        noises = [effects.weights[key] for key in weights]
        noises += [effects.activations[each] for each in sources if each in effects.activations]
        if not weights and not sources:
            continue
        noise = math.fsum(noises) if noises else math.nan
        share = noise / total if total else 0.0
        scheme = plan.schemes.get(name, "integers")
        own = known.of(node)
        found.append(Layer(name, node.op_type, scheme, noise, share, weights, sources, *own))
    return tuple(sorted(found, key=lambda layer: -_rank(layer)))


def _rank(layer: Layer) -> float:
    return -1.0 if math.isnan(layer.noise) else layer.noise


def source_of(job: Job, name: str) -> str:
    """The tensor whose scale a quantized one has."""
    site = job.sites.activations.get(name)
    return name if site is None else site.source


def given_by(node: ir.Node) -> Iterator[ir.Value]:
    """What a node gives, and what clamps behind it make of that: their quantizer is its own."""
    for value in node.outputs:
        yield value
        for use in value.uses():
            if _is(use.node, "clamps") and use.idx == 0:
                yield from given_by(use.node)


def _counts(node: ir.Node, plan: Plan) -> bool:
    """Whether it has noise of its own: what moves values has the scale of others, and so has a
    clamp, unless what it clamps is quantized."""
    if _is(node, "clamps"):
        return node.inputs[0] is not None and node.inputs[0].name in plan.activations
    return not _is(node, "shares")


def _is(node: ir.Node, what: str) -> bool:
    spec = OPS.get(node.op_type) if node.domain == "" else None
    return spec is not None and bool(getattr(spec, what))


class _Known:
    """The errors of layers, by the node or by the tensor."""

    def __init__(self, errors: Iterable[LayerError]) -> None:
        self._tensors: dict[str, LayerError] = {}
        self._nodes: dict[str, LayerError] = {}
        for each in errors:  # the worst comes first
            self._tensors.setdefault(each.tensor, each)
            self._nodes.setdefault(each.node, each)

    def of(self, node: ir.Node) -> tuple[float, float, float | None]:
        """Own and inherited in dB, and the share that is clipped: of what a node gives and a clamp
        makes of that, the worst own error, and the rest of what readers get."""
        names = [value.name or "" for value in given_by(node)]
        found = [self._tensors[name] for name in names if name in self._tensors]
        if not found and node.name in self._nodes:
            found = [self._nodes[node.name]]
        if not found:
            return math.nan, math.nan, None
        clipped = next((each.clipped for each in reversed(found) if each.clipped is not None), None)
        return min(each.own_db for each in found), found[-1].inherited_db, clipped
