"""Schemes: what one wishes for a tensor, and the short form in which a person writes it.

    w<bits>[s|u][b<block>|c|t]      weights: signed symmetric or unsigned asymmetric; per block,
                                    per channel or per tensor
    a<bits>[s|u]                    activations, if they are quantized too
    fp16 | bf16                     floats of 16 bits in place of 32

`w8a8`, `w8ca8u`, `w4b32`, `w4sb32a8u`, `fp16`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TypeAlias

from qtool.errors import UsageError
from qtool.numeric.types import IntType

_FORM = re.compile(r"w(\d+)([su]?)(b\d+|c|t)?(?:a(\d+)([su]?))?")


@dataclass(frozen=True)
class WeightScheme:
    """`block` is None for per channel, 0 for per tensor, else values per block."""

    type: IntType
    symmetric: bool
    block: int | None = None

    def __str__(self) -> str:
        where = {None: "c", 0: "t"}.get(self.block, f"b{self.block}")
        return f"w{self.type.bits}{'s' if self.type.signed else 'u'}{where}"


@dataclass(frozen=True)
class ActivationScheme:
    """Activations have one scale per tensor; `method` names how their range is found."""

    type: IntType
    symmetric: bool
    method: str = "mse"

    def __str__(self) -> str:
        return f"a{self.type.bits}{'s' if self.type.signed else 'u'}"


@dataclass(frozen=True)
class Scheme:
    """The wish for one operator: its weights, and its activations unless they stay float."""

    weight: WeightScheme
    activation: ActivationScheme | None

    def __str__(self) -> str:
        return f"{self.weight}{self.activation or ''}"

    def weights_only(self) -> Scheme:
        """The same without quantized activations."""
        return replace(self, activation=None)


@dataclass(frozen=True)
class Half:
    """The wish for floats of 16 bits: `dtype` is float16 or bfloat16."""

    dtype: str

    def __str__(self) -> str:
        return next(name for name, dtype in HALVES.items() if dtype == self.dtype)

    def weights_only(self) -> Half:
        """The same: it asks nothing of activations that a runtime could not take back."""
        return self


Wish: TypeAlias = Scheme | Half

HALVES = {"fp16": "float16", "bf16": "bfloat16"}


def parse_scheme(text: str) -> Wish:
    """`w4sb32a8u` -> Scheme; weights default to signed, activations to unsigned. `fp16` -> Half.

    Raises:
        UsageError: not of that form, or a number of bits that cannot be had.
    """
    wish = text.strip().lower()
    if wish in HALVES:
        return Half(HALVES[wish])
    match = _FORM.fullmatch(wish)
    if not match:
        raise UsageError(
            f"--scheme {text!r} is not a scheme",
            "the form is w<bits>[s|u][b<block>|c|t], then a<bits>[s|u] for activations, or fp16",
            "try  --scheme w8a8,  w8,  w4b32  or  fp16",
        )
    w_bits, w_sign, where, a_bits, a_sign = match.groups()
    block = {None: None, "c": None, "t": 0}.get(where, -1)
    if block == -1:
        block = int(where[1:])
        if block < 16 or block & (block - 1):
            raise UsageError(f"block size {block}", "a block is a power of two, 16 or more")
    signed = w_sign != "u"
    weight = WeightScheme(_bits(w_bits, signed, "weights"), signed, block)
    if a_bits is None:
        return Scheme(weight, None)
    a_type = _bits(a_bits, a_sign == "s", "activations")
    if a_type.bits not in (8, 16):
        raise UsageError(
            f"activations of {a_bits} bits", "activations can have 8 or 16 bits", "try  a8"
        )
    return Scheme(weight, ActivationScheme(a_type, symmetric=False))


def _bits(text: str, signed: bool, what: str) -> IntType:
    bits = int(text)
    if not (2 <= bits <= 8 or bits == 16):
        raise UsageError(f"{what} of {bits} bits", "2 to 8 and 16 bits can be had")
    return IntType(bits, signed)
