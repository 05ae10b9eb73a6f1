"""The .npy reader: whole sets, sample files, and how they are told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtool.data import open_dataset
from qtool.data.arrays import whole_or_files
from qtool.signature import TensorSpec
from tests.data.folders import declare, floats, model, noise, refused, save_arrays

IMAGE = model(x=("N", 3, 4, 5))
X = model(x=("N", 2))


def test_npy_one_sample_a_file(tmp_path: Path) -> None:
    arrays = floats(3, 3, 4, 5)
    save_arrays(tmp_path, {"b": arrays[1], "a": arrays[0], "c": arrays[2]})
    data = open_dataset(tmp_path, IMAGE)
    assert data.names == ("a.npy", "b.npy", "c.npy")
    for index, array in enumerate(arrays):
        np.testing.assert_array_equal(data.sample(index)["x"], array)


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_whole_set(tmp_path: Path, order: Any) -> None:
    arrays = floats(6, 3, 4, 5)
    save_arrays(tmp_path, {"x": np.asarray(arrays, order=order)})
    data = open_dataset(tmp_path, IMAGE)
    assert data.names == tuple(f"x.npy[{i}]" for i in range(6))
    assert data.unit == "samples"
    for index in (5, 0, 3):
        np.testing.assert_array_equal(data.sample(index)["x"], arrays[index])


def test_npy_whole_set_of_one_input_may_have_any_name(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"pictures": floats(2, 3, 4, 5)})
    assert len(open_dataset(tmp_path, IMAGE)) == 2


def test_npy_path_is_data_too(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"pictures": floats(2, 3, 4, 5), "other": floats(9)})
    data = open_dataset(tmp_path / "pictures.npy", IMAGE)
    assert data.names == ("pictures.npy[0]", "pictures.npy[1]")


def test_npy_whole_sets_for_two_inputs(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"a": floats(4, 2), "b": floats(4, 3), "labels": np.arange(4)})
    data = open_dataset(tmp_path, model(a=("N", 2), b=("N", 3)))
    assert {name: array.shape for name, array in data.sample(3).items()} == {"a": (2,), "b": (3,)}
    assert data.labels is not None and data.labels.tolist() == [0, 1, 2, 3]


def test_npy_from_names_the_file(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"left": floats(4, 2), "right": floats(4, 3)})
    declare(tmp_path, '[data.inputs.a]\nfrom = "right"\n[data.inputs.b]\nfrom = "left"\n')
    data = open_dataset(tmp_path, model(a=("N", 3), b=("N", 2)))
    assert data.sample(0)["a"].shape == (3,)


def test_npy_from_that_names_nothing(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"pictures": floats(2, 3, 4, 5)})
    declare(tmp_path, '[data.inputs.x]\nfrom = "picture"\n')
    refused(tmp_path, IMAGE, "'picture'", "did you mean 'pictures'?")


def test_npy_batch_axis_of_one_goes(tmp_path: Path) -> None:
    arrays = floats(2, 1, 3, 4, 5)
    save_arrays(tmp_path, {"a": arrays[0], "b": arrays[1]})
    data = open_dataset(tmp_path, IMAGE)
    np.testing.assert_array_equal(data.sample(1)["x"], arrays[1, 0])


def test_npy_batch_axis_of_one_goes_where_axes_are_dynamic(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"a": floats(1, 7, 8), "b": floats(1, 6, 8)})
    data = open_dataset(tmp_path, model(x=("N", "L", 8)))
    assert [data.sample(index)["x"].shape for index in range(2)] == [(7, 8), (6, 8)]


def test_npy_several_batches(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"a": floats(2, 3, 4, 5), "b": floats(2, 3, 4, 5)})
    refused(tmp_path, IMAGE, "a.npy", "batch of 2", 'samples = "whole"')


def test_npy_whole_set_with_a_stranger(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"x": floats(2, 3, 4, 5), "target": np.arange(2)})
    refused(tmp_path, IMAGE, "target.npy belongs to no input", "labels.npy")


def test_npy_sets_of_different_length(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"a": floats(4, 2), "b": floats(3, 3)})
    refused(tmp_path, model(a=("N", 2), b=("N", 3)), "different numbers", "a: 4, b: 3")


def test_npy_without_one_input(tmp_path: Path) -> None:
    save_arrays(tmp_path, {f"{number}": floats(2) for number in range(50)})
    error = refused(
        tmp_path, model(a=("N", 2), b=("N", 2)), 'input "a, b"', "one folder for each input"
    )
    assert "and 45 more" in error.why


def test_npy_empty_set(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"x": np.zeros((0, 3, 4, 5), np.float32)})
    refused(tmp_path, IMAGE, "x.npy", "no samples")


SPEC = TensorSpec("x", "float32", ("N", 1, 28, 28))
DYNAMIC = TensorSpec("x", "float32", ("N", "L", 8))


@pytest.mark.parametrize(
    ("shape", "spec", "reshape", "expected"),
    [
        ((500, 1, 28, 28), SPEC, None, "whole"),
        ((1, 28, 28), SPEC, None, "files"),
        ((500, 28, 28), SPEC, None, "whole"),  # its size says so, though its rank does not
        ((784,), SPEC, None, "files"),
        ((1, 1, 28, 28), SPEC, None, "files"),  # a set of one, and a sample with its batch axis
        ((500, 32, 32, 1), SPEC, None, "whole"),  # its rank says so; its misfit is told later
        ((500, 20), SPEC, None, None),
        ((9, 17, 8), DYNAMIC, None, "whole"),
        ((17, 8), DYNAMIC, None, "files"),
        ((17,), DYNAMIC, None, None),
        ((17, 6), DYNAMIC, [3, 2], "whole"),
        ((6,), DYNAMIC, [3, 2], "files"),
        ((5,), DYNAMIC, [3, 2], None),
        ((17, 6), TensorSpec("x", "float32", None), None, None),
        ((), TensorSpec("x", "float32", ("N",)), None, "files"),
        ((5,), TensorSpec("x", "float32", ("N",)), None, "whole"),
    ],
)
def test_whole_or_files(
    shape: tuple[int, ...], spec: TensorSpec, reshape: list[int] | None, expected: str | None
) -> None:
    assert whole_or_files(shape, spec, reshape) == expected


@pytest.mark.parametrize(("samples", "count"), [("whole", 6), ("files", 1)])
def test_samples_key_settles_what_is_ambiguous(tmp_path: Path, samples: str, count: int) -> None:
    save_arrays(tmp_path, {"x": floats(6, 2)})
    unknown = model(x=None)
    refused(tmp_path, unknown, "one sample or a whole set", 'samples = "whole"', "(6, 2)")
    declare(tmp_path, f'[data]\nsamples = "{samples}"\n')
    assert len(open_dataset(tmp_path, unknown)) == count


@pytest.mark.parametrize("declared", [True, False], ids=["said", "not said"])
def test_several_files_may_each_be_a_set(tmp_path: Path, declared: bool) -> None:
    save_arrays(tmp_path, {"a": noise(3, 2), "b": noise(1, 2), "c": noise(4, 2)})
    if not declared:
        refused(tmp_path, X, "looks like a batch of 3", 'samples = "whole"')
        return
    declare(tmp_path, '[data]\nsamples = "whole"\n')
    data = open_dataset(tmp_path, X)
    assert list(data.names) == [
        *(f"a.npy[{i}]" for i in range(3)), "b.npy[0]", *(f"c.npy[{i}]" for i in range(4)),
    ]  # fmt: skip
    rows = np.concatenate([np.load(tmp_path / f"{name}.npy") for name in "abc"])
    np.testing.assert_array_equal([data.sample(i)["x"] for i in range(8)], rows)
    assert data.choose(4, 0).total == 8
