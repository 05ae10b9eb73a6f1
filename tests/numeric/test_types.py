"""Integer types: which codes they hold, and where ONNX stores them."""

from __future__ import annotations

import pytest

from qtool.numeric.types import INT8, INT16, UINT8, IntType


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("signed", [True, False])
def test_there_are_two_to_the_bits_codes(bits: int, signed: bool) -> None:
    kind = IntType(bits, signed)
    assert kind.maximum - kind.minimum + 1 == kind.codes == 2**bits
    assert kind.minimum == (-(2 ** (bits - 1)) if signed else 0)
    assert IntType.parse(str(kind)) == kind
    assert kind.fills == (bits in (2, 4, 8, 16))


@pytest.mark.parametrize(
    "levels", [2, 3, 4, 5, 9, 10, 15, 16, 17, 200, 255, 256, 257, 65535, 65536]
)
@pytest.mark.parametrize("signed", [True, False])
def test_there_are_as_many_codes_as_levels_in_the_narrowest_container(
    levels: int, signed: bool
) -> None:
    kind = IntType.of_levels(levels, signed)
    assert kind.maximum - kind.minimum + 1 == kind.codes == levels
    assert kind.minimum == (-(levels // 2) if signed else 0)
    assert kind.container == next(c for c in (2, 4, 8, 16) if 2**c >= levels)
    assert kind.fills == (2**kind.container == levels)
    assert IntType.parse(str(kind)) == kind
    assert kind.half == (levels - 1) // 2 == (kind.maximum if signed else kind.half)


def test_a_power_of_two_of_levels_is_so_many_bits() -> None:
    assert IntType.of_levels(256, signed=True) == INT8
    assert IntType.of_levels(8, signed=False) == IntType(3, False)
    assert str(IntType.of_levels(10, signed=False)) == "uint4:10"
    assert str(IntType(8, signed=True, levels=64)) == "int8:64"


@pytest.mark.parametrize(
    ("bits", "container"), [(2, 2), (3, 4), (4, 4), (5, 8), (8, 8), (9, 16), (17, 32)]
)
def test_the_narrowest_container_that_fits(bits: int, container: int) -> None:
    assert IntType(bits, True).container == container
    assert IntType(bits, True).onnx_name == f"int{container}"
    assert IntType(bits, False).onnx_name == f"uint{container}"


@pytest.mark.parametrize("bits", [-1, 0, 1, 33])
def test_other_widths_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="bits"):
        IntType(bits, True)


@pytest.mark.parametrize("levels", [-1, 1, 17])
def test_levels_that_the_bits_do_not_hold_are_refused(levels: int) -> None:
    with pytest.raises(ValueError, match="levels"):
        IntType(4, True, levels)


def test_the_usual_ones() -> None:
    assert (INT8.minimum, INT8.maximum) == (-128, 127)
    assert (UINT8.minimum, UINT8.maximum) == (0, 255)
    assert (INT16.minimum, INT16.maximum) == (-32768, 32767)
