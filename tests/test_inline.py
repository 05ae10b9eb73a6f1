"""Large weights that stay in the model file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from qtool import apart, inline, workflow
from qtool import model as models
from qtool.errors import ModelError
from qtool.inline import HERE, light
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.models import normal, save, weight

GRAPH = """g (float[N,256] x) => (float[N,256] y) {
    a = MatMul(x, w) b = Tanh(a) c = MatMul(b, v) y = Add(c, k) }"""
W, V, K = weight(256, 256), weight(256, 256) * 2, normal(256)


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "_FILE", 1 << 10)
    monkeypatch.setattr(inline, "_TENSOR", 1 << 12)
    monkeypatch.setattr(apart, "SMALL", 1 << 10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save(tmp_path / "m.onnx", GRAPH, w=W, v=V, k=K)


def test_they_are_read_from_where_they_lie(path: Path) -> None:
    rest = light(path)
    assert rest is not None and len(rest) < 2500
    model = models.load(path)
    found = {n: v.const_value for n, v in model.graph.initializers.items()}
    assert isinstance(found["w"], ir.ExternalTensor) and isinstance(found["v"], ir.ExternalTensor)
    assert not isinstance(found["k"], ir.ExternalTensor)  # too small to matter
    for name, values in (("w", W), ("v", V), ("k", K)):
        tensor = found[name]
        assert tensor is not None
        np.testing.assert_array_equal(tensor.numpy(), values)


def test_the_same_model_comes_of_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(scheme="w4b32").weights_only()

    def made() -> tuple[bytes, bytes, str]:
        model = models.load(path)
        job = workflow.open_job(path, recipe, load_target("cpu"), threads=1)
        workflow.check_preparation(job, None)
        return workflow.build(job, None).data, models.serialize(model), models.digest(job.model)

    there = made()
    monkeypatch.setattr(inline, "_FILE", 1 << 40)
    assert made() == there


def test_the_runtime_reads_them_there_too(path: Path) -> None:
    x = {"x": normal(3, 256)}
    expected = Session(path).run(x)["y"]
    session = apart.open_file(path, threads=1)
    np.testing.assert_allclose(session.run(x)["y"], expected, rtol=1e-4, atol=1e-5)
    session.close()
    np.testing.assert_allclose(session.run(x)["y"], expected, rtol=1e-4, atol=1e-5)
    opened = apart.open_model(models.load(path), threads=1, lean=True)
    np.testing.assert_allclose(opened.run(x)["y"], expected, rtol=1e-4, atol=1e-5)


def test_a_link_to_the_file_and_a_second_name_for_it(path: Path, tmp_path: Path) -> None:
    before = path.stat().st_size
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.onnx"
    link.symlink_to(path)
    second = tmp_path / "second.onnx"
    for each in (link, second):
        if each == second:
            os.link(path, second)
        assert (light(each) is None) == (each == second)
        value = models.load(each).graph.initializers["w"].const_value
        assert value is not None
        np.testing.assert_array_equal(value.numpy(), W)
        assert apart.open_file(each).signature.inputs[0].name == "x"
        assert models.file_size(each) == before


def test_two_folders_of_weights_are_not_one(path: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    other = models.load(save(tmp_path / "b" / "m.onnx", GRAPH, w=W, v=V, k=K))
    model = models.load(path)
    model.graph.initializers["v"].const_value = other.graph.initializers["v"].const_value
    x = {"x": normal(3, 256)}
    found = apart.open_model(model, threads=1).run(x)["y"]
    np.testing.assert_allclose(found, Session(path).run(x)["y"], rtol=1e-4, atol=1e-5)


def test_a_weight_that_does_not_fill_its_shape_is_left_to_the_parser(path: Path) -> None:
    proto = onnx.load(str(path))
    proto.graph.initializer[0].dims[0] = 255
    path.write_bytes(proto.SerializeToString())
    model = models.load(path)
    tensors = [v.const_value for v in model.graph.initializers.values()]
    assert sum(isinstance(each, ir.ExternalTensor) for each in tensors) == 1


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_file_is_a_model_error_or_a_model(path: Path, seed: int) -> None:
    rng, data = np.random.default_rng(seed), bytearray(path.read_bytes())
    if seed % 2:
        data = data[: rng.integers(10, len(data))]
    where = rng.integers(0, 400, 3) if seed % 4 < 2 else rng.integers(0, len(data), 3)
    for at in where:
        data[min(at, len(data) - 1)] = rng.integers(256)
    path.write_bytes(data)
    try:
        models.load(path)
    except ModelError:
        return
    assert onnx.load_from_string(bytes(data)).graph.node


def test_a_file_that_names_the_place_itself_reads_nothing_else(path: Path) -> None:
    proto = onnx.load(str(path))
    tensor = next(t for t in proto.graph.initializer if t.name == "k")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": HERE, "offset": "1" * 9, "length": "1024"}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="cut short"):
        models.load(path)
