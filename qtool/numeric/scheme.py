"""Schemes: what one wishes for a tensor, and the short form in which a person writes it.

    w<bits>[s|u][b<block>|c|t]      weights: signed symmetric (the default) or unsigned asymmetric;
                                    per block, per channel (the default) or per tensor
    w<bits>k|p|q[b<block>|c|t|g<n>] weights in a codebook, whose levels are found by k-means, are
                                    powers of two, or quantiles; g: a book for each n channels
    a<bits>[s|u]                    activations, if they are quantized too: signed symmetric, or
                                    unsigned asymmetric (the default)
    wl<levels>…  al<levels>…        the same with a number of levels, from 2 to 65,536, in place of
                                    one of bits, from 2 to 16
    fp16 | bf16                     floats of 16 bits in place of 32

`w8a8`, `w8ca8u`, `w4b32`, `w4sb32a8u`, `wl10`, `w4k`, `w8al10u`, `fp16`. A power of two of levels
is so many bits: `wl16` is `w4`. What has no letters is not said there: ranges, and kinds of scale.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal, TypeAlias

from qtool.errors import UsageError
from qtool.numeric.types import IntType, Mapping

FORM = re.compile(r"w(l?\d+)([sukpq]?)(b\d+|g\d+|c|t)?(?:a(l?\d+)([su]?))?")
Range: TypeAlias = tuple[float, float]

MAPPINGS: dict[str, Mapping] = {"": "linear", "k": "kmeans", "p": "log2", "q": "quantile"}
"""Letter in a scheme -> how levels lie."""


@dataclass(frozen=True)
class WeightScheme:
    """`block` is None for per channel, 0 for per tensor, else values per block.

    A `range` given in place of the weights' own is that of all: one scale per tensor. Scales are
    free, or powers of two; free ones of few codes are found by `method` where no range is given.
    Levels are evenly spaced, or a codebook holds them: one, or one for each `group` channels.
    """

    type: IntType
    symmetric: bool
    block: int | None = None
    range: Range | None = None
    power_of_two: bool = False
    method: Literal["mse", "hqq"] = "mse"
    mapping: Mapping = "linear"
    group: int | None = None

    def __post_init__(self) -> None:
        if self.range is not None:
            object.__setattr__(self, "block", 0)

    @property
    def letter(self) -> str:
        """Of its mapping; empty where levels are evenly spaced."""
        return next(letter for letter, name in MAPPINGS.items() if name == self.mapping)

    def linear(self) -> WeightScheme:
        """As many evenly spaced codes, around 0 unless there are too few."""
        codes = self.type.codes
        kind = IntType.of_levels(codes, codes > 2)
        symmetric = codes > 2
        return replace(self, type=kind, symmetric=symmetric, mapping="linear", group=None)

    def __str__(self) -> str:
        where = {None: "c", 0: "t"}.get(self.block, f"b{self.block}")
        where = where if self.group is None else f"g{self.group}"
        return f"w{_number(self.type)}{self.letter or _sign(self.type)}{where}"


@dataclass(frozen=True)
class ActivationScheme:
    """Activations have one scale per tensor; `method` names how their range is found, unless a
    `range` is given. Scales are free, or powers of two."""

    type: IntType
    symmetric: bool
    method: str = "mse"
    range: Range | None = None
    power_of_two: bool = False

    def __str__(self) -> str:
        return f"a{_number(self.type)}{_sign(self.type)}"


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
MOST_LEVELS = 1 << 16
MOST_IN_BOOK = 256  # beyond one byte a book is hardly smaller than what it saves


def parse_scheme(text: str) -> Wish:
    """`w4sb32a8u` -> Scheme; weights default to signed, activations to unsigned. `fp16` -> Half.

    Raises:
        UsageError: not of that form, or a number of bits or levels that cannot be had.
    """
    wish = text.strip().lower()
    if wish in HALVES:
        return Half(HALVES[wish])
    match = FORM.fullmatch(wish)
    if not match:
        raise UsageError(
            f"--scheme {text!r} is not a scheme",
            "the form is w<bits>[s|u][b<block>|c|t], then a<bits>[s|u] for activations, "
            "l<levels> in place of <bits>; or a codebook, w<bits>k|p|q[b<block>|c|t|g<n>]; or fp16",
            "try  --scheme w8a8,  w8,  w4b32,  wl10,  w4k  or  fp16",
        )
    w_codes, w_sign, where, a_codes, a_sign = match.groups()
    place, size = (where or "c")[0], int((where or "")[1:] or 0)
    if place == "b" and (size < 16 or size & (size - 1)):
        raise UsageError(f"block size {size}", "a block is a power of two, 16 or more")
    block, mapping = {"c": None, "t": 0}.get(place, size), MAPPINGS.get(w_sign, "linear")
    if mapping != "linear":
        weight = _booked(text, _parsed(w_codes, False, "weights"), mapping, place, size)
        if a_codes is not None:
            raise UsageError(
                f"--scheme {text!r} has a codebook and integer activations",
                "integer kernels multiply evenly spaced codes; those of a codebook become float",
                f"use  --scheme {weight},  or leave out {w_sign}",
            )
        return Scheme(weight, None)
    if place == "g":
        raise UsageError(
            f"--scheme {text!r} has groups of channels",
            "only codebooks have them: evenly spaced codes have a scale for each channel",
            "use c,  or a codebook:  k, p or q",
        )
    signed = w_sign != "u"
    weight = WeightScheme(_parsed(w_codes, signed, "weights"), signed, block)
    if a_codes is None:
        return Scheme(weight, None)
    signed = a_sign == "s"
    kind = _in_bytes(_parsed(a_codes, signed, "activations"))
    return Scheme(weight, ActivationScheme(kind, signed))


def _booked(text: str, kind: IntType, mapping: Mapping, place: str, size: int) -> WeightScheme:
    if kind.codes > MOST_IN_BOOK:
        raise UsageError(
            f"--scheme {text!r} has a codebook of {kind.codes:,} levels",
            f"at most {MOST_IN_BOOK} can be had: more are hardly better than evenly spaced ones",
        )
    if place == "g" and not size:
        raise UsageError(f"--scheme {text!r}", "a group has one channel or more", "try  g8")
    block = {"c": None, "t": 0, "g": None}.get(place, size)
    group = size if place == "g" else None
    return WeightScheme(kind, True, block, mapping=mapping, group=group)


def check_ranges(schemes: Iterable[Wish]) -> None:
    """Refuse ranges that the schemes cannot have.

    Raises:
        UsageError: not two numbers around 0, the lesser first; or further on one side of 0 than on
            the other, for scales that are symmetric.
    """
    for scheme in schemes:
        if isinstance(scheme, Scheme):
            _check_range(scheme.weight, "range", "weights")
            if scheme.activation is not None:
                _check_range(scheme.activation, "activation_range", "activations")


def _check_range(scheme: WeightScheme | ActivationScheme, key: str, what: str) -> None:
    if scheme.range is None:
        return
    low, high = scheme.range
    if isinstance(scheme, WeightScheme) and scheme.mapping != "linear":
        raise UsageError(
            f"{key} = {low:g},{high:g}  and a codebook",
            f"the levels of {scheme} are those of the weights",
            "leave out the one or the other",
        )
    if not (isfinite(low) and isfinite(high) and low < high and low <= 0 <= high):
        raise UsageError(
            f"{key} = {low:g},{high:g}",
            "a range is LO,HI with LO below HI, and holds 0, which every scale keeps exactly",
            f"{key} = -1,1  is one",
        )
    if scheme.symmetric and -low != high:
        raise UsageError(
            f"{key} = {low:g},{high:g}  is not symmetric around 0",
            f"the scales of {what} are: {scheme}",
            f"take {-max(-low, high):g},{max(-low, high):g},  or  --asymmetric",
        )


def _sign(kind: IntType) -> str:
    return "s" if kind.signed else "u"


def _number(kind: IntType) -> str:
    whole = kind.codes & (kind.codes - 1) == 0 and kind.codes > 2
    return str(kind.codes.bit_length() - 1) if whole else f"l{kind.codes}"


def _parsed(text: str, signed: bool, what: str) -> IntType:
    number = int(text.removeprefix("l"))
    if not text.startswith("l"):
        if not 2 <= number <= 16:
            raise UsageError(f"{what} of {number} bits", "2 to 16 bits can be had")
        return IntType(number, signed)
    if not 2 <= number <= MOST_LEVELS:
        raise UsageError(
            f"{what} of {number} level{'' if number == 1 else 's'}",
            f"2 to {MOST_LEVELS:,} levels can be had",
        )
    if signed and number == 2:
        raise UsageError(
            f"{what} of 2 levels, symmetric around 0, hold nothing but 0",
            "a symmetric scale has as many codes below 0 as above",
            f"take 3 levels, or asymmetric ones:  {what[0]}l2u  or  --asymmetric",
        )
    return IntType.of_levels(number, signed)


def _in_bytes(kind: IntType) -> IntType:
    """The same codes in 8 bits or more: onnxruntime 1.31 looks for kernels between Q and DQ of 2
    and 4 bits, finds none, and fails."""
    return IntType(max(8, kind.bits), kind.signed, kind.codes)
