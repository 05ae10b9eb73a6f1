"""Entries of a list of algorithms: what they name, and the bits that they stay below."""

from __future__ import annotations

import pytest

from qtool.algorithms import (
    ALGORITHMS,
    Listed,
    check_algorithms,
    find,
    listed,
    needing_samples,
    of_stage,
)
from qtool.errors import UsageError
from qtool.recipe import Recipe

LIMITED = [name for name, row in ALGORITHMS.items() if row.limits]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_name_alone_is_for_all_bits(name: str) -> None:
    assert listed(name) == Listed(name)
    assert all(listed(name).takes(bits) for bits in range(2, 17))


@pytest.mark.parametrize("name", LIMITED)
@pytest.mark.parametrize("limit", [3, 8, 16])
def test_a_limit_takes_fewer_bits(name: str, limit: int) -> None:
    for entry in (f"{name}<{limit}", f" {name} < {limit} "):
        assert [bits for bits in range(2, 17) if listed(entry).takes(bits)] == [*range(2, limit)]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("gtpq<8", "'gptq'"),
        ("gptq<", "no limit"),
        ("gptq<x", "no limit"),
        ("gptq<2", "from 3 to 16"),
        ("gptq<17", "from 3 to 16"),
        ("gptq<-4", "no limit"),
        ("gptq<8.0", "no limit"),
        ("gptq<=8", "no limit"),
        ("gptq<8<9", "no limit"),
        ("gptq<²", "no limit"),
        ("gptq>8", "not known"),
        ("bias<8", "gptq"),
        ("equalize<8", "'equalize'"),
        ("", "not known"),
    ],
)
def test_nonsense_is_told_apart(entry: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        listed(entry)
    assert words in f"{caught.value.what} {caught.value.why} {caught.value.fix}"
    with pytest.raises(UsageError):
        Recipe(algorithms=(entry,)).checked()


def test_one_algorithm_stands_once_whatever_its_limits() -> None:
    check_algorithms(("equalize", "gptq<8", "bias"))
    with pytest.raises(UsageError, match="twice"):
        check_algorithms(("gptq<8", "gptq<4"))


def test_entries_come_back_as_written() -> None:
    entries = ("awq<4", "hqq<8", "gptq < 8", "bias")
    assert of_stage(entries, "refinement") == ("gptq < 8", "bias")
    assert of_stage(entries, "transform") == ("awq<4",)
    assert needing_samples(entries) == ("awq<4", "gptq < 8", "bias")
    assert find(entries, "gptq") == Listed("gptq", 8) and find(entries, "smooth") is None


def test_what_is_for_weights_that_nobody_asked_for_concerns_nobody() -> None:
    entries = ("gptq<8", "adaround<4", "bias")
    rules = [{"match": "op:Gemm", "scheme": "w3"}]
    mixed = Recipe.model_validate({"scheme": "w8a8", "rules": rules})
    assert Recipe(scheme="w8a8").concerned(entries) == ("bias",)
    assert Recipe(scheme="w4").concerned(entries) == ("gptq<8", "bias")
    assert mixed.concerned(entries) == entries
    assert Recipe(scheme="fp16").concerned(entries) == ("bias",)
