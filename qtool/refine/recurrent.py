"""What a recurrent layer multiplies its weights with, at all steps of all sequences.

    W (directions, gates x hidden, inputs)   x_t, whichever the direction: one matrix
    R (directions, gates x hidden, hidden)   h_{t-1} of the same direction: a matrix for each

h is what Y holds one step earlier, or later in a direction that runs backwards; where a sequence
begins it is initial_h, or zeros. Steps beyond the length of a sequence do not count.

The candidate of a GRU with linear_before_reset = 0 is multiplied with r h_{t-1}; it is rounded by h
too, which on random layers gained 6.5 to 7.7 dB where r h gave 0.1 to 0.3 more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.refine.columns import Floats, Seen, Shape, rows

_BACKWARDS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_LENGTHS, _INITIAL = 4, 5  # positions of inputs; Y is the first output


@dataclass(frozen=True)
class Inputs:
    """How W is multiplied."""

    recurs, groups = False, 1

    def matrices(self, values: NDArray[Any]) -> NDArray[Any]:
        """An array of the weight's shape -> (1, rows, columns)."""
        return values.reshape(1, -1, values.shape[2])

    def restored(self, matrices: NDArray[Any], shape: Shape) -> NDArray[Any]:
        """The way back."""
        return matrices.reshape(shape)

    def reads(self, node: ir.Node) -> Sequence[ir.Value | None]:
        """X and sequence_lens."""
        return node.inputs[0], _input(node, _LENGTHS)

    def columns(self, seen: Seen, most: int) -> Floats:
        """x_t of some steps, (1, inputs, places)."""
        x, lengths = seen
        return rows(x[_within(lengths, *x.shape[:2])], most)


@dataclass(frozen=True)
class States:
    """How R is multiplied; `backwards` says of each direction whether it runs from the end."""

    backwards: tuple[bool, ...]
    recurs = True

    @classmethod
    def of(cls, node: ir.Node) -> States:
        """Those of a node."""
        attr = node.attributes.get("direction")
        return cls(_BACKWARDS["forward" if attr is None else attr.as_string()])

    @property
    def groups(self) -> int:
        """A matrix for each direction."""
        return len(self.backwards)

    def matrices(self, values: NDArray[Any]) -> NDArray[Any]:
        """An array of the weight's shape is (groups, rows, columns)."""
        return values

    def restored(self, matrices: NDArray[Any], shape: Shape) -> NDArray[Any]:
        """The way back."""
        return matrices

    def reads(self, node: ir.Node) -> Sequence[ir.Value | None]:
        """Y, sequence_lens and initial_h."""
        return node.outputs[0], _input(node, _LENGTHS), _input(node, _INITIAL)

    def columns(self, seen: Seen, most: int) -> Floats:
        """h_{t-1} of some steps, (directions, hidden, places)."""
        y, lengths, initial = seen
        steps, _, batch, hidden = y.shape
        within = _within(lengths, steps, batch)
        start = np.zeros((self.groups, batch, hidden), y.dtype) if initial is None else initial
        found = [
            rows(_before(y[:, i], start[i], lengths, backwards)[within], most)
            for i, backwards in enumerate(self.backwards)
        ]
        return np.concatenate(found)


def _before(y: Floats, start: Floats, lengths: NDArray[Any] | None, backwards: bool) -> Floats:
    """(steps, batch, hidden) of one direction -> the same one step earlier in its course."""
    if not backwards:
        return np.concatenate([start[None], y])[: len(y)]
    later = np.concatenate([y, start[None]])[1:]
    if lengths is None:
        return later
    last = np.arange(len(y))[:, None] == lengths - 1
    return np.where(last[:, :, None], start, later)


def _within(lengths: NDArray[Any] | None, steps: int, batch: int) -> NDArray[np.bool_]:
    """(steps, batch): which of them belong to a sequence."""
    if lengths is None:
        return np.ones((steps, batch), np.bool_)
    return np.arange(steps)[:, None] < lengths


def _input(node: ir.Node, position: int) -> ir.Value | None:
    return node.inputs[position] if position < len(node.inputs) else None
