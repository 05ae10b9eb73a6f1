"""The nodes that look at a place in all three models, and leave a few numbers of each run.

Differences are formed before they are squared, so that float32 is enough. All is reduced in the
graph: what a run gives takes no room, however large the tensors are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.compare.layers.codes import bounds
from qtool.compare.layers.merge import Gain, Merged, Part
from qtool.compare.layers.place import Place

LARGEST = 2.0**50
"""No activation is larger, but masks are (-3.4e38), and their squares would be all that counts."""


@dataclass(frozen=True)
class Sums:
    """The outputs that tell of one place; "" where a number is zero or not there.

    Counts of values and of clipped ones; sums of squares of the signal and of three differences.
    """

    count: str
    signal: str
    total: str
    own: str
    inherited: str
    clipped: str


def seen(merged: Merged, part: Part, place: Place) -> ir.Value:
    """What readers get of a place, as floats."""
    value = part.values[place.seen]
    codes = next(member.codes for member in place.members if member.name == place.seen)
    return value if codes is None else merged.dequantize(value, codes)


def widest(*values: ir.Value) -> ir.DataType:
    """The type in which values are compared: float64 where one is."""
    double = any(value.dtype is ir.DataType.DOUBLE for value in values)
    return ir.DataType.DOUBLE if double else ir.DataType.FLOAT


def look(
    merged: Merged,
    local: Part,
    place: Place,
    *,
    values: Mapping[str, ir.Value],
    rank: int,
    gain: Gain | None,
    careful: bool,
) -> Sums:
    """Add the outputs of one place.

    Args:
        merged, local: the graph, and the candidate with exact inputs in it.
        values: the candidate's, with the constants by which it was quantized.
        gain: the scaling that is undone before comparing.
        careful: leave out what the reference has beyond `LARGEST`, or as NaN.
    """
    exact = merged.reference.values[place.tensor]
    theirs, alone = seen(merged, merged.candidate, place), seen(merged, local, place)
    kind = widest(exact, theirs)
    r, c, own = (merged.cast(value, kind) for value in (exact, theirs, alone))
    ends = bounds(place.codes, values, rank) if place.codes is not None else None
    if gain is not None:
        undo = 1 / gain.shaped(rank)
        c, own = merged.scaled(c, undo), merged.scaled(own, undo)
        ends = None if ends is None else (ends[0] * undo, ends[1] * undo)
    wanted = _usable(merged, r, LARGEST) if careful else None
    if wanted is not None:
        r, c, own = (_where(merged, wanted, value) for value in (r, c, own))

    def squares(value: ir.Value) -> str:
        return merged.output(merged.node("ReduceSumSquare", [value], kind, keepdims=0))

    total = squares(merged.node("Sub", [c, r], kind))
    inherited = merged.node("Sub", [c, own], kind)
    if careful:  # what is no number with exact inputs has not come in
        inherited = _where(
            merged, _usable(merged, own, float(np.finfo(kind.numpy()).max)), inherited
        )
    return Sums(
        count=_count(merged, r, wanted),
        signal=squares(r),
        total=total,
        own="" if place.moved else squares(merged.node("Sub", [own, r], kind)),
        inherited=total if place.moved else squares(inherited),
        clipped="" if ends is None else _beyond(merged, r, *ends),
    )


def _usable(merged: Merged, value: ir.Value, largest: float) -> ir.Value:
    """Where a value is neither NaN nor beyond: |x| <= largest."""
    assert value.dtype is not None
    size = merged.node("Abs", [value], value.dtype)
    most = merged.constant(np.array(largest, value.dtype.numpy()))
    return merged.node("LessOrEqual", [size, most], ir.DataType.BOOL)


def _where(merged: Merged, wanted: ir.Value, value: ir.Value) -> ir.Value:
    """The value, or 0 where it is not wanted."""
    assert value.dtype is not None
    zero = merged.constant(np.zeros((), value.dtype.numpy()))
    return merged.node("Where", [wanted, value, zero], value.dtype)


def _count(merged: Merged, value: ir.Value, wanted: ir.Value | None) -> str:
    whole = ir.DataType.INT64
    if wanted is None:
        return merged.output(merged.node("Size", [value], whole))
    ones = merged.cast(wanted, whole)
    return merged.output(merged.node("ReduceSum", [ones], whole, keepdims=0))


def _beyond(
    merged: Merged, value: ir.Value, low: NDArray[np.float64], high: NDArray[np.float64]
) -> str:
    """How many values lie outside:  |x - middle| > (high - low) / 2."""
    kind = value.dtype
    assert kind is not None
    middle, reach = (
        merged.constant(ends.astype(kind.numpy()))
        for ends in ((low + high) / 2, np.abs(high - low) / 2)
    )
    away = merged.node("Sub", [value, middle], kind)
    size: Any = merged.node("Abs", [away], kind)
    outside = merged.node("Greater", [size, reach], ir.DataType.BOOL)
    ones = merged.node("Cast", [outside], ir.DataType.FLOAT, to=int(ir.DataType.FLOAT))
    return merged.output(merged.node("ReduceSum", [ones], ir.DataType.FLOAT, keepdims=0))
