"""Integer types as values: how many codes, which ones, and where ONNX stores them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

# how the numbers that codes stand for lie: evenly spaced, or in a codebook made so
Mapping: TypeAlias = Literal["linear", "kmeans", "log2", "quantile"]

CONTAINERS = (2, 4, 8, 16, 32)  # widths, in bits, that ONNX can store


@dataclass(frozen=True)
class IntType:
    """`bits` wide integers, or so many `levels` of them, stored in the narrowest ONNX type that
    holds them.

    unsigned: 0 … N - 1        signed: -floor(N / 2) … N - 1 - floor(N / 2)

    All levels that the bits have are None, so that equal types compare equal.
    """

    bits: int
    signed: bool
    levels: int | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 32:
            raise ValueError(f"{self.bits} bits: from 2 to 32 are possible")
        if self.levels is not None and not 2 <= self.levels <= 1 << self.bits:
            raise ValueError(f"{self.levels} levels of {self.bits} bits")
        if self.levels == 1 << self.bits:
            object.__setattr__(self, "levels", None)

    @classmethod
    def of_levels(cls, levels: int, signed: bool) -> IntType:
        """So many levels in as few bits as hold them; 256 are 8 bits."""
        return cls(max(2, (levels - 1).bit_length()), signed, levels)

    @property
    def codes(self) -> int:
        """How many there are."""
        return self.levels or 1 << self.bits

    @property
    def container(self) -> int:
        """Bits of the ONNX type that stores it: 3 bits lie in an int4."""
        return next(c for c in CONTAINERS if c >= self.bits)

    @property
    def fills(self) -> bool:
        """Whether the ONNX type that stores it has no other codes."""
        return self.codes == 1 << self.container

    @property
    def onnx_name(self) -> str:
        """The ONNX type, `int8` or `UINT4` in lower case."""
        return f"{'' if self.signed else 'u'}int{self.container}"

    @property
    def minimum(self) -> int:
        """The lowest code."""
        return -(self.codes // 2) if self.signed else 0

    @property
    def maximum(self) -> int:
        """The highest code."""
        return self.minimum + self.codes - 1

    @property
    def half(self) -> int:
        """The codes above 0 that have a twin below it, where 0 stands in the middle."""
        return (self.codes - 1) // 2

    def __str__(self) -> str:
        some = f":{self.levels}" if self.levels else ""
        return f"{'' if self.signed else 'u'}int{self.bits}{some}"

    @classmethod
    def parse(cls, name: str) -> IntType:
        """`uint8` -> IntType(8, False), `int4:10` -> IntType(4, True, 10); the inverse of str()."""
        bits, _, some = name.removeprefix("u").removeprefix("int").partition(":")
        return cls(int(bits), not name.startswith("u"), int(some) if some else None)


INT8, UINT8 = IntType(8, True), IntType(8, False)
INT16, UINT16 = IntType(16, True), IntType(16, False)
INT32 = IntType(32, True)
