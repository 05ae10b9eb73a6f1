"""Who runs in integers, if time is the sum of what nodes take and of what conversions take.

    time(labels) = sum of nodes[n][label of n]
                 + sum of borders: `enter` if the maker is float and a reader is integer,
                                   `leave` if the maker is integer and a reader is float

A border is paid once, whoever many read behind it. The least time is a minimum cut: source side
integer, sink side float (Kolmogorov, Zabih: What Energy Functions Can Be Minimized via Graph Cuts,
2004), found by Dinic's algorithm.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Border:
    """A tensor: who makes it and who reads it, as indexes of nodes; None is what is always float.

    `enter` is the time to quantize it, `leave` the time to dequantize it.
    """

    maker: int | None
    readers: tuple[int | None, ...]
    enter: float
    leave: float


def time_of(
    labels: Sequence[bool], nodes: Sequence[tuple[float, float]], borders: Iterable[Border]
) -> float:
    """The time of the labels (True: integer); `nodes` are (as integer, as float)."""

    def integer(node: int | None) -> bool:
        return node is not None and labels[node]

    total = sum(pair[0] if label else pair[1] for label, pair in zip(labels, nodes, strict=True))
    for border in borders:
        inside = [integer(reader) for reader in border.readers]
        if integer(border.maker):
            total += 0 if all(inside) else border.leave
        else:
            total += border.enter if any(inside) else 0
    return total


def least(nodes: Sequence[tuple[float, float]], borders: Sequence[Border]) -> list[bool]:
    """The labels of least time; of several the one with the fewest integers. Infinite times rule a
    label out, and one of the two must be finite."""
    flow = _Flow(len(nodes) + 2)
    source, sink = len(nodes), len(nodes) + 1
    for index, (as_integer, as_float) in enumerate(nodes):
        common = min(as_integer, as_float)
        flow.add(source, index, as_float - common)  # cut if the node is on the sink side: float
        flow.add(index, sink, as_integer - common)
    for border in borders:
        maker = sink if border.maker is None else border.maker
        readers = [sink if reader is None else reader for reader in border.readers]
        if border.enter and readers:
            # any reader integer -> `some` is; then a float maker pays
            some = flow.node()
            flow.add(some, maker, border.enter)
            for reader in readers:
                flow.add(reader, some, math.inf)
        if border.leave and readers and border.maker is not None:
            # any reader float -> `every` is; then an integer maker pays
            every = flow.node()
            flow.add(maker, every, border.leave)
            for reader in readers:
                flow.add(every, reader, math.inf)
    reached = flow.separate(source, sink)
    return [index in reached for index in range(len(nodes))]


class _Flow:
    """Dinic (1970): blocking flows through layers of shortest paths."""

    def __init__(self, nodes: int) -> None:
        self.edges: list[list[int]] = [[] for _ in range(nodes)]
        self.to: list[int] = []
        self.room: list[float] = []

    def node(self) -> int:
        self.edges.append([])
        return len(self.edges) - 1

    def add(self, start: int, end: int, capacity: float) -> None:
        if start == end or capacity <= 0:
            return
        for here, there, room in ((start, end, capacity), (end, start, 0.0)):
            self.edges[here].append(len(self.to))
            self.to.append(there)
            self.room.append(room)

    def separate(self, source: int, sink: int) -> set[int]:
        """What is still reached from the source once no more can flow to the sink."""
        while True:
            depth = self._depths(source)
            if sink not in depth:
                return set(depth)
            tried = dict.fromkeys(depth, 0)
            while path := self._path(source, sink, depth, tried):
                pushed = min(self.room[edge] for edge in path)
                for edge in path:
                    self.room[edge] -= pushed
                    self.room[edge ^ 1] += pushed

    def _depths(self, source: int) -> dict[int, int]:
        depth, queue = {source: 0}, deque([source])
        while queue:
            node = queue.popleft()
            for edge in self.edges[node]:
                if self.room[edge] > _NOTHING and self.to[edge] not in depth:
                    depth[self.to[edge]] = depth[node] + 1
                    queue.append(self.to[edge])
        return depth

    def _path(
        self, source: int, sink: int, depth: dict[int, int], tried: dict[int, int]
    ) -> list[int]:
        """The edges of one path with room to the sink, one layer further each; empty if none.

        `tried` counts the edges of a node that lead nowhere any more.
        """
        path, node = list[int](), source
        while node != sink:
            for edge in self.edges[node][tried[node] :]:
                end = self.to[edge]
                if self.room[edge] > _NOTHING and depth.get(end) == depth[node] + 1:
                    path.append(edge)
                    node = end
                    break
                tried[node] += 1
            else:  # a dead end
                if not path:
                    return []
                del depth[node]
                node = self.to[path.pop() ^ 1]
        return path


_NOTHING = 1e-12
