"""Streams: tensors that carry the same channels, and the constants at their ends.

Between what writes channel c and what reads it, a factor can be moved freely:

    f(s * x) = s * f(x)  for s > 0     =>     (W1 / s, b1 / s)  then  (W2 * s)  is the same function

All tensors that are joined by such f are one stream, a residual path too: one factor per channel
then serves all that write and read it. One walk over the graph gives every tensor its labels (see
`channels`). What is added makes two labels one. A label that anything else reads, or the model
gives, is *fixed*: its factor is 1.

Source: Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction,
section 4.1; the extension from layer pairs to streams is ours.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.passes.channels import Labels
from qtool.passes.edit import array, drop_unused, rounded, set_constant
from qtool.passes.ends import End
from qtool.passes.label import Labelled, label

Factors: TypeAlias = NDArray[np.float64]
# a node and the position of a constant input -> its new values
Scaled: TypeAlias = dict[tuple[ir.Node, int], NDArray[Any]]


@dataclass
class Stream:
    """Tensors with their labels, 0 ... len(free) - 1; what scales them; which labels may be."""

    free: NDArray[np.bool_]
    values: dict[ir.Value, Labels] = field(default_factory=dict)
    ends: list[End] = field(default_factory=list)
    clips: list[ir.Node] = field(default_factory=list)  # of values in the stream, within bounds

    @property
    def writers(self) -> list[End]:
        """Constants that are divided by the factors."""
        return [end for end in self.ends if end.power < 0]

    @property
    def readers(self) -> list[End]:
        """Constants that are multiplied by the factors."""
        return [end for end in self.ends if end.power > 0]


def streams(graph: ir.Graph, *, bounded: bool = False) -> list[Stream]:
    """All streams that have a reader and a label that is not fixed, in graph order.

    Args:
        bounded: follow channels through Clip, which keeps what does not reach its bounds. The
            caller sees to it that nothing reaches them that did not before.
    """
    found = label(graph, bounded=bounded)
    groups = _groups(found)
    grown = {}
    for group, members in groups.items():
        free = ~np.isin(members, found.fixed)
        grown[group] = members, Stream(free)
    home = {int(m): group for group, members in groups.items() for m in members}

    def place(labels: Labels) -> tuple[Stream, Labels]:
        members, stream = grown[home[int(labels.flat[0])]]
        return stream, np.searchsorted(members, labels)

    for value, labels in found.values.items():
        stream, own = place(labels)
        stream.values[value] = own
    for end in found.ends:
        stream, own = place(end.labels)
        stream.ends.append(replace(end, labels=own))
    for node in found.clips:
        place(found.values[node.outputs[0]])[0].clips.append(node)
    return [
        s for _, s in grown.values() if s.free.any() and len(s.free) > 1 and s.readers and s.writers
    ]


def _groups(found: Labelled) -> dict[int, NDArray[np.int64]]:
    """Labels that meet in a tensor, by the least of them, in ascending order."""
    meeting = np.arange(found.count)
    for labels in found.values.values():
        ids = np.unique(meeting[labels.reshape(-1)])
        if len(ids) > 1:
            meeting[np.isin(meeting, ids)] = ids[0]
    every = [np.zeros(0, np.int64), *(labels.reshape(-1) for labels in found.values.values())]
    used = np.unique(np.concatenate(every))
    return {int(g): used[meeting[used] == g] for g in np.unique(meeting[used])}


def largest(ends: list[End], count: int) -> Factors:
    """The largest weight of each channel, by labels; 0 for those of which there is none."""
    found = np.zeros(count)
    for end in ends:
        if not end.weight:
            continue
        values = np.abs(array(end.node.inputs[end.position]).astype(np.float64))
        labels = end.labels.reshape((1,) * (values.ndim - end.labels.ndim) + end.labels.shape)
        over = tuple(axis for axis, size in enumerate(labels.shape) if size == 1)
        reduced = values.max(axis=over, keepdims=True)
        np.maximum.at(found, *np.broadcast_arrays(labels, reduced))
    return found


def scaled(stream: Stream, factors: Factors) -> Scaled:
    """All constants of the stream's ends, or none where their type does not hold one: float16
    ends at 65504. A node may stand at both ends, in a residual stream."""
    found: Scaled = {}
    for end in stream.ends:
        key = end.node, end.position
        old = found[key] if key in found else array(end.node.inputs[end.position])
        values = rounded(old.astype(np.float64) * factors[end.labels] ** end.power, old.dtype)
        if values is None:
            return {}
        found[key] = values
    return found


def apply(stream: Stream, factors: Factors, suffix: str) -> bool:
    """Scale the constants at the stream's ends in place; False where their type cannot hold it.

    `suffix` names those that had to become constants of their own. What was one stays one where
    the new values are equal.
    """
    values = scaled(stream, factors)
    made: dict[tuple[ir.Value | None, bytes], ir.Value | None] = {}
    for (node, position), each in values.items():
        old, graph = node.inputs[position], node.graph
        assert old is not None and isinstance(graph, ir.Graph)
        key = old, hashlib.sha256(each.tobytes()).digest()
        if key in made:
            node.replace_input_with(position, made[key])
            drop_unused(graph, old)
        else:
            set_constant(node, position, each, f"{node.name}_{suffix}")
            made[key] = node.inputs[position]
    return bool(values)
