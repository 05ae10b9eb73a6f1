"""Integer types as values: how many bits, signed or not, and which codes they hold."""

from __future__ import annotations

from dataclasses import dataclass

CONTAINERS = (2, 4, 8, 16, 32)  # widths, in bits, that ONNX can store


@dataclass(frozen=True)
class IntType:
    """`bits` wide integers, stored in the narrowest ONNX type that holds them."""

    bits: int
    signed: bool

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 32:
            raise ValueError(f"{self.bits} bits: from 2 to 32 are possible")

    @property
    def container(self) -> int:
        """Bits of the ONNX type that stores it: 3 bits lie in an int4."""
        return next(c for c in CONTAINERS if c >= self.bits)

    @property
    def onnx_name(self) -> str:
        """The ONNX type, `int8` or `UINT4` in lower case."""
        return f"{'' if self.signed else 'u'}int{self.container}"

    @property
    def minimum(self) -> int:
        """The lowest code."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def maximum(self) -> int:
        """The highest code."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    def __str__(self) -> str:
        return f"{'' if self.signed else 'u'}int{self.bits}"

    @classmethod
    def parse(cls, name: str) -> IntType:
        """`uint8` -> IntType(8, False); the inverse of str()."""
        return cls(int(name.removeprefix("u").removeprefix("int")), not name.startswith("u"))


INT8, UINT8 = IntType(8, True), IntType(8, False)
INT16, UINT16 = IntType(16, True), IntType(16, False)
INT32 = IntType(32, True)
