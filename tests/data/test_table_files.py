"""Rows of every kind: several files, and rows and files that are bad."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qtool.data import open_dataset
from tests.data.folders import declare, model, noise, refused, save_arrays
from tests.data.tables import AB, SAVE, Columns, X, values


def test_several_files_in_name_order(tmp_path: Path, kind: str, save: Any) -> None:
    save({"b": [3], "a": [4], "y": ["q"]}, "part-1")
    save({"a": [0, 1], "b": [5, 6], "y": ["r", "q"]}, "part-0")
    data = open_dataset(tmp_path, X)
    assert data.names == tuple(f"part-{n}.{kind}[{i}]" for n, i in ((0, 0), (0, 1), (1, 0)))
    assert values(data) == [[0, 5], [1, 6], [4, 3]]
    assert data.labels is not None and data.labels.tolist() == [1, 0, 0]
    assert len(open_dataset(tmp_path / f"part-1.{kind}", model(x=("N", 2)))) == 1


def test_several_files_with_other_columns(tmp_path: Path, kind: str, save: Any) -> None:
    save(AB, "1")
    save({"a": [1], "c": [2]}, "2")
    refused(tmp_path, X, f"2.{kind} has other columns than 1.{kind}", '"b"', '"c"', "the same")


def test_a_choice_of_rows(tmp_path: Path, save: Any) -> None:
    save({"a": list(range(50)), "b": list(range(50)), "y": list(range(50))})
    chosen = open_dataset(tmp_path, X).choose(7, 3)
    assert chosen.labels is not None and len(chosen.labels) == 7
    for index, label in enumerate(chosen.labels):
        assert chosen.sample(index)["x"].tolist() == [label, label]
        assert chosen.names[index].endswith(f"[{label}]")


def test_one_folder_for_each_input(tmp_path: Path, kind: str) -> None:
    tables: dict[str, Columns] = {"a": {"k": [1, 2]}, "b": {"k": [3, 4], "z": ["u", "v"]}}
    for name, columns in tables.items():
        (tmp_path / name).mkdir()
        SAVE[kind](tmp_path / name / f"rows.{kind}", columns)
    declare(tmp_path, '[data]\nlabel = "z"\n')
    data = open_dataset(tmp_path, model(a=("N", 1), b=("N", 1)))
    assert values(data, "a") == [[1], [2]] and values(data, "b") == [[3], [4]]
    assert data.classes == ("u", "v")
    declare(tmp_path, '[data]\nlabel = "zz"\n[data.inputs.b]\ncolumns = ["k"]\n')
    refused(tmp_path, model(a=("N", 1), b=("N", 1)), '"zz"', "no folder has such a column")


def test_no_rows(tmp_path: Path, kind: str, save: Any) -> None:
    save({"a": [], "b": []})
    refused(tmp_path, X, "the file is empty" if kind == "jsonl" else "holds no samples")


def test_rows_beside_arrays(tmp_path: Path, kind: str, save: Any) -> None:
    save(AB)
    save_arrays(tmp_path, {"0": noise(2)})
    refused(tmp_path, X, f"npy and {kind} files", "one kind")


def test_fingerprint_reads_the_files(tmp_path: Path, save: Any) -> None:
    save(AB)
    before = open_dataset(tmp_path, X).fingerprint
    save({**AB, "b": [10, 11, 12, 13, 15]})
    assert open_dataset(tmp_path, X).fingerprint != before


def test_skipping_bad_rows(tmp_path: Path, kind: str, save: Any) -> None:
    save({"a": [0.5, float("nan"), 2.5], "b": [1, 2, 3], "y": ["u", "v", "w"]})
    refused(tmp_path, X, f"cannot use {tmp_path}/iris.{kind}[1]", 'column "a" is nan', "skip")
    data = open_dataset(tmp_path, X, on_bad_file="skip")
    assert data.names == (f"iris.{kind}[0]", f"iris.{kind}[2]")
    assert data.skipped == (f"iris.{kind}[1]",) and values(data) == [[0.5, 1], [2.5, 3]]
    assert data.classes == ("u", "v", "w") and data.labels is not None
    assert data.labels.tolist() == [0, 2] and data.total == 3


def test_skipping_a_bad_file(tmp_path: Path, kind: str, save: Any) -> None:
    save(AB, "1")
    for content, why in ((b"", "the file is empty"), (b"\xff\xfea\x00", "")):
        (tmp_path / f"2.{kind}").write_bytes(content)
        refused(tmp_path, X, f"2.{kind}", why)
        data = open_dataset(tmp_path, X, on_bad_file="skip")
        assert data.skipped == (f"2.{kind}",) and len(data) == 5 and data.total == 6
    (tmp_path / f"1.{kind}").unlink()
    with pytest.raises(Exception, match="cannot"):
        open_dataset(tmp_path, X, on_bad_file="skip")


def test_file_that_is_cut_after_it_was_opened(tmp_path: Path, kind: str, save: Any) -> None:
    rows = 3_000 if kind == "parquet" else 100_000  # in groups of two; of text, not all is held
    save({"a": list(range(rows)), "b": list(range(rows))})
    data = open_dataset(tmp_path, X)
    path = tmp_path / f"iris.{kind}"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(Exception, match=rf"cannot read .*iris\.{kind}"):
        data.sample(rows - 1)
