"""pairs.csv: which samples it names, how they are found after a choice, and what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qtool.data import Dataset, open_dataset
from qtool.data.remote import located
from qtool.errors import DataError
from tests.data.folders import contains, declare, floats, model, save_arrays
from tests.data.remotes import Counted, forget, upload

X = model(x=("N", 2))
HEADER = "first,second,score\n"


def folder_of(folder: Path, names: str, lines: str, header: str = HEADER) -> Path:
    save_arrays(folder, {name: floats(2) for name in names.split()})
    (folder / "pairs.csv").write_text(header + lines, encoding="utf-8")
    return folder


def found(data: Dataset) -> list[tuple[str, str, float]]:
    """The pairs with the names of the dataset's rows."""
    assert data.pairs is not None
    assert data.pairs.first.dtype == data.pairs.second.dtype == np.int64
    assert data.pairs.scores.dtype == np.float64
    rows = zip(data.pairs.first, data.pairs.second, data.pairs.scores, strict=True)
    return [(data.names[a], data.names[b], score) for a, b, score in rows]


def refused(folder: Path, *parts: str) -> DataError:
    """It opens all the same: pairs are read when they are asked for."""
    data = open_dataset(folder, X)
    assert list(data.names) and "pairs.csv" not in data.names
    with pytest.raises(DataError) as caught:
        _ = data.pairs
    contains(caught.value, *parts)
    return caught.value


@pytest.mark.parametrize(
    "line", ["a.npy,sub/c.npy,0.5", "a,sub/c,0.5", " a , sub/c.npy,5e-1", "0,2,0.5", "a,2,.5"]
)
def test_names_keys_and_numbers(tmp_path: Path, line: str) -> None:
    data = open_dataset(folder_of(tmp_path, "a b sub/c", f"{line}\nb,b,5\n"), X)
    assert data.labels is None and list(data.names) == ["a.npy", "b.npy", "sub/c.npy"]
    assert found(data) == [("a.npy", "sub/c.npy", 0.5), ("b.npy", "b.npy", 5)]
    assert data.pairs is not None and data.pairs.left_out == 0


def test_a_name_wins_over_a_number(tmp_path: Path) -> None:
    data = open_dataset(folder_of(tmp_path, "1 2 3", "1,3,-1\n"), X)
    assert found(data) == [("1.npy", "3.npy", -1)]


def test_numbers_that_are_sometimes_names_are_in_doubt(tmp_path: Path) -> None:
    folder_of(tmp_path, "1 2 3", "1,2,1\n0,2,1\n")
    refused(tmp_path, "in doubt", '"2" is the name of a sample, and "0" is none', "names in all")


def test_lines_of_texts(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("a\nb\na b\n")
    (tmp_path / "v.txt").write_text("a\nb\n")
    declare(tmp_path, '[data.inputs.x]\nfrom="text"\nvocabulary="v.txt"\nunit="word"\n')
    (tmp_path / "pairs.csv").write_text(HEADER + "texts.txt[2],texts.txt[0],1\n1,2,0\n")
    data = open_dataset(tmp_path, model(dtype="int64", x=("N", "length")))
    assert [row[:2] for row in found(data)] == [
        ("texts.txt[2]", "texts.txt[0]"),
        ("texts.txt[1]", "texts.txt[2]"),
    ]
    (tmp_path / "pairs.csv").write_text(HEADER + "texts,texts.txt[0],1\n")
    with pytest.raises(DataError) as caught:
        _ = open_dataset(tmp_path, model(dtype="int64", x=("N", "length"))).pairs
    contains(caught.value, 'several samples are called "texts"', "did you mean 'texts.txt[")


def test_more_columns_quotes_and_labels_beside(tmp_path: Path) -> None:
    lines = '1,ü.npy,"a, b",x\n'
    data = open_dataset(folder_of(tmp_path, "ü", lines, "\ufeffscore,first,second,by\n"), X)
    with pytest.raises(DataError, match="cannot use line 2 of"):
        _ = data.pairs
    save_arrays(tmp_path, {"a, b": floats(2), "labels": np.array([7, 8])})
    data = open_dataset(tmp_path, X)
    assert found(data) == [("ü.npy", "a, b.npy", 1)]
    assert data.labels is not None and data.labels.tolist() == [7, 8]
    assert list(data.paths())[-2:] == [tmp_path / "labels.npy", tmp_path / "pairs.csv"]


def test_a_folder_for_each_input(tmp_path: Path) -> None:
    signature = model(x=("N", 2), y=("N", 2))
    save_arrays(tmp_path, {f"{name}/{key}": floats(2) for name in "xy" for key in "ab"})
    (tmp_path / "pairs.csv").write_text(HEADER + "b,a,1\nx/a.npy,1,2\n")
    assert found(open_dataset(tmp_path, signature)) == [
        ("x/b.npy", "x/a.npy", 1), ("x/a.npy", "x/b.npy", 2),
    ]  # fmt: skip


def test_pairs_follow_the_choice(tmp_path: Path) -> None:
    names = [f"{number:02}" for number in range(12)]
    pairs = [(a, b, int(a) * 100 + int(b)) for a in names for b in names]
    lines = "".join(f"{a},{b},{score}\n" for a, b, score in pairs)
    chosen = open_dataset(folder_of(tmp_path, " ".join(names), lines), X).choose(5, 1)
    assert chosen.pairs is not None and len(chosen.pairs.scores) == 25
    assert chosen.pairs.left_out == 144 - 25
    for first, second, score in found(chosen):
        assert score == int(first[:2]) * 100 + int(second[:2])
    again = chosen.choose(1, 1)
    assert again.pairs is not None
    assert (again.pairs.first.tolist(), again.pairs.left_out) == ([0], 143)


def test_pairs_of_samples_that_are_skipped(tmp_path: Path) -> None:
    folder_of(tmp_path, "a b c", "a,c,1\na,b,2\n2,2,3\n")
    save_arrays(tmp_path, {"b": floats(3)})
    data = open_dataset(tmp_path, X, on_bad_file="skip")
    assert data.skipped == ("b.npy",)
    assert found(data) == [("a.npy", "c.npy", 1), ("c.npy", "c.npy", 3)]
    assert data.pairs is not None and data.pairs.left_out == 1


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        ("imag1,img2,1\n", ["line 2 of pairs.csv", 'called "imag1"', "did you mean 'img1'"]),
        ("img1,qqqq,1\n", ['called "qqqq"', "qtool data", '"img2.npy"']),
        ("img1,2,1\n", ['called "2"', "numbers are 0 to 1"]),
        ("img1,-1,1\n", ['called "-1"']),
        ("img1,,1\n", ['called ""']),
        ("img1\n", ['called ""']),
        ("img1,img2\n", ["score is empty"]),
        ("img1,img2,high\n", ['score is "high", which is not a number']),
        ("img1,img2,nan\n", ['score is "nan", which is not a finite number', "mend the line"]),
        ("img1,img2,1e999\n", ["not a finite number"]),
        ("img1,img2,true\n", ["not a finite number"]),
        ('img1,img2,"0,5"\n', ["write a decimal point"]),
        ("img1,img2,0,5\n", ["more cells than the header"]),
        ("", ["pairs.csv holds no pairs"]),
        ('img1,"img2,1\n', ["cannot read", "pairs.csv"]),
    ],
)
def test_bad_lines(tmp_path: Path, lines: str, parts: list[str]) -> None:
    refused(folder_of(tmp_path, "img1 img2", lines), *parts)


@pytest.mark.parametrize("header", ["", "first;second;score\n", "a,b,score\n", "first,second\n"])
def test_bad_headers(tmp_path: Path, header: str) -> None:
    folder_of(tmp_path, "a b", "a,b,1\n", header)
    refused(tmp_path, "header", header.strip() or "a,b,1", "must be first,second,score")


def test_an_empty_file(tmp_path: Path) -> None:
    refused(folder_of(tmp_path, "a", "", ""), "cannot read", "pairs.csv", "the file is empty")


def test_many_bad_lines(tmp_path: Path) -> None:
    folder_of(tmp_path, "aa", "aa,aa,1\n" * 3 + "aa,ab,1\n" * 42)
    error = refused(tmp_path, "42 of 45 pairs", "line 5", "line 9", "and 37 more", "'aa'")
    assert "line 10" not in error.why and len(error.why.splitlines()) == 6


def test_nothing_but_pairs(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(HEADER)
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path, X)
    contains(caught.value, "no samples", "only pairs.csv", "beside it")


def test_a_table_that_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("a,b\n1,2\n3,4\n")
    data = open_dataset(tmp_path / "pairs.csv", X)
    assert data.sample(1)["x"].tolist() == [3, 4] and data.pairs is None


def test_none(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"x": floats(3, 2), "sub/y": floats(2)})
    (tmp_path / "x.npy").rename(tmp_path / "sub" / "x.npy")
    (tmp_path / "sub" / "y.npy").unlink()
    (tmp_path / "pairs.csv").write_text(HEADER)
    assert open_dataset(tmp_path / "sub", X).pairs is None
    assert open_dataset(tmp_path / "sub" / "x.npy", X).pairs is None


def test_at_a_url(tmp_path: Path) -> None:
    forget()
    folder_of(tmp_path, "a b", "b,a,4\n")
    data = open_dataset(located(upload(tmp_path, "counted://bucket/pairs")), X)
    assert not any(name.endswith(".csv") for name in Counted.fetched)
    assert found(data) == [("b.npy", "a.npy", 4)]
    assert Counted.fetched.count("/bucket/pairs/pairs.csv") == 1
    remote = open_dataset(located(upload(tmp_path, f"memory://{tmp_path.name}")), X)
    assert found(remote.choose(1, 0)) == []
