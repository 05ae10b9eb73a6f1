"""A bench whose clock is a formula: what the search must find can be computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import onnx_ir as ir

from qtool.bodies import nodes_in
from qtool.compare.latency import verdict
from qtool.compare.result import Latency
from qtool.numeric.bootstrap import Interval
from qtool.search.costs import Costs
from qtool.search.kernels import Kernel
from qtool.search.latency import Floats
from tests.models import Array, build, weight

ROUND = 0.01  # half of an interval


def chain(layers: int) -> ir.Model:
    """Convolutions one after the other, named c0, c1, …"""
    nodes = " ".join(f"v{i + 1} = Conv(v{i}, w{i})" for i in range(layers))
    constants: dict[str, Array] = {f"w{i}": weight(4, 4, 1, 1, seed=i) for i in range(layers)}
    made = build(f"g (float[1,4,8,8] v0) => (float[1,4,8,8] v{layers}) {{ {nodes} }}", **constants)
    for index, node in enumerate(made.graph):
        node.name = f"c{index}"
    return made


@dataclass
class World:
    """Layers with times as (integer, float), in us, and what a change between the two takes.

    `given` is what the model that was given takes, if other than all in float.
    """

    times: Mapping[str, tuple[float, float]]
    crossing: float = 4.0
    given: float | None = None
    cannot: Callable[[Floats], bool] = lambda floats: False
    timed: list[Floats] = field(default_factory=list)
    now: float = 0.0

    def costs(self) -> Costs:
        model = chain(len(self.times))
        return Costs(model.graph, [node.name or "" for node in nodes_in(model.graph)])

    def time(self, floats: Floats) -> float:
        labels = [True, *(name in floats for name in self.times), True]
        layers = sum(pair[name in floats] for name, pair in self.times.items())
        return layers + self.crossing * sum(a != b for a, b in pairwise(labels))

    def clock(self) -> float:
        return self.now

    def make(self, floats: Floats) -> Floats | None:
        return None if self.cannot(floats) else floats

    def kernels(self, *choices: Floats) -> Sequence[Sequence[Kernel]]:
        return [self._kernels(choice) for choice in choices]

    def _kernels(self, floats: Floats) -> list[Kernel]:
        found = [
            Kernel(f"{name}_token_1", "Conv" if name in floats else "QLinearConv",
                   pair[name in floats], (1, 4, 8, 8))
            for name, pair in self.times.items()
        ]  # fmt: skip
        between = self.time(floats) - sum(kernel.time for kernel in found)
        return [*found, Kernel("x_q", "QuantizeLinear", between, (1, 4, 8, 8))]

    def ratio(self, before: Floats | None, after: Floats, seconds: float | None) -> Latency:
        self.now += 5.0 if seconds is None else seconds
        self.timed.append(after)
        every = Floats(self.times)
        given = self.time(every) if self.given is None else self.given
        left, right = given if before is None else self.time(before), self.time(after)
        ratio = right / left
        interval = Interval(ratio * (1 - ROUND), ratio * (1 + ROUND))
        return Latency(left, left, right, right, ratio, interval, verdict(interval), 8, 1, 1)
