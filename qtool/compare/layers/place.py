"""What one tensor of a reference is in a candidate, as names.

A *place* is one tensor of the reference and all forms in which the candidate holds it:

    t -> QuantizeLinear -> codes -> DequantizeLinear -> t'      also through Casts, also several
    codes named "t_quantized" that a QLinear… operator gives    onnxruntime's QOperator files
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qtool.compare.layers.codes import Codes


@dataclass(frozen=True)
class Member:
    """A form in which the candidate holds a place: integers with their `codes`, or floats, which
    may have been `restored` from integers."""

    name: str
    codes: Codes | None = None
    restored: bool = False


@dataclass(frozen=True)
class Place:
    """One tensor of the reference in the candidate.

    `key` is the candidate's first value of it, `members` all of them, `seen` what readers get.
    `choices` are the values of the reference that it may be, the likeliest first. `sources` are the
    keys of the places that it is computed from, in which `mixes` says whether channels are summed.
    `integer`: it is computed from integers. `moved`: only moved about, and quantized as what it was
    moved from, so that nothing is lost. `output`: it is one of the candidate's outputs.
    """

    key: str
    choices: tuple[str, ...]
    members: tuple[Member, ...]
    seen: str
    codes: Codes | None
    node: str
    op_type: str
    integer: bool
    sources: tuple[str, ...]
    mixes: bool
    moved: bool
    output: bool

    def blamed(self, places: Sequence[Place]) -> tuple[str, str]:
        """The node to exclude against its own error, and its operator; "" for an input.

        It is the one that computes it, or where that is one of floats, the layer behind it that
        wants them as integers: without it they would not be rounded.
        """
        computes = self.node, self.op_type
        if self.integer or self.codes is None or not self.node:
            return computes
        wanting = [p for p in places if self.key in p.sources and p.integer and p.node]
        layers = [p for p in wanting if p.mixes]
        return next(((p.node, p.op_type) for p in (*layers, *wanting)), computes)

    @property
    def tensor(self) -> str:
        """The reference's value, as far as it is known."""
        return self.choices[0]


@dataclass(frozen=True)
class Matching:
    """All places, in the candidate's order, and the reference's float values that have none."""

    places: tuple[Place, ...]
    unmatched: tuple[str, ...]
