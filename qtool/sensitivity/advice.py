"""What to try next: the few nodes without whose integers most of the noise would be gone.

A tensor stays float only where its maker and all its readers do, so these go together:

    around(source) = makers and readers in integers of all tensors with its scale, the makers of
                     what a clamp among them clamps, and the clamps behind any of them

What a choice leaves is foretold with the sites that there would be: the effects of what is still
quantized. A tensor that is quantized only then is taken for as bad as the one that it replaces.
Weights go over to 8 bits, and from there to float.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from qtool.bodies import nodes_in
from qtool.ops import OPS
from qtool.search.rules import Ruled, integers
from qtool.sensitivity.effects import Effects
from qtool.sensitivity.gates import Key
from qtool.sensitivity.ranking import given_by
from qtool.workflow import Job

ENOUGH = 0.5  # of the noise, 3 dB
STEPS, LOOKED_AT, LEAST = 4, 4, 0.02


@dataclass(frozen=True)
class Advice:
    """Rules for `--tensor`, and the noise that is foretold for them."""

    rules: tuple[tuple[str, str], ...]
    noise: float


@dataclass(frozen=True)
class _Choice:
    """Nodes whose activations are float, and bits of weights: None is float."""

    floats: frozenset[str] = frozenset()
    bits: Mapping[str, int | None] = field(default_factory=dict)


def advise(job: Job, effects: Effects) -> Advice | None:
    """The rules that take away half of the noise, or as much as a few can; None if none can."""
    return _Adviser(job, effects).best()


class _Adviser:
    def __init__(self, job: Job, effects: Effects) -> None:
        self._job, self._effects, self._ruled = job, effects, Ruled(job)
        self._integers, self._sources = set(integers(job)), set(job.sites.sources)
        self._nodes = {node.name or "": node for node in nodes_in(job.model.graph)}
        self._values = {v.name or "": v for n in self._nodes.values() for v in n.outputs}
        self._values |= {v.name or "": v for g in job.model.graphs() for v in g.inputs}
        self._bits = {(w.node, w.position): w.scheme.weight.type.bits for w in job.sites.weights}

    def best(self) -> Advice | None:
        total = self._effects.total
        if not total > 0:
            return None
        choice, made, noise = _Choice(), self._job, total
        for _ in range(STEPS):
            if noise <= ENOUGH * total:
                break
            steps = [self._tried(choice, what, worth) for what, worth in self._worst(made)]
            steps = [each for each in steps if noise - each[2] > LEAST * total]
            if not steps:
                break
            rules = len(made.recipe.rules)
            choice, made, noise = max(
                steps, key=lambda s: (noise - s[2]) / max(1, len(s[1].recipe.rules) - rules)
            )
        new = made.recipe.rules[len(self._job.recipe.rules) :]
        return Advice(tuple((rule.match, rule.scheme) for rule in new), noise) if new else None

    def _worst(self, job: Job) -> list[tuple[str | Key, float]]:
        """What of a job makes the most noise."""
        known: dict[str | Key, float] = dict(self._left(job, 0.0))
        return sorted(known.items(), key=lambda each: -each[1])[:LOOKED_AT]

    def _left(self, job: Job, unknown: float) -> Iterator[tuple[str | Key, float]]:
        """What is still quantized, and its noise: of weights with more bits, a step is halved by
        each."""
        for source in job.sites.sources:
            new = source not in self._sources
            yield source, unknown if new else self._effects.activations.get(source, 0.0)
        for place in job.sites.weights:
            key = (place.node, place.position)
            noise = self._effects.weights.get(key, 0.0)
            more = place.scheme.weight.type.bits - self._bits.get(key, 0)
            yield key, noise / 4.0 ** max(0, more)

    def _tried(self, choice: _Choice, what: str | Key, worth: float) -> tuple[_Choice, Job, float]:
        """The choice with one thing more, the job that it makes, and the noise that this has."""
        if isinstance(what, str):
            choice = replace(choice, floats=choice.floats | self._around(what))
        else:
            now = choice.bits.get(what[0], self._bits[what])
            wider = 8 if now is not None and now < 8 else None
            choice = replace(choice, bits={**choice.bits, what[0]: wider})
            if wider is None:
                choice = replace(choice, floats=choice.floats | self._behind(what[0]))
        weighted = {w.node for w in self._job.sites.weights}
        schemes = {n: self._scheme(n, choice) for n in weighted & {*choice.floats, *choice.bits}}
        made = self._ruled.with_schemes(schemes, choice.floats)
        if self._integers and not integers(made):  # there would be nothing left of it
            return choice, made, math.inf
        return choice, made, math.fsum(noise for _, noise in self._left(made, worth))

    def _scheme(self, node: str, choice: _Choice) -> str:
        if node in choice.bits and choice.bits[node] is None:
            return "float"
        bits = choice.bits.get(node)
        if node in choice.floats or bits is None:
            return self._ruled.kept(node, bits)
        return self._ruled.multiplied(node, bits)

    def _around(self, source: str) -> frozenset[str]:
        sites = self._job.sites.activations
        found: set[str] = set()
        for name, site in sites.items():
            if site.source == source:
                value = self._values[name]
                found |= {use.node.name or "" for use in value.uses()}
                found |= {node.name or "" for node in _makers(value)}
        found = {each for name in found & self._integers for each in (name, *self._behind(name))}
        return frozenset(found & self._integers)

    def _behind(self, node: str) -> frozenset[str]:
        """The clamps behind a node: in integers still, they would have what it gives quantized."""
        makers = (value.producer() for value in given_by(self._nodes[node]))
        return frozenset(m.name or "" for m in makers if m is not None) - {node}


def _makers(value: ir.Value) -> Iterator[ir.Node]:
    """What makes a value, through what clamps or moves it."""
    node = value.producer()
    if node is None:
        return
    yield node
    spec = OPS.get(node.op_type) if node.domain == "" else None
    before = node.inputs[0] if node.inputs else None
    if spec is not None and (spec.clamps or spec.shares) and before is not None:
        yield from _makers(before)
