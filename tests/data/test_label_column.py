"""Labels that are a column of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtool.data import label_column, open_dataset
from qtool.errors import DataError
from tests.data.folders import contains, declare, model, refused, save_arrays
from tests.data.tables import SAVE, save_csv

X = model(x=("N", 1))


def labels_of(folder: Path) -> tuple[list[float], tuple[str, ...] | None]:
    data = open_dataset(folder, X)
    assert data.labels is not None
    return data.labels.tolist(), data.classes


@pytest.mark.parametrize("kind", SAVE)
@pytest.mark.parametrize(
    ("cells", "expected", "classes", "dtype"),
    [
        ([3, 1, -7], [3, 1, -7], None, "int64"),
        ([0.5, 1.0, 2e3], [0.5, 1.0, 2000.0], None, "float64"),
        (["dog", "cat", "dog"], [1, 0, 1], ("cat", "dog"), "int64"),
        (["10", "9", "9"], [10, 9, 9], None, "int64"),
    ],
)
def test_kinds(
    tmp_path: Path, kind: str, cells: list[Any], expected: Any, classes: Any, dtype: str
) -> None:
    SAVE[kind](tmp_path / f"set.{kind}", {"x": [1, 2, 3], "label": cells})
    assert labels_of(tmp_path) == (expected, classes)
    labels = open_dataset(tmp_path, X).labels
    assert labels is not None and labels.dtype == dtype


@pytest.mark.parametrize("name", ["label", "labels", "target", "y", "Y", "Label", "TARGET"])
def test_names(tmp_path: Path, name: str) -> None:
    save_csv(tmp_path / "set.csv", {"x": [1, 2], name: [7, 8]})
    assert labels_of(tmp_path)[0] == [7, 8]


def test_names_that_are_none(tmp_path: Path) -> None:
    save_csv(tmp_path / "set.csv", {"x": [1, 2], "label_2": [7, 8]})
    assert open_dataset(tmp_path, X).labels is None


def test_several_names(tmp_path: Path) -> None:
    save_csv(tmp_path / "set.csv", {"x": [1, 2], "y": [7, 8], "Target": [5, 6]})
    refused(tmp_path, X, "several columns", "y, Target", 'label = "y"')
    declare(tmp_path, '[data]\nlabel = "Target"\n')
    assert labels_of(tmp_path)[0] == [5, 6]
    declare(tmp_path, '[data.inputs.x]\nfrom = "y"\n')  # then it is no label
    assert labels_of(tmp_path)[0] == [5, 6]


def test_declared_name_that_is_not_there(tmp_path: Path) -> None:
    save_csv(tmp_path / "set.csv", {"x": [1, 2], "species": [7, 8]})
    declare(tmp_path, '[data]\nlabel = "specie"\n')
    refused(tmp_path, X, 'no column "specie"', "x, species", "did you mean 'species'?")


def test_label_for_data_that_has_no_columns(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"0": np.ones(1)})
    for key in ('label = "x"', 'delimiter = ";"'):
        declare(tmp_path, f"[data]\n{key}\n")
        refused(tmp_path, X, f'"{key.split()[0]}" under [data] means nothing', "npy files")


def test_kind_comes_from_all_rows(tmp_path: Path) -> None:
    save_csv(tmp_path / "set.csv", {"x": list(range(50)), "y": [*range(49), 0.5]})
    for seed in range(3):
        labels = open_dataset(tmp_path, X).choose(5, seed).labels
        assert labels is not None and labels.dtype == np.float64
    save_csv(tmp_path / "set.csv", {"x": list(range(50)), "y": [f"c{n:02}" for n in range(50)]})
    chosen = open_dataset(tmp_path, X).choose(5, 0)
    assert chosen.classes is not None and len(chosen.classes) == 50 and chosen.labels is not None
    assert [chosen.sample(i)["x"][0] for i in range(5)] == chosen.labels.tolist()


@pytest.mark.parametrize(
    ("cell", "why"),
    [("", 'column "y" is empty'), ("nan", "is nan"), ("inf", "is inf"), ("1,5", "decimal point")],
)
def test_bad_labels_are_bad_rows(tmp_path: Path, cell: str, why: str) -> None:
    save_csv(tmp_path / "set.csv", {"x": [1, 2, 3], "y": ["4", cell, "6"]})
    refused(tmp_path, X, "set.csv[1] (line 3)", why)
    data = open_dataset(tmp_path, X, on_bad_file="skip")
    assert data.skipped == ("set.csv[1]",)
    assert data.labels is not None and data.labels.tolist() == [4, 6]


def test_numbers_and_words(tmp_path: Path) -> None:
    save_csv(tmp_path / "set.csv", {"x": [1, 2, 3], "y": ["4", "5", "NA"]})
    data = open_dataset(tmp_path, X)  # who needs no labels is not troubled
    with pytest.raises(DataError) as caught:
        _ = data.labels
    contains(
        caught.value, 'column "y" are numbers and words', "set.csv[0] (line 2)", "[2] (line 4)"
    )


def test_texts_are_no_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_column, "MOST", 3)
    save_csv(tmp_path / "set.csv", {"x": [1, 2, 3, 4], "y": ["a", "b", "c", "c"]})
    assert labels_of(tmp_path)[1] == ("a", "b", "c")
    save_csv(tmp_path / "set.csv", {"x": [1, 2, 3, 4], "y": ["a", "b", "c", "d"]})
    with pytest.raises(DataError, match='column "y" cannot be labels'):
        _ = open_dataset(tmp_path, X).labels


def test_lists_are_no_labels(tmp_path: Path) -> None:
    SAVE["jsonl"](tmp_path / "set.jsonl", {"x": [1, 2], "y": [[1], [2]]})
    refused(tmp_path, X, "line 1", 'column "y" is [1], which is no label')


def test_labels_csv_beside_rows(tmp_path: Path) -> None:
    save_csv(tmp_path / "set.csv", {"x": [1, 2], "y": [7, 8]})
    (tmp_path / "labels.csv").write_text("file,label\nset.csv[1],b\nset.csv[0],a\n")
    assert labels_of(tmp_path) == ([0, 1], ("a", "b"))
    declare(tmp_path, '[data]\nlabel = "y"\n')
    refused(tmp_path, X, '"y"', "there is labels.csv", "keep one")


def test_labels_csv_alone(tmp_path: Path) -> None:
    save_csv(tmp_path / "labels.csv", {"x": [1, 2], "y": [7, 8]})
    refused(tmp_path, X, "no samples", "only labels.csv", "give its path")
    data = open_dataset(tmp_path / "labels.csv", X)
    assert data.names == ("labels.csv[0]", "labels.csv[1]")
    assert data.labels is not None and data.labels.tolist() == [7, 8]


def test_labels_csv_beside_files_is_no_sample(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"0": np.ones(1), "1": np.ones(1)})
    (tmp_path / "labels.csv").write_text("file,label\n0,5\n1,6\n")
    data = open_dataset(tmp_path, X)
    assert data.unit == "files" and data.labels is not None and data.labels.tolist() == [5, 6]
