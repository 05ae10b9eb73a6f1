"""Integer types: which codes they hold, and where ONNX stores them."""

from __future__ import annotations

import pytest

from qtool.numeric.types import INT8, INT16, UINT8, IntType


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("signed", [True, False])
def test_there_are_two_to_the_bits_codes(bits: int, signed: bool) -> None:
    kind = IntType(bits, signed)
    assert kind.maximum - kind.minimum + 1 == 2**bits
    assert kind.minimum == (-(2 ** (bits - 1)) if signed else 0)
    assert IntType.parse(str(kind)) == kind


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


def test_the_usual_ones() -> None:
    assert (INT8.minimum, INT8.maximum) == (-128, 127)
    assert (UINT8.minimum, UINT8.maximum) == (0, 255)
    assert (INT16.minimum, INT16.maximum) == (-32768, 32767)
