"""The short form of schemes."""

from __future__ import annotations

import pytest

from qtool.errors import UsageError
from qtool.numeric.scheme import ActivationScheme, Half, Scheme, WeightScheme, parse_scheme
from qtool.numeric.types import INT8, UINT8, IntType


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("w8a8", "w8sca8u"),
        ("w8", "w8sc"),
        ("w8ca8u", "w8sca8u"),
        ("w4b32", "w4sb32"),
        ("w4ub32a8s", "w4ub32a8s"),
        ("w8t", "w8st"),
        ("w16a16", "w16sca16u"),
        (" W8A8 ", "w8sca8u"),
        ("w3", "w3sc"),
    ],
)
def test_in_full(text: str, full: str) -> None:
    assert str(parse_scheme(text)) == full


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8, 16])
@pytest.mark.parametrize("sign", ["s", "u"])
@pytest.mark.parametrize("where", ["c", "t", "b16", "b128"])
@pytest.mark.parametrize("activation", ["", "a8u", "a8s", "a16u"])
def test_parsing_inverts_writing(bits: int, sign: str, where: str, activation: str) -> None:
    text = f"w{bits}{sign}{where}{activation}"
    assert str(parse_scheme(text)) == text
    assert parse_scheme(str(parse_scheme(text))) == parse_scheme(text)


def weight_of(text: str) -> WeightScheme:
    scheme = parse_scheme(text)
    assert isinstance(scheme, Scheme)
    return scheme.weight


def test_what_the_letters_mean() -> None:
    assert parse_scheme("w8a8") == Scheme(
        WeightScheme(INT8, symmetric=True, block=None),
        ActivationScheme(UINT8, symmetric=False),
    )
    assert weight_of("w4ub32") == WeightScheme(IntType(4, False), False, 32)
    assert weight_of("w8t").block == 0
    assert parse_scheme("w4b32a8").weights_only() == parse_scheme("w4b32")


@pytest.mark.parametrize(("text", "dtype"), [("fp16", "float16"), ("bf16", "bfloat16")])
def test_floats_of_16_bits(text: str, dtype: str) -> None:
    assert parse_scheme(text.upper()) == Half(dtype)
    assert str(Half(dtype)) == text
    assert Half(dtype).weights_only() == Half(dtype)


@pytest.mark.parametrize(
    "text", ["", "8", "w", "int8", "w8a", "w8b", "a8", "w8 a8", "w-8", "w8.5", "w8b32c", "float"]
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_scheme(text)
    assert repr(text) in caught.value.what
    assert "w8a8" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("w1", "weights of 1 bits"),
        ("w0", "weights of 0 bits"),
        ("w9", "weights of 9 bits"),
        ("w32", "weights of 32 bits"),
        ("w8a4", "activations of 4 bits"),
        ("w8a32", "activations of 32 bits"),
        ("w4b8", "block size 8"),
        ("w4b0", "block size 0"),
        ("w4b48", "block size 48"),
    ],
)
def test_numbers_that_cannot_be_had(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_scheme(text)
    assert words in caught.value.what
    assert caught.value.why
