"""Labels from class folders, labels.csv, labels.npy and arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtool.data import open_dataset
from qtool.data.labels import as_labels
from qtool.errors import DataError
from tests.data.folders import model, noise, refused, save_arrays, save_image

X = model(x=("N", 2))
ROW = np.zeros(2, np.float32)


def labels_of(folder: Path, signature: Any = X) -> tuple[list[float], tuple[str, ...] | None]:
    data = open_dataset(folder, signature)
    assert data.labels is not None
    return data.labels.tolist(), data.classes


def save_named(folder: Path, *names: str) -> None:
    save_arrays(folder, dict.fromkeys(names, ROW))


def test_class_folders(tmp_path: Path) -> None:
    save_named(tmp_path, "dog/1", "cat/2", "dog/0", "eel/9")
    data = open_dataset(tmp_path, X)
    assert data.names == ("cat/2.npy", "dog/0.npy", "dog/1.npy", "eel/9.npy")
    assert data.labels is not None and data.labels.dtype == np.int64
    assert labels_of(tmp_path) == ([0, 1, 1, 2], ("cat", "dog", "eel"))


def test_class_folders_of_images(tmp_path: Path) -> None:
    save_image(tmp_path / "b" / "0.png", noise(4, 4, 3))
    save_image(tmp_path / "a" / "0.jpg", noise(4, 4, 3))
    assert labels_of(tmp_path, model(x=("N", 3, 4, 4))) == ([0, 1], ("a", "b"))


def test_integer_folders_are_the_labels(tmp_path: Path) -> None:
    save_named(tmp_path, "10/a", "9/a", "2/a")
    assert labels_of(tmp_path) == ([10, 2, 9], None)
    save_named(tmp_path, *(f"{number}/a" for number in range(11)))
    labels, classes = labels_of(tmp_path)
    assert sorted(labels) == list(range(11)) and labels[2] == 10
    assert classes == tuple(str(number) for number in range(11))


@pytest.mark.parametrize(
    "names", [("pictures/0", "pictures/1"), ("a/0", "1"), ("a/b/0", "c/d/0"), ("0", "1")]
)
def test_folders_that_are_no_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    save_named(tmp_path, *names)
    data = open_dataset(tmp_path, X)
    assert data.labels is None and data.classes is None


@pytest.mark.parametrize(
    ("cells", "expected", "classes"),
    [
        (["3", "1", "-7"], [3, 1, -7], None),
        (["0.5", "1", "2e3"], [0.5, 1.0, 2000.0], None),
        (["dog", "cat", "dog"], [1, 0, 1], ("cat", "dog")),
    ],
)
def test_csv(tmp_path: Path, cells: list[str], expected: list[float], classes: Any) -> None:
    save_named(tmp_path, "a", "b", "sub/c")
    names = ["a.npy", "b", "sub/c.npy"]  # with or without the suffix
    rows = [f"{name},{cell}\n" for name, cell in zip(names, cells, strict=True)]
    (tmp_path / "labels.csv").write_text("file,label\n" + "".join(reversed(rows)))
    assert labels_of(tmp_path) == (expected, classes)
    data = open_dataset(tmp_path, X)
    kind = np.float64 if isinstance(expected[0], float) else np.int64
    assert data.labels is not None and data.labels.dtype == kind


def test_csv_with_quotes_names_and_more_columns(tmp_path: Path) -> None:
    save_named(tmp_path, "a, b", "ü")
    content = '\ufeffsource,label,file\nx,1,"a, b.npy"\ny,2,ü.npy\n'
    (tmp_path / "labels.csv").write_text(content, encoding="utf-8")
    assert labels_of(tmp_path)[0] == [1, 2]


def test_csv_wins_over_folders(tmp_path: Path) -> None:
    save_named(tmp_path, "a/0", "b/0")
    (tmp_path / "labels.csv").write_text("file,label\na/0,5\nb/0,6\n")
    assert labels_of(tmp_path) == ([5, 6], None)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("a.npy,1\nb.npy,2\n", ["labels.csv", "file,label"]),
        ("file,label\na.npy,1\n", ["no label for b.npy", "b.npy,LABEL"]),
        ("file,label\na.npy,1\nb.npy,\n", ["no label for b.npy"]),
        ("file,label\na.npy,1\nb.npy,2\na.npy,3\n", ["a.npy twice"]),
        ("file,label\na.npy,1\nb.npy,nan\n", ["label of b.npy"]),
        ('file,label\na.npy,1\n"b.npy,2', ["labels.csv"]),
        ("", ["labels.csv", "empty"]),
    ],
)
def test_bad_csv(tmp_path: Path, content: str, parts: list[str]) -> None:
    save_named(tmp_path, "a", "b")
    (tmp_path / "labels.csv").write_text(content)
    if "nan" in content:
        with pytest.raises(Exception, match=r"label of b\.npy"):
            _ = open_dataset(tmp_path, X).labels
    else:
        refused(tmp_path, X, *parts)


def test_csv_many_missing(tmp_path: Path) -> None:
    save_named(tmp_path, *(f"{number:02}" for number in range(43)))
    (tmp_path / "labels.csv").write_text("file,label\n07,1\n")
    error = refused(tmp_path, X, "42 of 43", "no label for 04.npy", "and 37 more")
    assert "05.npy" not in error.why and len(error.why.splitlines()) == 6


@pytest.mark.parametrize("values", [[4, 2, 0], [[4], [2], [0]], [True, False, True], [0.5, 1, 2]])
def test_npy(tmp_path: Path, values: Any) -> None:
    save_arrays(tmp_path, {"x": np.zeros((3, 2), np.float32), "labels": np.array(values)})
    labels, _ = labels_of(tmp_path)
    assert labels == np.array(values).ravel().tolist()


def test_npy_beside_files(tmp_path: Path) -> None:
    save_named(tmp_path, "a", "b")
    save_arrays(tmp_path, {"labels": np.array([1, 0], np.uint8)})
    data = open_dataset(tmp_path, X)
    assert data.names == ("a.npy", "b.npy")
    assert data.labels is not None and data.labels.tolist() == [1, 0]


def test_npy_of_another_length(tmp_path: Path) -> None:
    save_named(tmp_path, "a", "b")
    save_arrays(tmp_path, {"labels": np.arange(3)})
    refused(tmp_path, X, "labels.npy", "(3,)", "2 samples")


@pytest.mark.parametrize(
    ("stored", "kept"),
    [("float16", "float32"), ("float32", "float32"), ("float64", "float64")],
)
def test_npy_of_target_arrays(tmp_path: Path, stored: str, kept: str) -> None:
    save_named(tmp_path, "a", "b", "c")
    targets = np.arange(3 * 2 * 5).reshape(3, 2, 5).astype(stored)
    save_arrays(tmp_path, {"labels": targets})
    data = open_dataset(tmp_path, X)
    assert data.labels is not None and data.labels.dtype == kept
    np.testing.assert_array_equal(data.labels, targets)
    chosen = data.choose(2, 0)
    assert chosen.labels is not None and chosen.labels.shape == (2, 2, 5)


def test_targets_of_different_shapes_or_without_numbers(tmp_path: Path) -> None:
    def of(*values: Any) -> Any:
        return as_labels([np.array(value) for value in values], ("a", "b"))

    assert of([1.5, 2], np.array([3, 4], np.float32)).dtype == np.float64
    for wrong in ([1.5, 2, 3], [[1.5, 2]], [1, 2], [1.5, np.inf], 1.5):
        with pytest.raises(DataError, match="label of b"):
            of([1.5, 2], wrong)
    for odd in ([True, False], [], ["x"], [["x", "y"]]):
        with pytest.raises(DataError, match="label of a"):
            of(odd, odd)
    with pytest.raises(DataError, match="label of b"):
        of(1.5, [1.5, 2])


@pytest.mark.parametrize("stored", ["int8", "int32", "uint16", "int64", "uint64"])
def test_npy_of_the_class_at_each_place(tmp_path: Path, stored: str) -> None:
    save_named(tmp_path, "a", "b", "c")
    places = np.arange(3 * 2 * 5).reshape(3, 2, 5).astype(stored)
    if stored.startswith("i"):
        places[1, 0] = -100
    save_arrays(tmp_path, {"labels": places})
    data = open_dataset(tmp_path, X)
    assert data.labels is not None and data.labels.dtype == np.int64
    np.testing.assert_array_equal(data.labels, places.astype(np.int64))
    chosen = data.choose(2, 0)
    assert chosen.labels is not None and chosen.labels.shape == (2, 2, 5)


def test_arrays_of_classes_and_what_does_not_stand_beside_them() -> None:
    def of(*values: Any) -> Any:
        return as_labels(values, ("a", "b"))

    mixed = of(np.array([1, 2], np.uint8), np.array([-1, 3], np.int32))
    assert mixed.dtype == np.int64 and mixed.tolist() == [[1, 2], [-1, 3]]
    assert of(np.array([7]), np.array([[8]])).tolist() == [7, 8]
    first = np.array([1, 2])
    for wrong in ([1, 2, 3], [[1, 2]], [1.0, 2.0], [True, False], 3):
        with pytest.raises(DataError, match="label of b") as caught:
            of(first, np.array(wrong))
        assert caught.value.why.endswith("; the first label is of integers (2,)")
    large = np.array([1, 2**63], np.uint64)
    for first_label in (first, large):
        with pytest.raises(DataError) as caught:
            of(first_label, large)
        assert caught.value.why == "it holds 9223372036854775808, which is beyond int64"
    with pytest.raises(DataError) as caught:
        of(np.array([1.5, 2.5]), np.array([np.nan, 1]))
    assert caught.value.why == "it holds NaN or infinity"


def test_npy_beside_unpadded_numbers_is_in_doubt(tmp_path: Path) -> None:
    save_named(tmp_path, *map(str, range(11)))
    save_arrays(tmp_path, {"labels": np.arange(11)})
    refused(tmp_path, X, "in doubt", "10.npy comes before 2.npy", "pad the numbers", "labels.csv")


def test_npy_and_csv(tmp_path: Path) -> None:
    save_named(tmp_path, "a")
    save_arrays(tmp_path, {"labels": np.arange(1)})
    (tmp_path / "labels.csv").write_text("file,label\na,1\n")
    refused(tmp_path, X, "labels are ambiguous", "labels.csv and labels.npy")


def test_labels_that_are_an_input(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"x": np.zeros((3, 2)), "labels": np.zeros((3, 4))})
    data = open_dataset(tmp_path, model(x=("N", 2), labels=("N", 4)))
    assert data.labels is None and data.sample(0)["labels"].shape == (4,)


def test_labels_follow_the_choice(tmp_path: Path) -> None:
    x = np.arange(40, dtype=np.float32).reshape(20, 2)
    save_arrays(tmp_path, {"x": x, "labels": np.arange(20)})
    chosen = open_dataset(tmp_path, X).choose(7, 3)
    assert chosen.labels is not None and len(chosen.labels) == 7
    for index, label in enumerate(chosen.labels):
        assert chosen.sample(index)["x"].tolist() == x[label].tolist()
