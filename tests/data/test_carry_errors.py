"""`[data] carry` that does not fit the model, the samples or the command."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtool.data import open_dataset, parse_declaration
from qtool.errors import DataError, UsageError
from qtool.runtime import Session
from qtool.signature import Signature, TensorSpec
from tests.data.folders import contains, declare, model, refused, save_arrays
from tests.data.stateful import files, recurrent

INPUTS = model(x=("N", 3), state_in=("N", 4), other_in=("N", 5)).inputs
OUTPUTS = model(y=("N", 2), state_out=("N", 4), other_out=("N", 5)).inputs
SIGNATURE = Signature(INPUTS, OUTPUTS)


def carry(**pairs: str) -> str:
    return "[data.carry]\n" + "".join(f'{output} = "{name}"\n' for output, name in pairs.items())


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            carry(state_ot="state_in"),
            ['"state_ot" under [data] carry', "no output", "y, state_out", "mean 'state_out'?"],
        ),
        (
            carry(state_out="stat_in"),
            ['"stat_in" under [data] carry', "no input", "x, state_in", "mean 'state_in'"],
        ),
        (carry(qq="state_in"), ['"qq"', "no output", "rename or remove it"]),
        (
            carry(state_out="state_in", other_out="state_in"),
            ['feeds "state_in" twice', '"state_out" and "other_out"', "keep one"],
        ),
        (
            carry(state_out="state_in") + "[data.inputs.state_in]\nscale = 2",
            ["[data.inputs.state_in]", "declares what  carry  feeds", '"state_out"', "take one"],
        ),
        (
            carry(state_out="other_in"),
            [
                'cannot feed "other_in" from "state_out"',
                "their shapes differ: the output is state_out float32 (N, 4), the input is "
                "other_in float32 (N, 5)",
            ],
        ),
        (
            carry(y="x", state_out="state_in", other_out="other_in"),
            ["feeds every input of the model", "none left for the samples"],
        ),
        (carry(state_out="state_in"), ["other_in", "one folder for each input"]),
    ],
)
def test_what_does_not_fit_the_model(tmp_path: Path, text: str, parts: list[str]) -> None:
    save_arrays(tmp_path, {"0": np.ones(3), "1": np.ones(3)})
    declare(tmp_path, text)
    refused(tmp_path, SIGNATURE, *parts)


@pytest.mark.parametrize(
    ("output", "given", "why"),
    [
        (("int64", (1, 4)), ("float32", (1, 4)), "their types differ"),
        (("float16", (1, 4)), ("float32", (1, 4)), "their types differ"),
        (("float32", (4,)), ("float32", (1, 4)), "their shapes differ"),
        (("float32", (2, 4)), ("float32", (1, 4)), "their shapes differ"),
        (("str", (1,)), ("str", (1,)), "states are numbers"),
        (("bfloat16", (1,)), ("bfloat16", (1,)), "states are numbers"),
        (("seq(float32)", None), ("float32", (1,)), "states are numbers"),
        (("float32", (2**20, 2**20)), ("float32", (2**20, 2**20)), "no zeros of shape (1048576,"),
        (("float32", (-1,)), ("float32", (-1,)), "no zeros of shape (-1,)"),
    ],
)
def test_pairs_that_do_not_fit(tmp_path: Path, output: Any, given: Any, why: str) -> None:
    save_arrays(tmp_path, {"0": np.ones(3)})
    declare(tmp_path, carry(o="s"))
    outputs = (TensorSpec("o", *output),)
    signature = Signature((INPUTS[0], TensorSpec("s", *given)), outputs)
    refused(tmp_path, signature, 'cannot feed "s" from "o"', why, "of the input's type and shape")


def test_a_model_that_takes_several_samples_at_once(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"0": np.ones(3)})
    declare(tmp_path, carry(o="s"))
    inputs = (replace(INPUTS[0], shape=(4, 3)), TensorSpec("s", "float32", (2, 4)))
    signature = Signature(inputs, (TensorSpec("o", "float32", (2, 4)),))
    refused(tmp_path, signature, "one sample at a time", "x float32 (4, 3)", "batch axis of 1")
    fits = replace(signature, inputs=(replace(INPUTS[0], shape=(1, 3)), inputs[1]))
    data = open_dataset(tmp_path, fits)
    assert len(next(data.batches(1))["s"]) == 2, "the first axis of a state is no batch axis"
    fits.without(data.states).check_batches(1, len(data))
    with pytest.raises(UsageError):
        fits.check_batches(2, len(data))


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("carry = 3", ['"carry" under [data] of qtool.toml', "dictionary"]),
        ("carry = ['a', 'b']", ['"carry" under [data]', "dictionary"]),
        ("carry = {a = 3}", ['"a" under [data.carry] of qtool.toml', "string"]),
        ("cary = {a = 'b'}", ['"cary" under [data]', "did you mean 'carry'?"]),
    ],
)
def test_what_is_no_mapping(value: str, parts: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        parse_declaration(tomllib.loads(value), Path())
    contains(caught.value, *parts)


@pytest.mark.parametrize("ask", ["blocks", "batches"])
def test_batches_of_several_samples(tmp_path: Path, ask: str) -> None:
    files(tmp_path / "data")
    data = open_dataset(tmp_path / "data", Session(recurrent(tmp_path), threads=1).signature)
    with pytest.raises(UsageError) as caught:
        getattr(data, ask)(2)
    assert caught.value.what == "states cannot be carried through batches of 2"
    assert "one by one" in caught.value.why
    assert "--batch-size 1" in caught.value.fix
    with pytest.raises(UsageError, match="0 samples"):
        getattr(data, ask)(0)
