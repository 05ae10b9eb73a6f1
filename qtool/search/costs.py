"""The time of each node in integers and in float, and of the conversions between them.

    units      the nodes that may run in integers
    borders    the tensors that they read or give

Both are what `qtool.search.cut` is asked about. Times of units come from profiles, by name; what
the runtime fused into another kernel takes nothing. Conversions of tensors that have been none so
far are estimated from their size; `learn` corrects units and estimate by a mixed model's profile.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

import onnx_ir as ir

from qtool.bodies import nodes_in
from qtool.ops import OPS, constant, data_inputs, weights_of
from qtool.search.cut import Border, least, time_of
from qtool.search.kernels import Kernel, original

START, EACH = 2.0, 0.0002
"""Microseconds of a conversion, and for each value: little, so that a choice that might be worth it
is tried. Its profile then says what conversions take, and all estimates are scaled to that."""


class Costs:
    """What is known so far of the units, by name in the order of the graph."""

    def __init__(self, graph: ir.Graph, units: Collection[str]) -> None:
        self._nodes = [node for node in nodes_in(graph) if node.name]
        self.units = [node.name or "" for node in self._nodes if node.name in units]
        self.layers = [
            node.name or "" for node in self._nodes if node.name in units and weights_of(node)
        ]
        self._by_name = {node.name or "": node for node in self._nodes}
        self._by_value = {v.name: node for node in self._nodes for v in node.outputs if v.name}
        self._times = {name: [0.0, 0.0] for name in self.units}  # as integer, as float
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._scale = 1.0
        self._borders: list[Border] = []

    def learn(self, kernels: Iterable[Kernel], floats: Collection[str]) -> None:
        """Take the times of a model in which these units are float, and the others integers."""
        taken, conversions = dict.fromkeys(self.units, 0.0), 0.0
        for kernel in kernels:
            node = self.node_of(kernel)
            if node is None:
                conversions += kernel.time
                continue
            name = node.name or ""
            self._shapes[name] = max(self._shapes.get(name, ()), kernel.shape, key=math.prod)
            if name in taken:
                taken[name] += kernel.time
        for name, spent in taken.items():
            self._times[name][name in floats] = spent
        self._borders = self._estimated()
        if 0 < len(floats) < len(self.units):
            labels = self._labels(floats)
            expected = time_of(labels, [(0.0, 0.0)] * len(labels), self._borders)
            if expected and conversions:
                self._scale *= conversions / expected
                self._borders = self._estimated()

    def node_of(self, kernel: Kernel) -> ir.Node | None:
        """The node that a kernel computes, or None for a conversion that the runtime put in.

        A Conv that took in what follows is called after that: the Conv before is meant.
        """
        for name in original(kernel.name):
            node = self._by_name.get(name) or self._by_value.get(name)
            if node is None:
                continue
            before: ir.Node | None = node
            while kernel.operator == "Conv" and before is not None and not weights_of(before):
                before = _producer(before)
            return before or node
        return None

    def cheapest(self, floats: Collection[str] | None = None) -> frozenset[str]:
        """The units that are best float; `floats` says it of the layers, where it is known."""
        times = [self._bound(name, floats) for name in self.units]
        labels = least(times, self._borders)
        return frozenset(n for n, label in zip(self.units, labels, strict=True) if not label)

    def time(self, floats: Collection[str]) -> float:
        """Microseconds, as far as is known, if these units are float."""
        times = [self._bound(name, None) for name in self.units]
        return time_of(self._labels(floats), times, self._borders)

    def _bound(self, name: str, floats: Collection[str] | None) -> tuple[float, float]:
        as_integer, as_float = self._times[name]
        if floats is None or name not in self.layers:
            return as_integer, as_float
        return (math.inf, 0.0) if name in floats else (0.0, math.inf)

    def _labels(self, floats: Collection[str]) -> list[bool]:
        return [name not in floats for name in self.units]

    def _estimated(self) -> list[Border]:
        """One for each tensor that a unit reads as data, or gives."""
        index = {name: i for i, name in enumerate(self.units)}
        found = []
        for value in _tensors(self._by_name[name] for name in self.units):
            maker = value.producer()
            readers: list[int | None] = [
                index.get(reader.name or "") if _reads(reader, position) else None
                for reader, position in value.uses()
            ]
            if value.is_graph_output():
                readers.append(None)
            time = self._scale * self._conversion(value)
            at = index.get(maker.name or "") if maker is not None else None
            found.append(Border(at, tuple(dict.fromkeys(readers)), time, time))
        return found

    def _conversion(self, value: ir.Value) -> float:
        return START + EACH * math.prod(self._shape(value))

    def _shape(self, value: ir.Value) -> tuple[int, ...]:
        """As it was seen; of what was fused, that of what it was made from."""
        node = value.producer()
        while node is not None:
            if node.name in self._shapes:
                return self._shapes[node.name or ""]
            made_from = next(
                (v for v in node.inputs if v is not None and constant(v) is None), None
            )
            if made_from is None:  # nothing was fed to it
                break
            value, node = made_from, made_from.producer()
        return tuple(size if isinstance(size, int) else 1 for size in value.shape or ())


def _producer(node: ir.Node) -> ir.Node | None:
    values: Sequence[ir.Value | None] = node.inputs
    return next((v.producer() for v in values if v is not None and v.producer() is not None), None)


def _tensors(nodes: Iterable[ir.Node]) -> list[ir.Value]:
    found = dict[ir.Value, None]()
    for node in nodes:
        values = (value for _, value in data_inputs(node) if constant(value) is None)
        found.update(dict.fromkeys((*values, *node.outputs)))
    return list(found)


def _reads(node: ir.Node, position: int) -> bool:
    known = node.domain == "" and node.op_type in OPS
    return known and position in [i for i, _ in data_inputs(node)]
