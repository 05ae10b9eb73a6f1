"""One walk over a graph that gives every tensor the labels of its channels, where it has any."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.ops import OPS, attribute, weights_of
from qtool.passes.channels import THROUGH, Labels, bounds, rank_of, stripped
from qtool.passes.edit import array
from qtool.passes.ends import End, read, vector_of, written

# What multiplies a tensor between 0 and 1, or nearly so: the other factor carries the channels.
_GATES = {"Clip", "HardSigmoid", "Sigmoid", "Softmax", "Tanh"}
_PRODUCTS = {"Gelu", "HardSwish", "Mul", "Swish"}
_JOINS = {"Add", "Max", "Mean", "Min", "Sub", "Sum"}
# What leaves columns that a model is given of the size that they had.
_KEEPS = {"Add", "Cast", "Concat", "Equal", "IsNaN", "Sub", "Where"}


@dataclass
class Labelled:
    """Labels 0 ... count - 1, of which some are fixed; what scales them; clips on the way."""

    values: dict[ir.Value, Labels] = field(default_factory=dict)
    ends: list[End] = field(default_factory=list)
    clips: list[ir.Node] = field(default_factory=list)
    fixed: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    count: int = 0


def label(graph: ir.Graph, *, bounded: bool = False) -> Labelled:
    """Labels of all tensors of the main graph that a writer's channels reach."""
    walk = _Walk(bounded)
    for node in graph:
        walk.visit(node)
    walk.share()
    for value, labels in walk.found.values.items():
        if value.is_graph_output() or any(use.node.graph is not graph for use in value.uses()):
            walk.fix(labels)
    return walk.settled()


class _Walk:
    def __init__(self, bounded: bool) -> None:
        self.found = Labelled()
        self._bounded = bounded
        self._parent: list[int] = []  # labels that became one: each points to an earlier one
        self._fixed: list[Labels] = []

    def fix(self, labels: Labels) -> None:
        self._fixed.append(labels.reshape(-1))

    def settled(self) -> Labelled:
        """What was found, each label replaced by the first of those that it is one with."""
        found = self.found
        one = np.array([self._first(i) for i in range(len(self._parent))], np.int64)
        found.values = {value: one[labels] for value, labels in found.values.items()}
        found.ends = [replace(end, labels=one[end.labels]) for end in found.ends]
        if self._fixed:
            found.fixed = np.unique(one[np.concatenate(self._fixed)])
        found.count = len(one)
        return found

    def share(self) -> None:
        """A matrix that several nodes read stays one: all of them scale it alike, or none does."""
        found: dict[tuple[ir.Value, int], list[Labels]] = {}
        for end in self.found.ends:
            value = end.node.inputs[end.position]
            if value is not None and end.weight and len(array(value).shape) > 1:
                found.setdefault((value, end.power), []).append(end.labels)
        for (value, _), every in found.items():
            if len(every) < len(value.uses()) or len({labels.shape for labels in every}) > 1:
                for labels in every if len(value.uses()) > 1 else ():
                    self.fix(labels)
                continue
            for labels in every[1:]:
                self._unite(every[0], labels)

    def visit(self, node: ir.Node) -> None:
        """Labels of what the node gives; fixed are those that it reads in any other way."""
        carried = {
            i: self.found.values[v] for i, v in enumerate(node.inputs) if v in self.found.values
        }
        taken: set[int] = set()
        made: Labels | None = None
        if node.domain == "":
            taken, made = self._carry(node, carried)
        for position, labels in carried.items():
            if position not in taken:
                self.fix(labels)
        if made is not None and made.size > 1:
            self.found.values[node.outputs[0]] = made

    def _carry(self, node: ir.Node, carried: dict[int, Labels]) -> tuple[set[int], Labels | None]:
        """Positions whose factors the node takes or passes on, and labels of what it gives."""
        op = node.op_type
        if op in THROUGH and 0 in carried:
            made = THROUGH[op](node, carried[0])
            return (set() if made is None else {0}), made
        if op == "Clip" and 0 in carried:
            return self._clipped(node, carried[0])
        if op in _JOINS:
            return self._joined(node, carried)
        if op == "Concat":
            return self._concatenated(node, carried)
        if op == "Mul":
            return self._multiplied(node, carried)
        if op == "Div" and 0 in carried:
            return {0}, carried[0]
        if op == "MatMul" and 1 in carried:  # probabilities x values
            labels = carried[1]
            # A vector is summed over, as a matrix is along its rows.
            rank = rank_of(node.inputs[1])
            kept = rank is not None and rank > 1 and (labels.ndim < 2 or labels.shape[-2] == 1)
            return ({1}, labels) if kept else (set(), None)
        return self._layer(node, carried)

    def _layer(self, node: ir.Node, carried: dict[int, Labels]) -> tuple[set[int], Labels | None]:
        end = read(node, carried[0]) if 0 in carried else None
        if end is not None:
            self.found.ends.append(end)
        found = written(node)
        if found is None:
            return ({0} if end else set()), None
        ends, labels = found
        return ({0} if end else set()), self._fresh(labels, ends)

    def _fresh(self, labels: Labels, ends: list[End]) -> Labels:
        start = len(self._parent)
        self._parent.extend(range(start, start + int(labels.max()) + 1))
        self.found.ends += [replace(end, labels=end.labels + start) for end in ends]
        return labels + start

    def _clipped(self, node: ir.Node, labels: Labels) -> tuple[set[int], Labels | None]:
        if not OPS["Clip"].holds(node):
            return set(), None
        low, high = bounds(node)
        if not low <= 0 <= high:
            return set(), None
        if low in (0, -np.inf) and high == np.inf:
            return {0}, labels
        if not self._bounded:
            return set(), None
        self.found.clips.append(node)
        return {0}, labels

    def _joined(self, node: ir.Node, carried: dict[int, Labels]) -> tuple[set[int], Labels | None]:
        fixed = vector_of(node) if node.op_type in ("Add", "Sub") else None
        if fixed is not None and len(carried) == 1:
            (position, labels), (place, value) = next(iter(carried.items())), fixed
            shape = (
                np.broadcast_shapes(array(value).shape, labels.shape)
                if _fits(array(value), labels)
                else None
            )
            if shape is None or np.prod(shape) > max(labels.size, array(value).size):
                return set(), None
            self.found.ends.append(End(node, place, labels, -1, weight=False))
            return {position}, labels
        arrays = list(carried.values())
        if len(arrays) < len(node.inputs) or len({each.shape for each in arrays}) > 1:
            return set(), None
        for other in arrays[1:]:
            self._unite(arrays[0], other)
        return set(carried), arrays[0]

    def _concatenated(
        self, node: ir.Node, carried: dict[int, Labels]
    ) -> tuple[set[int], Labels | None]:
        """Side by side along an axis with channels, else the same along all that is joined."""
        rank = rank_of(node.inputs[0])
        if len(carried) < len(node.inputs) or rank is None:
            return set(), None
        axis = attribute(node, "axis", 0) % rank
        full = [x.reshape((1,) * (rank - x.ndim) + x.shape) for x in carried.values()]
        if any(x.shape[axis] > 1 for x in full):
            others = {x.shape[:axis] + x.shape[axis + 1 :] for x in full}
            sizes = [
                v.shape[axis] if v is not None and v.shape is not None else None
                for v in node.inputs
            ]
            if len(others) > 1 or [x.shape[axis] for x in full] != sizes:
                return set(), None
            return set(carried), stripped(np.concatenate(full, axis))
        if len({x.shape for x in full}) > 1:
            return set(), None
        for other in full[1:]:
            self._unite(full[0], other)
        return set(carried), stripped(full[0])

    def _multiplied(
        self, node: ir.Node, carried: dict[int, Labels]
    ) -> tuple[set[int], Labels | None]:
        """By a number; by a vector, which ends one stream and starts another; by an activation."""
        fixed = vector_of(node)
        if fixed is None:
            position = _carrier(node)
            return ({position}, carried[position]) if position in carried else (set(), None)
        place, value = fixed
        other = 1 - place
        factor = array(value)
        if factor.size == 1:
            return ({other}, carried[other]) if other in carried else (set(), None)
        labels = carried.get(other)
        if labels is not None:
            if not _fits(factor, labels) or factor.size < labels.size:
                return set(), None
            self.found.ends.append(End(node, place, labels, 1))
        shape = (
            labels.shape if labels is not None else stripped(np.empty(factor.shape, np.int64)).shape
        )
        own = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
        told = not _as_given(node.inputs[other])
        ends = [End(node, place, own, -1, weight=told)]
        made = self._fresh(own, ends) if own.size <= _MOST else None
        return ({other} if labels is not None else set()), made

    def _unite(self, one: Labels, other: Labels) -> None:
        for a, b in zip(one.flat, other.flat, strict=True):
            first, second = sorted((self._first(int(a)), self._first(int(b))))
            self._parent[second] = first

    def _first(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number


_MOST = 65_536  # places of a constant that each count as a channel


def _fits(values: NDArray[np.generic], labels: Labels) -> bool:
    try:
        np.broadcast_shapes(values.shape, labels.shape)
    except ValueError:
        return False
    return True


def _carrier(node: ir.Node) -> int:
    """Which of two activations that are multiplied carries the channels: not the gate, and rather
    what a layer gives than another product."""
    makers = [value.producer() if value is not None else None for value in node.inputs]
    kinds = [maker.op_type if maker is not None else "" for maker in makers]
    gating = [2 * (kind in _GATES) + (kind in _PRODUCTS) for kind in kinds]
    return int(np.argmin(gating))


def _as_given(value: ir.Value | None) -> bool:
    """Whether it is what the model is given, centred and moved at most: of such columns, unlike of
    what a layer gives, a constant beside them does not say how large they become."""
    stack, seen = [value], set[ir.Value | None]()
    while stack:
        value = stack.pop()
        if value is None or value in seen:
            continue
        seen.add(value)
        node = value.producer()
        if node is None:
            continue
        moves = node.op_type in _KEEPS or (node.op_type in OPS and OPS[node.op_type].shares)
        if node.domain != "" or not moves or weights_of(node):
            return False
        stack.extend(node.inputs)
    return True
