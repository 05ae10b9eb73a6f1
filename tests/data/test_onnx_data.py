"""The reader of ONNX test data: test_data_set_*/input_*.pb."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import pytest

from qtool import model as models
from qtool.data import open_dataset
from qtool.runtime import Session
from tests.data.folders import declare, model, refused
from tests.data.pb import TWO, A, B, X, fed, rows, save, tensor
from tests.models import build, normal


def test_batches_of_several_sets(tmp_path: Path) -> None:
    for number, count in enumerate((2, 1, 3)):
        folder = tmp_path / f"test_data_set_{number}"
        save(folder, input_0=tensor(rows(count, 10 * number)), output_0=tensor(np.zeros(9)))
    (tmp_path / "model.onnx").write_bytes(b"is no data")
    data = open_dataset(tmp_path, X)
    assert data.names == (
        "test_data_set_0/input_0.pb[0]",
        "test_data_set_0/input_0.pb[1]",
        "test_data_set_1/input_0.pb",
        "test_data_set_2/input_0.pb[0]",
        "test_data_set_2/input_0.pb[1]",
        "test_data_set_2/input_0.pb[2]",
    )
    assert [array[0] for array in fed(tmp_path)] == [0, 1, 10, 20, 21, 22]
    assert [data.sample(index)["x"][0] for index in (5, 0, 4)] == [22, 0, 21]
    assert data.labels is None and data.total == 6 and data.unit == "samples"
    assert data.describe() == "used 6 of 6 samples, float32 (3,), range 0 … 22"


def test_one_set_and_one_file(tmp_path: Path) -> None:
    save(tmp_path, input_0=tensor(rows(2)), output_0=tensor(rows(2)))
    assert open_dataset(tmp_path, X).names == ("input_0.pb[0]", "input_0.pb[1]")
    assert fed(tmp_path / "input_0.pb") == fed(tmp_path)


def test_labels_beside_the_sets(tmp_path: Path) -> None:
    save(tmp_path / "test_data_set_0", input_0=tensor(rows(3)))
    np.save(tmp_path / "labels.npy", [4, 5, 6])
    labels = open_dataset(tmp_path, X).choose(2, 0).labels
    assert labels is not None and set(labels.tolist()) < {4, 5, 6}


def test_outputs_change_nothing(tmp_path: Path) -> None:
    save(tmp_path, input_0=tensor(rows(3)), output_0=b"garbage")
    before = open_dataset(tmp_path, X).fingerprint
    save(tmp_path, output_0=tensor(rows(3)), output_1=b"more")
    assert open_dataset(tmp_path, X).fingerprint == before
    save(tmp_path, input_0=tensor(rows(3, 1)))
    assert open_dataset(tmp_path, X).fingerprint != before


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (tensor(A), tensor(B)),  # by number
        (tensor(A, "of"), tensor(B, "another model")),
        (tensor(A, "a"), tensor(B, "elsewhere")),
        (tensor(A, "input_1"), tensor(B, "input_0")),
        (tensor(A, "a"), tensor(B, "b")),
        (tensor(B, "b"), tensor(A, "a")),  # by name, where all inputs are named
    ],
)
def test_which_tensor_feeds_which_input(tmp_path: Path, first: bytes, second: bytes) -> None:
    save(tmp_path, input_0=first, input_1=second)
    sample = open_dataset(tmp_path, TWO).sample(3)
    assert sample["a"].tolist() == [1, 1] and sample["b"].tolist() == [7, 7, 7]


def test_names_choose_among_more_tensors_than_inputs(tmp_path: Path) -> None:
    extra = tensor(np.zeros(5, np.float32), "w")
    save(tmp_path, input_0=extra, input_1=tensor(B, "b"), input_2=tensor(A, "a"))
    assert open_dataset(tmp_path, TWO).sample(0)["b"].tolist() == [7, 7, 7]
    save(tmp_path, input_2=tensor(A))
    why = "input_0 (w), input_1 (b), input_2; the model's inputs are a, b"
    refused(tmp_path, TWO, 'feeds input "a"', why, 'from = "input_0"', "[data.inputs.a]")
    declare(tmp_path, '[data.inputs.a]\nfrom = "input_2"\n[data.inputs.b]\nfrom = "b"')
    assert open_dataset(tmp_path, TWO).sample(0)["a"].tolist() == [1, 1]


def test_preprocessing(tmp_path: Path) -> None:
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    save(tmp_path, input_0=tensor(images))
    signature = model(x=("N", 3, 4, 5))
    refused(tmp_path, signature, "input_0.pb[0]", "channels-last", 'layout = "NHWC"')
    declare(tmp_path, '[data.inputs.x]\nlayout = "NHWC"\nscale = 0.5')
    array = open_dataset(tmp_path, signature).sample(1)["x"]
    np.testing.assert_array_equal(array, images[1].transpose(2, 0, 1) / 2)
    declare(tmp_path, "[data.inputs.x]\nshape = [60]")
    assert open_dataset(tmp_path, model(x=("N", 60))).sample(1)["x"][0] == 60


def test_sets_without_a_batch_axis(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / str(number), input_0=tensor(rows(1, number)[0]))
    refused(tmp_path, X, "0/input_0.pb", "got (3,)", "x float32 (N, 3)", 'samples = "files"')
    declare(tmp_path, '[data]\nsamples = "files"')
    assert fed(tmp_path) == [[0, 0, 0], [1, 1, 1]]


def test_rows_that_are_single_numbers(tmp_path: Path) -> None:
    save(tmp_path, input_0=tensor(np.arange(3, dtype=np.float32)))
    data = open_dataset(tmp_path, model(x=("N",)))
    assert data.sample(2)["x"].shape == () and data.sample(2)["x"] == 2
    declare(tmp_path, "[data.inputs.x]\nscale = 0.5\nmean = [1]")
    (batch,) = open_dataset(tmp_path, model(x=("N",))).batches(3)
    assert batch["x"].tolist() == [-1, -0.5, 0]


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("BFLOAT16", "float32"), ("FLOAT8E5M2", "float32"), ("INT4", "int8"), ("UINT4", "int8")],
)
def test_types_that_numpy_lacks(kind: str, dtype: str) -> None:
    values = [0, 1, 2, 3] if kind == "UINT4" else [0, 1, -2, 3]
    made = onnx.helper.make_tensor("t", onnx.TensorProto.DataType.Value(kind), [4], values)
    name, array = models.read_tensor(made.SerializeToString())
    assert name == "t" and array.dtype == dtype and array.tolist() == values


def test_it_feeds_a_model_as_stored(tmp_path: Path) -> None:
    made = build("g (float[N,4] x, float[N,4] z) => (float[N,4] y) { y = Sub(x, z) }")
    x, z = normal(5, 4), normal(5, 4, seed=1)
    save(tmp_path / "test_data_set_0", input_0=tensor(x[:3], "z"), input_1=tensor(z[:3], "x"))
    save(tmp_path / "test_data_set_1", input_0=tensor(x[3:]), input_1=tensor(z[3:]))
    session = Session(models.serialize(made), threads=1)
    found = [
        session.run(batch)["y"] for batch in open_dataset(tmp_path, session.signature).batches(5)
    ]
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate([(z - x)[:3], (x - z)[3:]]))


def shipped() -> list[Path]:
    """The cases that come with the package onnx whose operators onnxruntime still has."""
    root = Path(onnx.__file__).parent / "backend" / "test" / "data"
    names = ["pytorch-converted/test_Conv*", "pytorch-operator/test_operator_re*"]
    names += ["pytorch-operator/test_operator_m*", "simple/test_sign_model"]
    refused_ones = {"test_operator_mm"}  # two matrices of different height
    folders = [folder for name in names for folder in root.glob(name)]
    return sorted(folder for folder in folders if folder.name not in refused_ones)


@pytest.mark.parametrize("folder", shipped(), ids=lambda folder: folder.name)
def test_the_sets_of_onnx_itself(folder: Path) -> None:
    session = Session(folder / "model.onnx", threads=1)
    data = open_dataset(folder, session.signature)
    (batch,) = data.batches(len(data))
    _, expected = models.read_tensor((folder / "test_data_set_0" / "output_0.pb").read_bytes())
    (found,) = session.run(batch).values()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_there_are_shipped_sets() -> None:
    assert len(shipped()) > 20
