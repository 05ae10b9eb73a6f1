"""Model files: what is given in their place, old and odd ones, and bytes that never vary."""

from __future__ import annotations

import gzip
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import onnx_ir as ir
import pytest

from qtool import model as models
from qtool.errors import ModelError
from qtool.passes import prepare
from qtool.runtime import Session
from tests.models import assert_same_function, build, normal, operators, proto, run, save, weight

GRAPH = "g (float[N,64] x) => (float[N,8] y) { t = MatMul(x, w) y = Relu(t) }"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n"

IMPOSTORS = {
    "text": (b"Dear reader, this is not a model.\n", "a text file"),
    "html": (b"<!DOCTYPE html><html><body>404</body></html>", "a text file"),
    "empty": (b"", "empty"),
    "pointer": (POINTER, "git lfs pull"),
    "keras": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    "gzip": (gzip.compress(bytes(100)), "gzip"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(100), "TensorFlow Lite"),
    "safetensors": (b"\x10\0\0\0\0\0\0\0" + b'{"a": 1}        ', "safetensors"),
    "zeros": (bytes(100), ""),
    "noise": (bytes(range(256)), ""),
}


@pytest.mark.parametrize("name", IMPOSTORS)
def test_other_files_are_called_by_their_name(name: str, tmp_path: Path) -> None:
    content, words = IMPOSTORS[name]
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        models.load(path)
    assert str(path) in caught.value.what
    assert words in caught.value.what + caught.value.why


def test_a_pytorch_archive(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", "x")
    with pytest.raises(ModelError) as caught:
        models.load(path)
    assert "zip archive" in caught.value.why


def test_a_folder_a_pipe_and_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, words in ((".", "is a folder"), ("pipe", "not a regular file"), ("no", "no file")):
        with pytest.raises(ModelError, match=words):
            models.load(tmp_path / name)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9, 0.99])
def test_a_truncated_model(share: float, tmp_path: Path) -> None:
    path = save(tmp_path / "model.onnx", GRAPH, w=weight(64, 8))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelError) as caught:
        models.load(path)
    assert "damaged, cut short" in caught.value.why


def test_a_flipped_byte_never_gives_a_traceback(tmp_path: Path) -> None:
    path = save(tmp_path / "model.onnx", GRAPH, w=np.ones((64, 8), np.float32))
    data = bytearray(path.read_bytes())
    chance = np.random.default_rng(0)
    header = len(data) - 64 * 8 * 4
    for _ in range(300):
        damaged = data.copy()
        damaged[chance.integers(header)] ^= 1 << chance.integers(8)
        path.write_bytes(damaged)
        try:
            model = models.load(path)
            Session(path, threads=1)
            models.check(models.serialize(prepare(model)))
        except ModelError as error:
            assert error.what


# Squeeze, Unsqueeze, Pad and Clip took attributes; Dropout and the norm had other outputs.
OLD = """g (float[2,4,5,5] x) => (float[2,4,6,6] y) {
    a = Conv(x, w) n = BatchNormalization(a, s, s, s, v) r = Relu(n)
    f = Unsqueeze<axes=[4]>(r) k = Squeeze<axes=[4]>(f) d = Dropout(k)
    p = PAD y = CLIP
}"""
ATTRIBUTES = ("Pad<pads=[0,0,0,0,0,0,1,1]>(d)", "Clip<min=-1.0, max=1.0>(p)")
INPUTS = ("Pad(d, pads)", "Clip(p, low, high)")


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12])
def test_an_old_opset_is_raised_with_equal_outputs(opset: int) -> None:
    pad, clip = ATTRIBUTES if opset < 11 else INPUTS
    constants: dict[str, Any] = {"w": weight(4, 4, 1, 1), "s": normal(4), "v": normal(4) ** 2}
    if opset >= 11:
        constants |= {"pads": np.array([0] * 6 + [1, 1])}
        constants |= {"low": np.float32(-1), "high": np.float32(1)}
    graph = OLD.replace("PAD", pad).replace("CLIP", clip)
    before = ir.from_proto(proto(graph, opset=opset, **constants))
    after = models.raise_opset(before, 21)
    assert models.opset(after) == 21
    assert_same_function(before, after, x=normal(2, 4, 5, 5))
    assert_same_function(before, prepare(before), x=normal(2, 4, 5, 5))


def test_ir_3_lists_initializers_as_inputs() -> None:
    made = proto("g (float[2,3] x, float[3,4] w) => (float[2,4] y) { y = MatMul(x, w) }", opset=8,
                 w=weight(3, 4))  # fmt: skip
    made.ir_version = 3
    model = ir.from_proto(made)
    assert [s.name for s in models.signature(model).inputs] == ["x"]
    after = prepare(model)
    models.stamp(after)
    assert after.ir_version >= 8
    assert_same_function(model, after, x=normal(2, 3))


def test_a_newer_opset_than_wanted_stays() -> None:
    model = build("g (float[2] x) => (float[2] y) { y = Relu(x) }", opset=21)
    assert models.raise_opset(model, 13) is model


def test_nodes_without_names_and_with_the_same_name(tmp_path: Path) -> None:
    graph = "g (float[2,3] x) => (float[2,3] y) { a = Relu(x) b = Neg(a) y = Relu(b) }"
    plain = build(graph)
    for name in ("", "twin"):  # of which the runtime takes the first
        made = proto(graph)
        for node in made.graph.node:
            node.name = name
        path = tmp_path / "model.onnx"
        path.write_bytes(made.SerializeToString())
        model = models.load(path)
        after = prepare(model)
        names = [node.name for node in after.graph]
        assert len(set(names)) == 3
        assert all(names)
        assert_same_function(plain, after, x=normal(2, 3))


def test_bytes_are_deterministic(tmp_path: Path) -> None:
    path = save(tmp_path / "model.onnx", GRAPH, w=weight(64, 8), extra='"com.microsoft": 1')
    first = models.serialize(prepare(models.load(path)))
    assert first == models.serialize(prepare(models.load(path)))
    assert models.digest(models.load(path)) == models.digest(models.load(path))
    other = save(tmp_path / "other.onnx", GRAPH, w=weight(64, 8, seed=2))
    assert models.digest(models.load(path)) != models.digest(models.load(other))


def test_the_stamp_is_one_that_the_runtime_loads() -> None:
    for opset in range(13, 26):
        model = build("g (float[2] x) => (float[2] y) { y = Relu(x) }", opset=opset)
        models.stamp(model)
        assert run(model, x=normal(2))["y"].shape == (2,)


def test_check_refuses_what_is_not_onnx() -> None:
    bad = proto("g (float[2] x) => (float[2] y) { y = NoSuchOperator(x) }").SerializeToString()
    with pytest.raises(ModelError, match="not valid"):
        models.check(bad)


def test_signature_in_order_with_dynamic_axes() -> None:
    model = build("g (float[N,3] x, int64[2] i, string[1] s) => (float[N,3] y, int64[2] k)"
                  "{ y = Relu(x) k = Neg(i) }")  # fmt: skip
    found = models.signature(model)
    assert [str(s) for s in found.inputs] == ["x float32 (N, 3)", "i int64 (2)", "s str (1)"]
    assert [s.name for s in found.outputs] == ["y", "k"]


def test_the_file_of_a_model_is_its_size(tmp_path: Path) -> None:
    path = save(tmp_path / "model.onnx", GRAPH, w=weight(64, 8))
    assert models.file_size(path) == path.stat().st_size


def test_weights_in_constant_nodes_count_as_weights() -> None:
    made = proto(GRAPH.replace("t =", "w = Constant() t ="))
    made.graph.node[0].attribute.append(
        onnx.helper.make_attribute("value", onnx.numpy_helper.from_array(weight(64, 8)))
    )
    after = prepare(ir.from_proto(made))
    assert operators(after) == ["MatMul", "Relu"]


@pytest.mark.parametrize("opset", [12, 21])
def test_an_axis_without_a_name_gets_none(opset: int, tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx", "g (float[2,3] x) => (float[A] y) { y = Relu(x) }", opset=opset
    )
    made = onnx.load(path)
    kind = made.graph.output[0].type.tensor_type
    made.graph.node[0].op_type = "Unique"
    kind.shape.dim[0].ClearField("dim_param")
    path.write_bytes(made.SerializeToString())
    model = models.load(path)
    wanted = models.signature(model)
    assert wanted.outputs[0].shape == (None,)
    assert models.signature(models.infer_shapes(model)) == wanted
    assert models.signature(models.raise_opset(model, 22)) == wanted


@pytest.mark.parametrize("listed", [0, 1, 2])
def test_ir_3_with_weights_that_are_no_inputs(listed: int, tmp_path: Path) -> None:
    # onnx's checker wants them to be, the runtime does not
    made = proto(
        "g (float[N,8] x) => (float[N,8] y) { a = MatMul(x, w) r = Relu(a) y = MatMul(r, v) }",
        opset=9, w=weight(8, 8), v=weight(8, 8, seed=2),
    )  # fmt: skip
    made.ir_version = 3
    for tensor in made.graph.initializer[:listed]:
        made.graph.input.append(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    path = tmp_path / "m.onnx"
    path.write_bytes(made.SerializeToString())
    x = normal(3, 8)
    expected = Session(path).run({"x": x})["y"]
    after = prepare(models.load(path))
    models.stamp(after)
    found = Session(models.serialize(after)).run({"x": x})["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
