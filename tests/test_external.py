"""Weights in other files: links inside the folder work, ways out and lies are refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import onnx
import pytest

from qtool import model as models
from qtool.errors import ModelError
from qtool.passes import prepare
from qtool.runtime import Session
from tests.models import normal, proto, run, weight

W = weight(64, 8)
BYTES = W.tobytes()
GRAPH = "g (float[N,64] x) => (float[N,8] y) { y = MatMul(x, w) }"


def write(
    path: Path, location: str = "w.bin", *, data: bytes | None = BYTES,
    dims: tuple[int, ...] = (64, 8), attribute: bool = False, **keys: Any,
) -> Path:  # fmt: skip
    """A model whose weight is said to lie at `location`; and those data, beside it."""
    tensor = onnx.TensorProto(
        name="w", data_type=onnx.TensorProto.FLOAT, dims=dims,
        data_location=onnx.TensorProto.EXTERNAL,
    )  # fmt: skip
    for key, value in {"location": location, "offset": 0, "length": len(BYTES), **keys}.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    model = proto(GRAPH)
    if attribute:
        model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["w"], value=tensor))
    else:
        model.graph.initializer.append(tensor)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    if data is not None:
        (path.parent / location).write_bytes(data)
    return path


def assert_loads(path: Path) -> None:
    """The same result as the runtime's own reading of the file."""
    x = normal(3, 64)
    expected = Session(path).run({"x": x})["y"]
    assert (run(models.serialize(models.load(path)), x=x)["y"] == expected).all()
    assert (run(prepare(models.load(path)), x=x)["y"] == expected).all()


def refused(path: Path, *words: str) -> None:
    with pytest.raises(ModelError) as caught:
        models.load(path)
    for word in words:
        assert word in f"{caught.value.what}\n{caught.value.why}"


@pytest.mark.parametrize("keys", [{}, {"length": None}, {"offset": None}], ids=str)
@pytest.mark.parametrize("attribute", [False, True])
def test_data_beside_the_model(tmp_path: Path, keys: dict[str, Any], attribute: bool) -> None:
    assert_loads(write(tmp_path / "model.onnx", attribute=attribute, **keys))


def test_data_behind_an_offset(tmp_path: Path) -> None:
    assert_loads(write(tmp_path / "model.onnx", data=bytes(4096) + BYTES, offset=4096))


def test_the_data_count_as_part_of_the_model(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx")
    assert models.file_size(path) == path.stat().st_size + len(BYTES)


def test_links_inside_the_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", data=None)
    (tmp_path / "real").write_bytes(BYTES)
    (tmp_path / "w.bin").symlink_to("real")
    assert_loads(path)


def test_a_hugging_face_cache(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "x"
    snapshot.mkdir(parents=True)
    write(blobs / "a", "model.onnx_data", data=None)
    (blobs / "b").write_bytes(BYTES)
    (snapshot / "model.onnx").symlink_to("../../blobs/a")
    (snapshot / "model.onnx_data").symlink_to("../../blobs/b")
    assert_loads(snapshot / "model.onnx")
    assert models.file_size(snapshot / "model.onnx") == sum(
        f.stat().st_size for f in blobs.iterdir()
    )


@pytest.mark.parametrize("attribute", [False, True])
def test_ways_out_are_refused(tmp_path: Path, attribute: bool) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(BYTES)
    inside = tmp_path / "in"
    (inside / "sub").mkdir(parents=True)
    for location in (
        "../secret.bin",
        str(secret),
        "sub/../../secret.bin",
        "sub/../w.bin",
        "/dev/zero",
    ):
        path = write(inside / "model.onnx", location, data=None, attribute=attribute)
        refused(path, "'w'", "outside the model's folder")
    (inside / "link").symlink_to(secret)
    refused(write(inside / "model.onnx", "link", data=None, attribute=attribute), "'w'", "outside")
    (inside / "folder").symlink_to(tmp_path)
    path = write(inside / "model.onnx", "folder/secret.bin", data=None, attribute=attribute)
    refused(path, "'w'", "outside")


def test_a_hard_link_may_lead_anywhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(BYTES)
    path = write(tmp_path / "in" / "model.onnx", data=None)
    (tmp_path / "in" / "w.bin").hardlink_to(secret)
    refused(path, "'w'", "hard links")


def test_other_kinds_of_files(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", data=None)
    refused(path, "'w'", "missing")
    (tmp_path / "w.bin").mkdir()
    refused(path, "'w'", "missing")
    os.mkfifo(tmp_path / "pipe")
    refused(write(path, "pipe", data=None), "'w'", "missing")
    (tmp_path / "loop").symlink_to("loop")
    refused(write(path, "loop", data=None), "'w'")
    refused(write(path, "", data=None), "'w'", "missing")
    refused(write(path, "a\0b", data=None), "'w'")


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "cut short": ({"data": BYTES[:-1]}, "ends at byte 2048 of w.bin, which has 2047"),
    "cut short, no length": ({"data": BYTES[:-1], "length": None}, "ends at byte 2048"),
    "offset beyond the end": ({"offset": 4096}, "ends at byte 6144"),
    "length too small": ({"length": 100}, "100 bytes where FLOAT (64, 8) takes 2048"),
    "length too large": ({"length": 2052, "data": BYTES + bytes(4)}, "takes 2048"),
    "huge": ({"dims": (1 << 40, 8), "length": None}, "ends at byte"),
    "negative dims": ({"dims": (-64, 8)}, "its shape is (-64, 8)"),
    "negative offset": ({"offset": -8}, "non-negative"),
    "offset of letters": ({"offset": "abc"}, "'abc'"),
    "unknown key": ({"compression": "zip"}, "compression"),
}


@pytest.mark.parametrize("name", LIES)
def test_lies_are_refused(name: str, tmp_path: Path) -> None:
    keys, words = LIES[name]
    refused(write(tmp_path / "model.onnx", **keys), words)
