"""The short form of schemes."""

from __future__ import annotations

import pytest

from qtool.errors import UsageError
from qtool.numeric.letters import lettered, unlettered
from qtool.numeric.scheme import (
    ActivationScheme,
    Half,
    Scheme,
    WeightScheme,
    parse_scheme,
)
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
        ("w12a9", "w12sca9u"),
        ("w8a2s", "w8sca2s"),
        ("wl10al200", "wl10scal200u"),
        ("wl2u", "wl2uc"),
        ("wl16tal256s", "w4sta8s"),  # a power of two of levels is so many bits
        ("wl65536al65535", "w16scal65535u"),
    ],
)
def test_in_full(text: str, full: str) -> None:
    assert str(parse_scheme(text)) == full


CODES = [*range(2, 17), "l3", "l5", "l10", "l255", "l257", "l65535"]


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("sign", ["s", "u"])
@pytest.mark.parametrize("where", ["c", "t", "b16", "b128"])
def test_parsing_inverts_writing(codes: str, sign: str, where: str) -> None:
    for activation in ("", *(f"a{c}{s}" for c in CODES for s in "su")):
        text = f"w{codes}{sign}{where}{activation}"
        assert str(parse_scheme(text)) == text
        assert parse_scheme(str(parse_scheme(text))) == parse_scheme(text)


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("sign", ["s", "u"])
def test_activations_have_their_codes_in_bytes_or_more(codes: str, sign: str) -> None:
    scheme = parse_scheme(f"w8a{codes}{sign}")
    assert isinstance(scheme, Scheme)
    assert scheme.activation is not None
    kind, text = scheme.activation.type, str(codes)
    assert kind.codes == (int(text[1:]) if text.startswith("l") else 2 ** int(text))
    assert kind.container == (8 if kind.codes <= 256 else 16)


@pytest.mark.parametrize(
    ("text", "symmetric", "asymmetric", "bare"),
    [
        ("w8a8", "w8sa8s", "w8ua8u", "w8a8"),
        ("w8ua8", "w8ua8s", "w8ua8u", "w8a8"),
        ("wl10st", "wl10st", "wl10st", "wl10t"),
        ("W4B32A6S", "w4sb32a6s", "w4ub32a6s", "w4b32a6"),
        ("fp16", "fp16", "fp16", "fp16"),
        ("float", "float", "float", "float"),
    ],
)
def test_letters_where_there_are_none(
    text: str, symmetric: str, asymmetric: str, bare: str
) -> None:
    assert lettered(text, True) == symmetric
    assert lettered(text, False) == asymmetric
    assert unlettered(text) == bare


def weight_of(text: str) -> WeightScheme:
    scheme = parse_scheme(text)
    assert isinstance(scheme, Scheme)
    return scheme.weight


def test_what_the_letters_mean() -> None:
    assert parse_scheme("w8a8") == Scheme(
        WeightScheme(INT8, symmetric=True, block=None),
        ActivationScheme(UINT8, symmetric=False),
    )
    symmetric = parse_scheme("w8a8s")
    assert isinstance(symmetric, Scheme)
    assert symmetric.activation == ActivationScheme(INT8, symmetric=True)
    assert weight_of("wl10").type == IntType(4, True, 10)
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
        ("w17", "weights of 17 bits"),
        ("w32", "weights of 32 bits"),
        ("w8a1", "activations of 1 bits"),
        ("w8a32", "activations of 32 bits"),
        ("wl0", "weights of 0 levels"),
        ("wl1u", "weights of 1 level"),
        ("wl65537", "weights of 65537 levels"),
        ("w8al1", "activations of 1 level"),
        ("wl2", "weights of 2 levels, symmetric around 0, hold nothing but 0"),
        ("w8al2s", "activations of 2 levels, symmetric around 0, hold nothing but 0"),
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
