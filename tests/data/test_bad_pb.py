"""ONNX test data that cannot be read, or that does not fit the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import pytest

from qtool import model as models
from qtool.data import open_dataset
from qtool.errors import DataError
from tests.data.folders import refused, save_image
from tests.data.pb import TWO, A, B, X, fed, rows, save, sequence, tensor


@pytest.mark.parametrize("names", [["input_0"], ["input_1", "input_2"]])
def test_tensors_that_are_missing(tmp_path: Path, names: list[str]) -> None:
    save(tmp_path / "s", **{name: tensor(np.ones((4, 2), np.float32)) for name in names})
    refused(tmp_path, TWO, "nothing says what feeds input", str(tmp_path / "s"), names[0])


@pytest.mark.parametrize(
    ("array", "parts"),
    [
        (np.zeros((2, 4)), ["got (4,)", "wants (N, 3)"]),
        (np.zeros((2, 1, 3)), ["input_0.pb", "got (2, 1, 3)", "store whole batches"]),
        (np.float32(1), ["got ()", "store whole batches"]),
        (np.zeros((0, 3)), ["input_0.pb", "holds no values", "(0, 3)"]),
        (np.zeros((2**40, 0)), ["input_0.pb", "holds no values"]),
        (np.array([["a", "b", "c"]]), ["input_0.pb", "STRING"]),
        (np.array([[1, np.inf, 3]]), ["input_0.pb", "NaN or infinite"]),
        (np.array([[1, 2, 3 + 1j]]), ["complex128", "float32"]),
    ],
)
def test_tensors_that_do_not_fit(tmp_path: Path, array: Any, parts: list[str]) -> None:
    save(tmp_path, input_0=tensor(array))
    refused(tmp_path, X, *parts)


def test_inputs_with_other_numbers_of_samples(tmp_path: Path) -> None:
    save(tmp_path / "s", input_0=tensor(A), input_1=tensor(B[:3]))
    refused(tmp_path, TWO, str(tmp_path / "s"), "different numbers", "a: 4, b: 3")


def test_other_files(tmp_path: Path) -> None:
    save(tmp_path, output_0=tensor(rows(3)))
    refused(tmp_path, X, "no ONNX test data", "outputs and no inputs", "test_data_set_0/input_0.pb")
    save(tmp_path, input_0=tensor(rows(3)), saved_model=b"TensorFlow's", input_x=b"")
    (tmp_path / "input_x.pb").unlink()
    refused(tmp_path, X, "no ONNX test data", "there is saved_model.pb")
    (tmp_path / "saved_model.pb").unlink()
    save_image(tmp_path / "a.png", np.zeros((2, 2)))
    refused(tmp_path, X, "image and pb", "one kind")


def proto(**fields: Any) -> bytes:
    data: bytes = onnx.TensorProto(**fields).SerializeToString()
    return data


OUTSIDE = onnx.StringStringEntryProto(key="location", value="../../etc/passwd")
GOOD = tensor(rows(1), "x")
BAD_FILES = {
    "empty": (b"", "the file is empty"),
    "text": (b"version https://git-lfs.github.com/spec/v1\n", "no ONNX tensor"),
    "cut": (GOOD[:-1], "no ONNX tensor"),
    "untyped": (proto(dims=[1, 3]), "UNDEFINED"),
    "unknown type": (proto(dims=[1, 3], data_type=99), "no ONNX tensor"),
    "sequence": (sequence(), "no "),
    "segment": (
        proto(dims=[1, 3], data_type=1, segment={"begin": 0, "end": 1}), "no whole tensor",
    ),
    "external": (
        proto(dims=[1, 3], data_type=1, data_location=1, external_data=[OUTSIDE]), "another file",
    ),
    "half external": (proto(dims=[1, 3], data_type=1, external_data=[OUTSIDE]), "another file"),
    "strings": (proto(dims=[3], data_type=8, string_data=[b"a"] * 3), "STRING"),
    "too many": (proto(dims=[2**40, 3], data_type=1), f"({2**40}, 3)"),
    "overflow": (proto(dims=[2**32, 2**32], data_type=1), f"({2**32}, {2**32})"),
    "negative": (proto(dims=[-1, -3], data_type=1, raw_data=bytes(12)), "(-1, -3)"),
    "too few": (proto(dims=[1, 3], data_type=1, raw_data=bytes(8)), "do not fill"),
    "too few typed": (proto(dims=[1, 3], data_type=1, float_data=[1, 2]), "do not fill"),
    "longer": (proto(dims=[1, 3], data_type=1, raw_data=bytes(16)), "do not fill"),
    "few nibbles": (proto(dims=[1, 30], data_type=22, raw_data=bytes(8)), "do not fill"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "why"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_bad_pb(tmp_path: Path, content: bytes, why: str) -> None:
    save(tmp_path / "test_data_set_0", input_0=GOOD)
    save(tmp_path / "test_data_set_1", input_0=content)
    refused(tmp_path, X, "cannot read", "test_data_set_1/input_0.pb", why, "--on-bad-file skip")
    data = open_dataset(tmp_path, X, on_bad_file="skip")
    assert data.names == ("test_data_set_0/input_0.pb",)
    assert data.skipped == ("test_data_set_1/input_0.pb",) and data.total == 2
    (tmp_path / "test_data_set_0" / "input_0.pb").unlink()
    refused(tmp_path, X, "test_data_set_1/input_0.pb", why)


def test_every_cut_and_every_flipped_byte(tmp_path: Path) -> None:
    save(tmp_path, input_0=GOOD)
    for place in range(len(GOOD)):
        flipped = GOOD[:place] + bytes([GOOD[place] ^ 0x55]) + GOOD[place + 1 :]
        for content in (flipped, GOOD[: place + 1]):
            save(tmp_path, input_0=content)
            try:
                assert fed(tmp_path)
            except Exception as error:
                assert type(error).__name__ == "DataError", (place, error)


def test_file_that_changed_after_it_was_opened(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / str(number), input_0=tensor(rows(3)))
    data = open_dataset(tmp_path, X)
    save(tmp_path / "1", input_0=tensor(rows(2)))
    assert data.sample(4)["x"].tolist() == [1, 1, 1]
    with pytest.raises(DataError, match=r"1/input_0\.pb has changed"):
        data.sample(5)
    data.sample(0)
    save(tmp_path / "1", input_0=GOOD[:-1])
    with pytest.raises(DataError, match=r"cannot read .*1/input_0\.pb"):
        data.sample(3)


@pytest.mark.parametrize("kind", ["seq(tensor(float))", "optional(tensor(float))"])
def test_inputs_that_are_no_tensors(tmp_path: Path, kind: str) -> None:
    element = onnx.helper.make_tensor_type_proto(1, [1, 3])
    wrap = {"seq": onnx.helper.make_sequence_type_proto}.get(
        kind.split("(")[0], onnx.helper.make_optional_type_proto
    )
    given = onnx.helper.make_value_info("s", wrap(element))
    operator = "SequenceLength" if kind.startswith("seq") else "OptionalHasElement"
    answer = onnx.helper.make_tensor_value_info("y", 7 if kind.startswith("seq") else 9, ())
    node = onnx.helper.make_node(operator, ["s"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [given], [answer])
    path = tmp_path / "model.onnx"
    opset = [onnx.helper.make_opsetid("", 18)]
    path.write_bytes(onnx.helper.make_model(graph, opset_imports=opset).SerializeToString())
    save(tmp_path / "test_data_set_0", input_0=sequence())
    kind = kind.split("(")[0]
    refused(tmp_path, models.signature(models.load(path)), "no data folder", f"s {kind}(")
