"""Weights that end at the last float, as the rows of a mask do: every code stays finite."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qtool import workflow
from qtool.numeric.affine import dequantize, quantize
from qtool.numeric.granularity import Granularity, PerBlock, PerChannel, PerTensor
from qtool.numeric.scheme import Scheme, parse_scheme
from qtool.plan.weights import weight_params
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.models import Array, normal, save

LAST = np.finfo(np.float32).max
ROWS = np.arange(48)
MASK = np.where(ROWS[:, None] < ROWS, -LAST, np.float32(0))
WEIGHTS = {"mask": MASK, "both ends": np.where(ROWS % 2, LAST, -LAST)[None].repeat(48, 0)}
SCHEMES = [
    "w2s", "w3s", "w4s", "w8s", "w4u", "w8u", "wl2u", "wl3s", "wl10s",
    "w2k", "w4k", "w8k", "wl2k", "wl3k", "w2p", "w4p", "wl2p", "w4q",
]  # fmt: skip


@pytest.mark.parametrize("scales", ["free", "pow2"])
@pytest.mark.parametrize("weight", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_scales_and_what_codes_stand_for_are_finite(
    scheme: str, weight: Array, scales: str
) -> None:
    wish = parse_scheme(scheme)
    assert isinstance(wish, Scheme)
    asked = replace(wish.weight, power_of_two=scales == "pow2")
    views: tuple[Granularity, ...] = (PerChannel(0), PerTensor(), PerBlock(1, 16))
    for view in views:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            params = weight_params(weight, asked, view, negative=True)
            restored = dequantize(quantize(weight, params), params)
        assert np.isfinite(params.scale).all() and np.isfinite(restored).all()
        assert (restored[weight == 0] == 0).all()
        if scales == "pow2":
            assert (np.frexp(np.abs(params.scale))[0] == 0.5).all()


@pytest.mark.parametrize("scheme", ["wl3", "w2k"])
def test_a_table_of_masks_masks_as_before(scheme: str, tmp_path: Path) -> None:
    graph = """g (int64[T] x, float[T,48] z) => (float[T,48] y) {
        m = Gather(w, x) s = Add(m, z) y = Softmax(s)
    }"""
    path = save(tmp_path / "m.onnx", graph, w=MASK)
    recipe = Recipe.model_validate({"scheme": scheme, "algorithms": ()})
    made = workflow.build(workflow.open_job(path, recipe, load_target("cpu")), None)
    assert made.plan.weights
    feeds = {"x": ROWS[::5], "z": normal(10, 48)}
    expected, found = (Session(each).run(feeds)["y"] for each in (path, made.data))
    np.testing.assert_array_equal(found, expected)
