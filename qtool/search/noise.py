"""What a choice costs and what it spoils, as far as is known before it is made and measured.

    noise(choice) = sum of the effects of activations of which a maker or a reader is in integers
                  + sum of the effects of weights, at the bits that they have

Effects of single tensors (`qtool.sensitivity.effects`) add up where errors have nothing to do with
each other. A weight's effect at other bits follows from its error:

    effect(bits) = effect * |W - W(bits)|^2 / |W - W(as asked)|^2
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.bodies import nodes_in
from qtool.numeric.affine import dequantize
from qtool.ops import constant
from qtool.plan.plan import Plan
from qtool.sensitivity.effects import Effects
from qtool.workflow import Job

FLOAT = 32
"""Bits of a weight that is not quantized."""


@dataclass(frozen=True)
class Choice:
    """Nodes that give up integer activations, and weights with other bits than was asked for."""

    floats: frozenset[str] = frozenset()
    bits: Mapping[str, int] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.floats, tuple(sorted(self.bits.items()))))


@dataclass(frozen=True)
class Stored:
    """The weights of a node at some number of bits: bytes with scales, and what they spoil."""

    size: int
    noise: float


@dataclass(frozen=True)
class Noise:
    """`activations` are (effect, the nodes of which one in integers brings it about); `weights`
    are by node and bits, `asked` the bits that the recipe asks for, `values` how many there are."""

    activations: tuple[tuple[float, frozenset[str]], ...]
    weights: Mapping[str, Mapping[int, Stored]]
    asked: Mapping[str, int]
    values: Mapping[str, int]

    def of(self, choice: Choice) -> float:
        """The noise of the outputs over their power that is expected."""
        seen = sum(p for p, members in self.activations if members - choice.floats)
        return seen + sum(self._stored(choice, node).noise for node in self.weights)

    def size(self, choice: Choice) -> int:
        """Bytes of all weights."""
        return sum(self._stored(choice, node).size for node in self.weights)

    def average_bits(self, choice: Choice) -> float:
        """Bits of a weight's code, on average; scales are not counted."""
        bits = sum(self.bits(choice, node) * count for node, count in self.values.items())
        return bits / max(1, sum(self.values.values()))

    def bits(self, choice: Choice, node: str) -> int:
        """Bits of a node's weights."""
        return choice.bits.get(node, self.asked[node])

    def _stored(self, choice: Choice, node: str) -> Stored:
        return self.weights[node][self.bits(choice, node)]


def activations_of(
    job: Job, plan: Plan, effects: Effects, units: Iterable[str]
) -> tuple[tuple[float, frozenset[str]], ...]:
    """Each group of tensors of one scale: its effect, and which units make or read it; and each
    constant beside activations, which its node quantizes."""
    graph, sites = job.model.graph, job.sites
    known = [p for p in effects.activations.values() if math.isfinite(p)]
    usual = float(np.median(known)) if known else 1.0  # what is not known is as others are
    values = {v.name: v for node in nodes_in(graph) for v in node.outputs}
    values |= {v.name: v for each in job.model.graphs() for v in each.inputs}
    every, found = set(units), dict[str, set[str]]()
    for name, site in sites.activations.items():
        value, members = values[name], found.setdefault(site.source, set())
        maker = value.producer()
        readers = [use.node.name for use in value.uses()]
        if site.readers is not None:
            readers = [node for node, _ in site.readers]
        members |= {n or "" for n in (*readers, maker.name if maker else None)} & every
    heard = [(effects.activations.get(name, math.nan), each) for name, each in found.items()]
    beside = [(p, {key[0]} & every) for key, p in effects.weights.items() if key in plan.operands]
    return tuple(
        (p if math.isfinite(p) else usual, frozenset(each)) for p, each in (*heard, *beside)
    )


def weights_of_plans(
    graph: ir.Graph, plan: Plan, others: Mapping[int, Plan], effects: Effects | None
) -> tuple[dict[str, dict[int, Stored]], dict[str, int], dict[str, int]]:
    """`Noise.weights`, `asked` and `values`: for the plan as asked, for others by bits, for float.

    Without effects a weight's is its error over its power.
    """
    stored: dict[str, dict[int, Stored]] = {}
    asked: dict[str, int] = {}
    values: dict[str, int] = {}
    nodes = {node.name: node for node in nodes_in(graph)}
    for key, weight in plan.weights.items():
        node, position = key
        tensor = constant(nodes[node].inputs[position])
        assert tensor is not None
        x = tensor.numpy().astype(np.float32)
        error, power = _error(x, plan, key), float(np.square(x, dtype=np.float64).sum())
        effect = effects.weights.get(key, math.nan) if effects else math.nan
        if not math.isfinite(effect):
            effect = error / power if power else 0.0
        bits = asked.setdefault(node, weight.params.type.bits)
        values[node] = values.get(node, 0) + x.size
        found = {bits: Stored(_bytes(x, plan, key), effect), FLOAT: Stored(x.nbytes, 0.0)}
        for other, made in others.items():
            if key in made.weights and other not in found:
                noise = effect * _error(x, made, key) / error if error else 0.0
                found[other] = Stored(_bytes(x, made, key), noise)
        before = stored.get(node)
        stored[node] = found if before is None else _both(before, found)
    return stored, asked, values


def _both(a: Mapping[int, Stored], b: Mapping[int, Stored]) -> dict[int, Stored]:
    """Of a node with several weights."""
    return {
        bits: Stored(a[bits].size + b[bits].size, a[bits].noise + b[bits].noise)
        for bits in a.keys() & b.keys()
    }


def _error(x: NDArray[np.float32], plan: Plan, key: tuple[str, int]) -> float:
    weight = plan.weights[key]
    lost = x - dequantize(weight.codes(x), weight.params)
    return float(np.square(lost, dtype=np.float64).sum())


def _bytes(x: NDArray[np.float32], plan: Plan, key: tuple[str, int]) -> int:
    params = plan.weights[key].params
    codes = -(-x.size * params.type.container // 8)
    zeros = 0 if params.symmetric else -(-params.scale.size * params.type.container // 8)
    book = 0 if params.book is None else 2 * params.book.levels.size
    return codes + 4 * params.scale.size + zeros + book


def work_of(node: ir.Node) -> tuple[float, float]:
    """(multiplications by constant weights, values that it gives), of one sample, as far as the
    shapes tell: axes of unknown size count as one."""
    made = node.outputs[0].shape
    count = prod(axis for axis in made or () if isinstance(axis, int))
    weights = [t for v in node.inputs[1:2] if (t := constant(v)) is not None]
    shape = weights[0].shape.numpy() if weights else ()
    if len(shape) < 2:
        return 0.0, float(count)
    channels = shape[0] if node.op_type == "Conv" else shape[-1]
    return float(count * prod(shape) / max(1, channels)), float(count)
