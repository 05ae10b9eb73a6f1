"""Codebooks in files: standard operators, folded at load, and back again to the same floats."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from qtool import model as models
from qtool import workflow
from qtool.errors import QtoolError, UsageError
from qtool.numeric.affine import dequantize as values_of
from qtool.passes.dequantize import dequantize
from qtool.plan.plan import WeightPlan
from qtool.quantized import kind_of
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import Target, load_target
from tests.models import Array, as_run, normal, operators, save, sqnr, weight

SAMPLES = Path(__file__).parents[2] / "sample_models"

# name -> (graph, its weights, the shape that it reads)
LAYERS: dict[str, tuple[str, dict[str, Array], tuple[int, ...]]] = {
    "Conv": ("g (float[N,16,9,9] x) => (float[N,32,7,7] y) { y = Conv(x, w) }",
             {"w": weight(32, 16, 3, 3)}, (2, 16, 9, 9)),
    "ConvTranspose": ("g (float[N,16,5,5] x) => (float[N,24,7,7] y) { y = ConvTranspose(x, w) }",
                      {"w": weight(16, 24, 3, 3)}, (2, 16, 5, 5)),
    "Gemm": ("g (float[N,64] x) => (float[N,90] y) { y = Gemm<transB=1>(x, w, b) }",
             {"w": weight(90, 64), "b": normal(90)}, (3, 64)),
    "MatMul": ("g (float[N,300] x) => (float[N,512] y) { y = MatMul(x, w) }",
               {"w": weight(300, 512)}, (3, 300)),
    "stacked MatMul": ("g (float[3,N,64] x) => (float[3,N,48] y) { y = MatMul(x, w) }",
                       {"w": weight(3, 64, 48)}, (3, 5, 64)),
    "LSTM": ("""g (float[T,N,32] x) => (float[2,N,24] y)
             { h, y = LSTM<hidden_size=24, direction="bidirectional">(x, w, r) }""",
             {"w": weight(2, 96, 32), "r": weight(2, 96, 24, seed=2)}, (4, 2, 32)),
    "GRU": ("g (float[T,N,48] x) => (float[1,N,32] y) { h, y = GRU<hidden_size=32>(x, w, r) }",
            {"w": weight(1, 96, 48), "r": weight(1, 96, 32, seed=2)}, (4, 2, 48)),
    "Gather": ("g (int64[N,T] x) => (float[N,T,48] y) { e = Gather(w, x) y = Tanh(e) }",
               {"w": weight(200, 48)}, (2, 7)),
}  # fmt: skip


def fed(shape: tuple[int, ...], graph: str) -> Array:
    whole = np.random.default_rng(3).integers(0, 200, shape)
    return whole if "int64[" in graph else normal(*shape)


def written(
    path: Path, scheme: str, target: Target | None = None, **more: Any
) -> tuple[workflow.Job, workflow.Quantized]:
    recipe = Recipe.model_validate({"scheme": scheme, "algorithms": (), **more})
    job = workflow.open_job(path, recipe, target or load_target("cpu"))
    return job, workflow.build(job, None)


def stands_for(job: workflow.Job, made: workflow.Quantized) -> bytes:
    """The float model with what codes stand for in the place of weights."""
    model = job.model.clone()
    for (name, position), plan in made.plan.weights.items():
        value = next(n for n in model.graph.all_nodes() if n.name == name).inputs[position]
        assert value is not None and value.const_value is not None
        restored = values_of(plan.codes(value.const_value.numpy()), plan.params)
        value.const_value = ir.tensor(restored, name=value.name)
    return models.serialize(model)


SCHEMES = ("w4k", "w2kt", "w8k", "wl10q", "w4pg8", "w3kb16")
CASES = [
    pytest.param(
        layer, scheme, marks=() if layer == "Gemm" or scheme == "w4pg8" else pytest.mark.slow
    )
    for layer in LAYERS
    for scheme in SCHEMES
]


@pytest.mark.parametrize(("layer", "scheme"), CASES)
def test_plain_onnxruntime_computes_with_the_values_of_the_plan(
    layer: str, scheme: str, tmp_path: Path
) -> None:
    graph, constants, shape = LAYERS[layer]
    job, made = written(save(tmp_path / "m.onnx", graph, **constants), scheme)
    weights = made.plan.weights.values()
    assert {w.encoding for w in weights} == {"codebook"} and all(w.params.book for w in weights)
    x = fed(shape, graph)
    expected, found = (
        Session(each).run({"x": x})["y"] for each in (stands_for(job, made), made.data)
    )
    np.testing.assert_array_equal(found, expected)
    # Folded at load: what is left are the operators of the float model.
    assert operators(as_run(made.data, tmp_path)) == operators(
        as_run(stands_for(job, made), tmp_path)
    )
    stored = {t.name: t for t in onnx.load_model_from_string(made.data).graph.initializer}
    container = {"w2": "UINT2", "w8": "UINT8"}.get(scheme[:2], "UINT4")
    codes = [t for name, t in stored.items() if name.endswith("_q")]
    assert {onnx.TensorProto.DataType.Name(t.data_type) for t in codes} == {container}


@pytest.mark.parametrize("layer", LAYERS)
def test_such_a_file_is_known_and_becomes_the_same_floats_again(layer: str, tmp_path: Path) -> None:
    graph, constants, shape = LAYERS[layer]
    _, made = written(save(tmp_path / "m.onnx", graph, **constants), "w4kg8")
    (tmp_path / "q.onnx").write_bytes(made.data)
    loaded = models.load(tmp_path / "q.onnx")
    kind = kind_of(loaded)
    assert kind is not None and kind.name == "QDQ"
    real = dequantize(loaded)
    assert kind_of(real) is None
    x = fed(shape, graph)
    expected, found = (
        Session(each).run({"x": x})["y"] for each in (made.data, models.serialize(real))
    )
    np.testing.assert_array_equal(found, expected)
    held = [v.const_value.numpy() for v in real.graph.initializers.values() if v.const_value]
    assert sum(v.size for v in held if v.dtype == np.float32) >= constants["w"].size
    with pytest.raises(QtoolError, match="already quantized"):
        written(tmp_path / "q.onnx", "w8")


@pytest.mark.parametrize("scheme", ["w8k", "w8kt", "w8pg400"])
def test_a_large_table_is_looked_up_by_codes(scheme: str, tmp_path: Path) -> None:
    graph, _, _ = LAYERS["Gather"]
    table, target = weight(2200, 24), replace(load_target("cpu"), gathers=1000)
    path = save(tmp_path / "m.onnx", graph.replace("48", "24"), w=table)
    job, made = written(path, scheme, target)
    [plan] = made.plan.weights.values()
    assert plan.encoding == "gathered" and plan.params.book is not None
    ids = np.array([[0, 399, 400, 2199]])
    restored = values_of(plan.codes(table), plan.params)
    np.testing.assert_array_equal(Session(made.data).run({"x": ids})["y"],
                                  Session(stands_for(job, made)).run({"x": ids})["y"])  # fmt: skip
    (tmp_path / "q.onnx").write_bytes(made.data)
    real = dequantize(models.load(tmp_path / "q.onnx"))
    held = [v.const_value.numpy() for v in real.graph.initializers.values() if v.const_value]
    assert any(np.array_equal(v, restored) for v in held)


@pytest.mark.parametrize("dtype", ["float16", "double"])
def test_models_of_other_floats_keep_their_types(dtype: str, tmp_path: Path) -> None:
    graph = f"g ({dtype}[N,64] x) => ({dtype}[N,90] y) {{ y = MatMul(x, w) }}"
    kind = {"float16": np.float16, "double": np.float64}[dtype]
    path = save(tmp_path / "m.onnx", graph, w=weight(64, 90).astype(kind))
    _, made = written(path, "w4k")
    x = normal(4, 64).astype(kind)
    before, after = Session(path).run({"x": x})["y"], Session(made.data).run({"x": x})["y"]
    assert after.dtype == kind and sqnr(before, after) > 18


def test_a_weight_too_small_for_a_book_keeps_even_codes_and_the_reason_is_told(
    tmp_path: Path,
) -> None:
    graph = """g (float[N,8] x) => (float[N,128] y) { h = MatMul(x, a) y = MatMul(h, b) }"""
    path = save(tmp_path / "m.onnx", graph, a=weight(8, 32), b=weight(32, 128))
    job, made = written(path, "w4k")
    assert list(made.plan.schemes.values()) == ["w4sc", "w4kc"]
    assert any("a codebook takes more room" in note for note in job.notes)
    _, bytes_ = written(path, "w8")
    assert len(made.data) < len(bytes_.data)


@pytest.mark.parametrize("scheme", ["w4k", "w4q", "w4p"])
def test_pruned_weights_stay_zero(scheme: str, tmp_path: Path) -> None:
    w = weight(64, 90)
    w[np.random.default_rng(5).random(w.shape) < 0.6] = 0
    w[:, 7] = 0
    graph = "g (float[N,64] x) => (float[N,90] y) { y = MatMul(x, w) }"
    _, made = written(save(tmp_path / "m.onnx", graph, w=w), scheme)
    found = Session(made.data).run({"x": np.eye(64, dtype=np.float32)})["y"]
    assert (found[w == 0] == 0).all() and np.isfinite(found).all()
    assert sqnr(w, found) > 12


def test_the_same_model_is_the_same_file(tmp_path: Path) -> None:
    graph, constants, _ = LAYERS["Conv"]
    path = save(tmp_path / "m.onnx", graph, **constants)
    assert written(path, "w4k")[1].data == written(path, "w4k")[1].data


@pytest.mark.parametrize("name", ["digits_cnn", "digits_mlp"])
def test_kmeans_of_16_levels_is_no_worse_than_4_bits_at_their_size(name: str) -> None:
    path = SAMPLES / name / "model.onnx"
    (job, even), (_, book), (_, wide) = (written(path, s) for s in ("w4", "w4k", "w8"))
    assert len(book.data) < 0.2 * path.stat().st_size
    assert len(book.data) < 1.05 * len(even.data) and len(book.data) < 0.6 * len(wide.data)
    nodes = {node.name: node for node in job.model.graph.all_nodes()}

    def lost(plan: WeightPlan, key: tuple[str, int]) -> float:
        value = nodes[key[0]].inputs[key[1]]
        assert value is not None and value.const_value is not None
        floats = value.const_value.numpy().astype(np.float64)
        restored = values_of(plan.codes(value.const_value.numpy()), plan.params)
        return float(((floats - restored) ** 2).sum())

    for key, plan in book.plan.weights.items():  # scales of a book are rounded to float16
        assert lost(plan, key) <= 1.002 * lost(even.plan.weights[key], key)


@pytest.mark.parametrize(
    ("scheme", "more", "what"),
    [
        ("w4ka8", {}, "integer activations"),
        ("w4g8", {}, "groups of channels"),
        ("w4kg0", {}, "one channel"),
        ("w9k", {}, "512 levels"),
        ("w4k", {"range": (-1.0, 1.0)}, "codebook"),
        ("w4k", {"mode": "dynamic"}, "leaves activations in float"),
    ],
)
def test_what_cannot_be_is_one_clear_error(
    scheme: str, more: dict[str, Any], what: str, tmp_path: Path
) -> None:
    graph, constants, _ = LAYERS["Gemm"]
    with pytest.raises(UsageError) as error:
        written(save(tmp_path / "m.onnx", graph, **constants), scheme, **more)
    assert what in f"{error.value.what} {error.value.why}"
