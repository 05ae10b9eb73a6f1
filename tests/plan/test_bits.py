"""Bits a weight, as they are said and as they are in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from qtool import workflow
from qtool.plan.bits import bits_per_weight
from qtool.recipe import Recipe
from qtool.target import load_target
from tests.cases import quantized
from tests.models import normal, save, weight
from tests.plan.test_scales_in_half import made

GRAPH = "g (float[N,512] x) => (float[N,512] y) { a = MatMul(x, w) y = MatMul(a, w) }"


@pytest.mark.parametrize(
    ("scheme", "bits"),
    [("w4b32", 4.5), ("w4ub32", 4.625), ("w2b16", 3.0), ("w3b128", 4.125), ("w8c", 8.03125)],
)
def test_what_is_said_is_what_it_takes(scheme: str, bits: float, tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", GRAPH.replace("y = MatMul(a, w)", "y = Tanh(a)"),
                w=weight(512, 512))  # fmt: skip
    result = made(path, scheme)
    job = workflow.open_job(path, Recipe(scheme=scheme), load_target("cpu"))
    assert bits_per_weight(job.model, result.plan) == pytest.approx(bits)
    rest = 8 * len(result.data) - 512 * 512 * bits
    assert 0 < rest < 8 * 1000  # the graph


def test_a_weight_of_two_layers_counts_once(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", GRAPH, w=weight(512, 512))
    job = workflow.open_job(path, Recipe(scheme="w4b32"), load_target("cpu"))
    assert bits_per_weight(job.model, made(path, "w4b32").plan) == pytest.approx(4.5)


@pytest.mark.parametrize("scheme", ["w4a8", "w2a8"])
def test_integer_kernels_have_scales_of_32_bits(scheme: str, tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", GRAPH, w=weight(512, 512))
    plan = quantized(path, Recipe(scheme=scheme), normal(8, 512)).plan
    job = workflow.open_job(path, Recipe(scheme=scheme), load_target("cpu"))
    assert bits_per_weight(job.model, plan) == pytest.approx(int(scheme[1]) + 32 / 512)


def test_nothing_quantized_has_no_bits(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", GRAPH, w=weight(512, 512))
    job = workflow.open_job(path, Recipe(scheme="float"), load_target("cpu"))
    assert bits_per_weight(job.model, workflow.decided(job, None)) is None
