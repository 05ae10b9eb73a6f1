"""The .jsonl reader: lists, and lines that are no objects or lack a key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtool.data import open_dataset
from tests.data.folders import declare, floats, model, refused
from tests.data.tables import save_jsonl

X = model(x=("N", 2))


def write(folder: Path, *rows: bytes, end: bytes = b"\n") -> None:
    (folder / "set.jsonl").write_bytes(b"".join(row + end for row in rows))


def test_lists_are_arrays(tmp_path: Path) -> None:
    images = floats(4, 3, 4, 5)
    save_jsonl(tmp_path / "set.jsonl", {"x": images.tolist(), "label": ["a", "b", "a", "c"]})
    data = open_dataset(tmp_path, model(x=("N", 3, 4, 5)))
    for index in range(4):
        np.testing.assert_array_equal(data.sample(index)["x"], images[index])
    assert data.classes == ("a", "b", "c")


def test_lists_of_several_columns_are_stacked(tmp_path: Path) -> None:
    save_jsonl(tmp_path / "set.jsonl", {"left": [[1, 2, 3]], "right": [[4, 5, 6]]})
    data = open_dataset(tmp_path, model(x=("N", 2, 3)))
    assert data.sample(0)["x"].tolist() == [[1, 2, 3], [4, 5, 6]]
    write(tmp_path, b'{"left": [1, 2], "right": [1, 2, 3]}')
    refused(tmp_path, model(x=("N", 2, 2)), "different shapes", '"left" is (2,), "right" is (3,)')


def test_ragged_among_samples(tmp_path: Path) -> None:
    write(tmp_path, b'{"x": [1, 2, 3]}', b'{"x": [4]}', b'{"x": [5]}')
    data = open_dataset(tmp_path, model(x=("N", "L"), dtype="int64"))
    assert [data.sample(i)["x"].tolist() for i in range(3)] == [[1, 2, 3], [4], [5]]
    assert [batch["x"].shape for batch in data.batches(2)] == [(1, 3), (1, 1), (1, 1)]


def test_layout_and_shape(tmp_path: Path) -> None:
    pixels = floats(4, 5, 3)
    save_jsonl(tmp_path / "set.jsonl", {"x": [pixels.tolist()]})
    declare(tmp_path, '[data.inputs.x]\nlayout = "NHWC"\n')
    sample = open_dataset(tmp_path, model(x=("N", 3, 4, 5))).sample(0)["x"]
    np.testing.assert_array_equal(sample, pixels.transpose(2, 0, 1))


def test_lists_of_strings(tmp_path: Path) -> None:
    strings = model(x=("N", 2), dtype="str")
    write(tmp_path, b'{"x": ["a", "longer"]}')
    assert open_dataset(tmp_path, strings).sample(0)["x"].tolist() == ["a", "longer"]
    write(tmp_path, b'{"x": ["a", 1]}')
    refused(tmp_path, strings, "line 1", "something else than text")


def test_ends_of_lines_and_files(tmp_path: Path) -> None:
    for end in (b"\n", b"\r\n"):
        write(
            tmp_path, b'\xef\xbb\xbf{"a": 1, "b": true}', b'{"b": 4, "a": 3, "c": 0}', b"", end=end
        )
        data = open_dataset(tmp_path, X)
        assert [data.sample(i)["x"].tolist() for i in range(len(data))] == [[1, 1], [3, 4]]
    write(tmp_path, b'{"a": 1, "b": 2}', end=b"")
    assert len(open_dataset(tmp_path, X)) == 1


BAD = {
    "missing": (b'{"a": 1, "c": 2}', 'it has no key "b", only a, c'),
    "null": (b'{"a": null, "b": 2}', 'column "a" is null'),
    "string": (b'{"a": "1", "b": 2}', 'column "a" is "1", and the model wants float32'),
    "object": (b'{"a": {"k": 1}, "b": 2}', "column \"a\" is {'k': 1}, and the model wants"),
    "nan": (b'{"a": NaN, "b": 2}', 'column "a" is nan'),
    "large": (b'{"a": ' + b"9" * 400 + b', "b": 2}', "too large"),
    "ragged": (b'{"a": [[1], [1, 2]], "b": 2}', 'column "a" holds lists of different lengths'),
    "null in list": (b'{"a": [1, null], "b": [1, 2]}', "something else than numbers"),
    "text in list": (b'{"a": [1, "x"], "b": [1, 2]}', "something else than numbers"),
    "nan in list": (b'{"a": [1, NaN], "b": [1, 2]}', 'column "a" is nan'),
    "list": (b"[1, 2]", 'it is "[1, 2]", and no object'),
    "cut": (b'{"a": 1, "b"', "it is no JSON: "),
    "not json": (b"a,b", "it is no JSON: "),
    "blank": (b"", "the line is empty"),
    "deep": (b"[" * 100_000, "nested too deeply"),
    "latin": (b'{"a": 1, "b": "\xe9"}', "byte 0xe9 is not UTF-8"),
}


@pytest.mark.parametrize(("row", "why"), BAD.values(), ids=BAD.keys())
def test_bad_lines(tmp_path: Path, row: bytes, why: str) -> None:
    write(tmp_path, b'{"a": 1, "b": 2}', row, b'{"a": 7, "b": 8}')
    refused(tmp_path, X, f"cannot use {tmp_path}/set.jsonl[1] (line 2)", why, "--on-bad-file skip")
    data = open_dataset(tmp_path, X, on_bad_file="skip")
    assert [data.sample(i)["x"].tolist() for i in range(len(data))] == [[1, 2], [7, 8]]


@pytest.mark.parametrize("name", ["list", "cut", "not json", "blank", "deep", "latin"])
def test_a_bad_first_line(tmp_path: Path, name: str) -> None:
    row: Any = BAD[name][0]
    write(tmp_path, row, b'{"a": 7, "b": 8}')
    refused(tmp_path, X, "set.jsonl[0] (line 1)", BAD[name][1])
    assert len(open_dataset(tmp_path, X, on_bad_file="skip")) == 1
    write(tmp_path, row or b" ")
    refused(tmp_path, X, "set.jsonl", "" if name == "blank" else "line 1", "one object a line")
