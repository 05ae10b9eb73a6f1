"""Every LSTM, GRU and RNN of onnx's node corpus, its weights as constants.

These are all equal but for one case, and so nothing is lost by codes of them: each case is judged
with random weights too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from qtool.recipe import Recipe
from tests.corpus import judge
from tests.corpus.cases import Case, cases

pytestmark = pytest.mark.slow
RECURRENT = {"GRU", "LSTM", "RNN"}
OWN = "DynamicQuantizeLSTM"
RECIPES = {
    "w8": Recipe(scheme="w8"), "w4": Recipe(scheme="w4"), "w4b32": Recipe(scheme="w4b32"),
    "own": Recipe(mode="dynamic", contrib=True),
}  # fmt: skip
LEAST = {"w8": 40, "w4": 20, "w4b32": 20, "own": 40}  # dB, of the worst case


@pytest.fixture(scope="module")
def found() -> list[Case]:
    named = (case for word in ("gru", "lstm", "rnn") for case in cases(["node"], f"*_{word}_*"))
    return [case for case in named if case.variant != "as-is" and RECURRENT & set(case.operators)]


def with_random_weights(case: Case) -> Case:
    """The same with W, R and what is fed drawn from normal distributions."""
    rng, model = np.random.default_rng(7), onnx.load_from_string(case.model)
    for tensor in model.graph.initializer:
        if tensor.name in ("W", "R"):
            values = rng.normal(size=tuple(tensor.dims)) / np.sqrt(tensor.dims[-1])
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), tensor.name))
    fed = {"X": rng.normal(size=case.feeds["X"].shape).astype(np.float32)}
    return replace(case, model=model.SerializeToString(), feeds=case.feeds | fed)


def each(found: list[Case]) -> Iterator[Case]:
    for case in found:
        yield from (case, with_random_weights(case))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_case(recipe: str, found: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(judge.RECIPES, recipe, RECIPES[recipe])
    assert {case.operators for case in found} == {(name,) for name in RECURRENT}
    assert len({case.name for case in found}) >= 18
    for case in each(found):
        outcome = judge.judge(case, recipe)
        if "batchwise" in case.name:  # layout = 1: the runtime does not load the float model either
            assert outcome.status == "unrunnable", outcome
            continue
        assert outcome.status == "quantized", outcome
        assert outcome.sqnr is not None
        assert outcome.sqnr >= LEAST[recipe], outcome
        own = recipe == "own" and case.operators == ("LSTM",)
        assert outcome.integer.get(OWN, 0) == own, outcome
