"""Operators as old opsets wrote them: the same function once the opset is raised."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper as helper
import onnx.numpy_helper
import pytest

from qtool import model as models
from qtool.passes import prepare
from qtool.runtime import Session
from tests.models import Array, normal

X = normal(2, 4, 6, 6)
FLOAT = onnx.TensorProto.FLOAT
SIDES = [0, 0, 1, 1, 0, 0, 1, 1]
STATISTICS = {name: np.abs(X[0, :, 0, 0]) + 0.5 for name in "gbmv"}

# operator -> attributes, constant inputs; the same from opset 7 to 12
ALWAYS: list[tuple[str, dict[str, Any], dict[str, Array]]] = [
    ("BatchNormalization", {}, STATISTICS), ("Softmax", {}, {}), ("Softmax", {"axis": 1}, {}),
    ("Softmax", {"axis": 3}, {}), ("LogSoftmax", {"axis": 1}, {}), ("Hardmax", {"axis": 1}, {}),
    ("Hardmax", {"axis": 3}, {}), ("Unsqueeze", {"axes": [0, 2]}, {}),
    ("ReduceSum", {"axes": [1, 2]}, {}), ("ReduceSum", {"keepdims": 0}, {}),
    ("ReduceMean", {"axes": [2, 3]}, {}), ("ReduceL2", {"axes": [1]}, {}),
    ("Split", {"axis": 1, "split": [1, 3]}, {}), ("MaxPool", {"kernel_shape": [2, 2]}, {}),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}, {}),
    ("PRelu", {}, {"slope": X[0, :, :1, :1]}), ("Flatten", {"axis": 2}, {}),
    ("LpNormalization", {}, {}), ("LRN", {"size": 3}, {}), ("Elu", {}, {}),
    ("InstanceNormalization", {}, {"g": STATISTICS["g"], "b": STATISTICS["b"]}),
    ("ConvTranspose", {}, {"w": X[:1].repeat(4, 0)}), ("DepthToSpace", {"blocksize": 2}, {}),
    ("Conv", {"auto_pad": "SAME_UPPER"}, {"w": X[:1, :, :3, :3]}),
    ("SpaceToDepth", {"blocksize": 2}, {}), ("GlobalMaxPool", {}, {}), ("HardSigmoid", {}, {}),
    ("Tile", {}, {"times": np.array([1, 2, 1, 1])}), ("Gather", {}, {"i": np.array([1, 0])}),
    ("Reshape", {}, {"to": np.array([0, -1])}), ("Pow", {}, {"two": np.float32(2)}),
    ("Cast", {"to": 1}, {}), ("Identity", {}, {}), ("Transpose", {}, {}),
]  # fmt: skip
# first and last opset -> the same of those that changed in between
TWICE = np.array([1, 1, 2, 2], np.float32)
PARTLY = np.array([1, 1, 1.5, 2], np.float32)
CHANGED: list[tuple[int, int, str, dict[str, Any], dict[str, Array]]] = [
    (7, 10, "Clip", {"min": 0.0, "max": 1.0}, {}), (7, 10, "Clip", {"max": 1.0}, {}),
    (7, 10, "Clip", {}, {}), (11, 12, "Clip", {}, {"low": np.float32(0), "high": np.float32(1)}),
    (7, 10, "Pad", {"pads": SIDES, "value": 0.5}, {}),
    (7, 10, "Pad", {"pads": SIDES, "mode": "reflect"}, {}),
    (11, 12, "Pad", {}, {"sides": np.array(SIDES)}),
    (7, 9, "Slice", {"axes": [2], "starts": [1], "ends": [4]}, {}),
    (7, 9, "Slice", {"starts": [0, 0, 1, 1], "ends": [1, 2, 99, -1]}, {}),
    (10, 12, "Slice", {}, {"one": np.array([1]), "four": np.array([4]), "over": np.array([2])}),
    (7, 8, "Upsample", {"scales": TWICE.tolist(), "mode": "nearest"}, {}),
    (7, 8, "Upsample", {"scales": TWICE.tolist(), "mode": "linear"}, {}),
    (9, 9, "Upsample", {"mode": "nearest"}, {"scales": TWICE}),
    (9, 9, "Upsample", {"mode": "linear"}, {"scales": TWICE}),
    (10, 10, "Resize", {"mode": "nearest"}, {"scales": PARTLY}),
    (10, 10, "Resize", {"mode": "linear"}, {"scales": PARTLY}),
    (7, 9, "TopK", {"k": 2, "axis": 1}, {}), (10, 12, "TopK", {"axis": 1}, {"k": np.array([2])}),
    (7, 11, "Dropout", {"ratio": 0.5}, {}), (12, 12, "Dropout", {}, {}),
    (11, 12, "Softmax", {"axis": -2}, {}), (8, 12, "Sum", {}, {"c": np.float32(1)}),
    (8, 12, "Max", {}, {"c": np.float32(0)}),
]  # fmt: skip


def cases() -> Iterator[Any]:
    listed = [(7, 12, *each) for each in ALWAYS] + CHANGED
    for number, (first, last, operator, attributes, constants) in enumerate(listed):
        for opset in {first, last}:  # on the way from the first, all others are passed
            name = f"{operator}-{number}-{opset}"
            yield pytest.param(opset, operator, attributes, constants, id=name)


def model(
    opset: int, operator: str, attributes: dict[str, Any], constants: dict[str, Array]
) -> onnx.ModelProto:
    outputs = ["y", "z"] if operator in ("Split", "TopK") else ["y"]
    node = helper.make_node(operator, ["x", *constants], outputs, **attributes)
    tensors = [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    inputs = [helper.make_tensor_value_info("x", FLOAT, ["N", 4, 6, 6])]
    if opset < 9:  # IR 3: initializers are inputs too
        inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in tensors]
    output = helper.make_tensor_value_info("y", FLOAT, None)
    graph = helper.make_graph([node], "g", inputs, [output], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 3 if opset < 9 else 4
    return made


@pytest.mark.parametrize(("opset", "operator", "attributes", "constants"), list(cases()))
def test_the_function_stays(
    opset: int,
    operator: str,
    attributes: dict[str, Any],
    constants: dict[str, Array],
    tmp_path: Path,
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model(opset, operator, attributes, constants).SerializeToString())
    expected = Session(path, threads=1).run({"x": X})["y"]
    for wanted in (13, 21):
        after = prepare(models.load(path), wanted)
        models.stamp(after)
        assert models.opset(after) >= wanted
        found = Session(models.serialize(after), threads=1).run({"x": X})["y"]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
