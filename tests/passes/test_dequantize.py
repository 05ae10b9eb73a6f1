"""Models that others quantized, in every form, become float models of the same function."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import onnx_ir as ir
import pytest

from qtool import model as models
from qtool import workflow
from qtool.data import open_dataset
from qtool.errors import ModelError
from qtool.passes.dequantize import dequantize
from qtool.quantized import kind_of
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from qtool.verify import rounded
from tests.models import Array, normal, operators, sqnr
from tests.quantized import GRAPHS, MADE, feeds, float_model, quantized

# Weights of 4 bits alone: nothing is rounded on the way, so nothing is lost.
EXACT = {"encoder 4 bits", "encoder 4 bits symmetric", "encoder 8 bits"}


def outputs(data: bytes, graph: str) -> Array:
    return Session(data, threads=1).run(feeds(graph))["y"]


@pytest.mark.parametrize("name", MADE)
def test_the_float_model_behind_it_comes_out(name: str) -> None:
    graph, form, _ = MADE[name]
    proto = quantized(name)
    given = ir.from_proto(proto)
    kind = kind_of(given)
    assert kind is not None and kind.name == form
    made = dequantize(given)
    assert kind_of(made) is None
    assert models.signature(made) == models.signature(given)
    data = models.serialize(made)
    models.check(data)
    real, rounded = outputs(data, graph), outputs(proto.SerializeToString(), graph)
    reference = outputs(float_model(graph).SerializeToString(), graph)
    assert sqnr(rounded, real) > (100 if name in EXACT else 31)
    # The rounding of activations is gone, that of weights is left.
    assert sqnr(reference, real) > sqnr(reference, rounded) - 0.2
    extra = {"Clip", "MatMul", "Add"}  # where a Relu was left to a quantizer, Gemm was split
    assert set(operators(made)) <= {*operators(float_model(graph)), *extra}
    assert operators(made).count("Conv") == operators(float_model(graph)).count("Conv")


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_also_of_what_the_runtime_made_of_it(name: str, tmp_path: Path) -> None:
    graph, path = MADE[name][0], tmp_path / "optimized.onnx"
    Session(quantized(name).SerializeToString(), threads=1, optimized=path)
    given = models.load(path)
    assert kind_of(given) is not None
    made = dequantize(given)
    assert kind_of(made) is None
    rounded = Session(path, threads=1).run(feeds(graph))["y"]
    assert sqnr(rounded, outputs(models.serialize(made), graph)) > 31


Mode: TypeAlias = Literal["static", "dynamic"]
SCHEMES: list[tuple[str, Mode]] = [
    ("w8a8", "static"), ("w4a8", "static"), ("w8ca16", "static"),
    ("w8", "static"), ("w4b32", "static"), ("w4ub16", "static"), ("w2b32", "static"),
    ("w3", "static"), ("w16", "static"), ("w8a8", "dynamic"), ("w4a8", "dynamic"),
]  # fmt: skip


def own(path: Path, recipe: Recipe, graph: str, *, requantize: bool = False) -> bytes:
    """The model as qtool quantizes it, measured on 32 samples."""
    target = load_target("cpu")
    job = workflow.open_job(path, recipe, target, threads=1, requantize=requantize)
    calibration = None
    if job.sites.sources:
        file = path.with_name("data.npz")
        np.savez(file, **feeds(graph, 32, seed=9))
        data = open_dataset(file, job.signature)
        workflow.check_preparation(job, next(data.batches(8)))
        calibration = workflow.measure(job, data, batch_size=8)
    return workflow.build(job, calibration).data


@pytest.mark.parametrize(("scheme", "mode"), SCHEMES)
@pytest.mark.parametrize("graph", ["cnn", "encoder", "lstm"])
def test_what_qtool_itself_writes(graph: str, scheme: str, mode: Mode, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(float_model(graph).SerializeToString())
    if graph == "lstm" and (mode, scheme) in (("static", "w8a8"), ("static", "w8ca16")):
        scheme = scheme[: scheme.index("a")]  # it has no integer kernels, and no batches first
    data = own(path, Recipe(scheme=scheme, mode=mode, algorithms=()), graph)
    made = dequantize(models.parse(data))
    assert kind_of(models.parse(data)) is not None
    assert kind_of(made) is None
    least = 37 if "a" in scheme and graph != "lstm" else 100
    assert sqnr(outputs(data, graph), outputs(models.serialize(made), graph)) > least


@pytest.mark.parametrize("scheme", ["fp16", "bf16"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_floats_of_16_bits_are_no_quantization(graph: str, scheme: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(float_model(graph).SerializeToString())
    assert kind_of(models.parse(own(path, Recipe(scheme=scheme), graph))) is None
    assert kind_of(models.load(path)) is None


@pytest.mark.parametrize("graph", ["cnn", "encoder"])
def test_quantized_again_it_is_about_as_good_as_the_first_time(graph: str, tmp_path: Path) -> None:
    path, again = tmp_path / "m.onnx", tmp_path / "q.onnx"
    path.write_bytes(float_model(graph).SerializeToString())
    recipe = Recipe(scheme="w8a8")
    again.write_bytes(own(path, recipe, graph))
    second = own(again, recipe, graph, requantize=True)
    reference = outputs(path.read_bytes(), graph)
    first = sqnr(reference, outputs(again.read_bytes(), graph))
    assert sqnr(reference, outputs(second, graph)) > first - 2.5
    with pytest.raises(ModelError, match="already quantized"):
        own(again, recipe, graph)
    # Weights that lie on a grid of 8 bits fall on the same points of it.
    assert sqnr(outputs(again.read_bytes(), graph), outputs(second, graph)) > 33


def test_a_function_that_was_changed_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtool.passes.dequantize.codes import RealValues

    path = tmp_path / "m.onnx"
    path.write_bytes(quantized("cnn qdq per channel QUInt8").SerializeToString())
    recipe = Recipe(scheme="w8a8")
    assert own(path, recipe, "cnn", requantize=True)
    monkeypatch.setattr(RealValues, "_clipped", lambda self, x, grid, kind: x)  # Relu is lost
    with pytest.raises(ModelError, match="dequantizing the model changed output 'y'"):
        own(path, recipe, "cnn", requantize=True)


def test_how_far_it_may_be_from_the_quantized_model() -> None:
    y = normal(8, 10)
    noise = normal(8, 10, seed=1)
    for factor, words in ((0.0, "gives the same as"), (0.01, "dB from"), (0.2, "more than round")):
        (note,) = rounded({"y": y, "n": np.array(["a"])}, {"y": y + factor * noise}, certain=True)
        assert words in note
        assert ("more than" in note) == (factor == 0.2)
    assert rounded({"y": y}, {"y": -y}, certain=False)  # a probe may hit anything
    with pytest.raises(ModelError, match="changed output 'y'"):
        rounded({"z": y, "y": y}, {"z": y, "y": -y}, certain=True)
    # What is not finite, or nothing but zeros, tells nothing.
    odd = np.array([[np.nan, np.inf, 1.0]], np.float32)
    assert "same" in rounded({"y": odd, "z": y * 0}, {"y": odd, "z": noise}, certain=True)[0]
