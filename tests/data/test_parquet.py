"""The .parquet reader: types, row groups, damage, bombs, and the package that it needs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from qtool.data import open_dataset, parquet
from qtool.data.files import File
from qtool.errors import DataError, MachineError, install_command
from tests.data.folders import declare, floats, model, noise, refused
from tests.data.tables import save_parquet

X = model(x=("N", 2))


def save(folder: Path, rows: int = 1000, **columns: Any) -> Path:
    path = folder / "set.parquet"
    table = pyarrow.table(columns)
    pyarrow.parquet.write_table(table, path, row_group_size=rows, compression="zstd")
    return path


@pytest.mark.parametrize(
    "dtype", ["int8", "uint16", "int64", "uint64", "float16", "float32", "float64", "bool"]
)
@pytest.mark.parametrize("nested", [False, True])
def test_types(tmp_path: Path, dtype: str, nested: bool) -> None:
    values = (noise(7, 3) % 2).astype(dtype)
    cells = list(values) if nested else values[:, 0]
    save(tmp_path, rows=3, x=pyarrow.array(cells))
    for wanted in ("float32", "int64"):
        data = open_dataset(tmp_path, model(x=("N", 3 if nested else 1), dtype=wanted))
        for row in (6, 0, 3, 2):
            expected = values[row] if nested else values[row, :1]
            np.testing.assert_array_equal(data.sample(row)["x"], expected.astype(wanted))


def test_lists_of_lists(tmp_path: Path) -> None:
    images = floats(5, 4, 5, 3)
    kinds = {
        "lists": pyarrow.array(images.tolist()),
        "fixed": pyarrow.array(
            images.reshape(5, 4, 15).tolist(), pyarrow.list_(pyarrow.list_(pyarrow.float32(), 15))
        ),
        "tensor": pyarrow.FixedShapeTensorArray.from_numpy_ndarray(images),
    }
    for column in kinds.values():
        save(tmp_path, rows=2, x=column)
        declare(tmp_path, "[data.inputs.x]\nshape = [4, 5, 3]\n")
        data = open_dataset(tmp_path, model(x=("N", 4, 5, 3)))
        for row in range(5):
            np.testing.assert_array_equal(data.sample(row)["x"], images[row])


def test_columns_with_dots_and_dictionaries(tmp_path: Path) -> None:
    words = pyarrow.array(["u", "v", "u"]).dictionary_encode()
    save(tmp_path, **{"a": [1, 2, 3], "a.b": [4, 5, 6], "y": words})
    data = open_dataset(tmp_path, X)
    assert data.sample(1)["x"].tolist() == [2, 5] and data.classes == ("u", "v")
    assert open_dataset(tmp_path, model(a=("N",))).sample(2)["a"] == 3


def test_strings_in_lists(tmp_path: Path) -> None:
    save(tmp_path, x=[["a", "longer"], ["b", "b"]])
    data = open_dataset(tmp_path, model(x=("N", 2), dtype="str"))
    assert data.sample(1)["x"].tolist() == ["b", "b"]


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        (None, 'column "x" is null'),
        ([1.0, None], "holds a null"),
        ([[1.0], None], "holds a null"),
        ([[1.0], [1.0, 2.0]], "holds lists of different lengths"),
        ([1.0, float("nan")], 'column "x" is nan'),
        ([1.0, 2.0, 3.0], "(3,)"),
    ],
)
def test_bad_values(tmp_path: Path, cell: Any, why: str) -> None:
    good = [[1.0], [2.0]] if isinstance(cell, list) and isinstance(cell[0], list) else [1.0, 2.0]
    save(tmp_path, x=[good, cell])
    signature = model(x=("N", 2, 1)) if good == [[1.0], [2.0]] else X
    refused(tmp_path, signature, "set.parquet[1]", why)
    assert open_dataset(tmp_path, signature, on_bad_file="skip").skipped == ("set.parquet[1]",)


@pytest.mark.parametrize(
    ("column", "why"),
    [
        (pyarrow.array([{"k": 1}]), "is {'k': 1}, and the model wants float32"),
        (pyarrow.array([b"\x89PNG"]), "and the model wants float32"),
        (pyarrow.array([0]).cast(pyarrow.timestamp("s")), "is 1970-01-01 00:00:00"),
        (pyarrow.array(["5"]), 'is "5", and the model wants float32'),
        (pyarrow.array([[{"k": 1}]]), "something else than numbers"),
        (pyarrow.nulls(1), "is null"),
    ],
)
def test_types_that_are_no_numbers(tmp_path: Path, column: Any, why: str) -> None:
    save(tmp_path, x=column)
    refused(tmp_path, model(x=("N", 1)), "set.parquet[0]", 'column "x"', why)


def test_one_row_group_is_held(tmp_path: Path) -> None:
    path = save(tmp_path, rows=100, x=np.arange(1000.0), y=np.arange(1000), z=["long" * 99] * 1000)
    table = parquet.ParquetTable(File(path, path.name), pyarrow)
    reads = []
    unpacked = table._unpacked
    table._unpacked = lambda *args: reads.append(args[:2]) or unpacked(*args)  # type: ignore[func-returns-value,method-assign]
    for row in range(250):
        assert table.value(row, "x") == row and table.value(row, "y") == row
    assert reads == [(group, name) for group in range(3) for name in "xy"]
    group, held = table._held
    assert group == 2 and set(held) == {"x", "y"} and len(held["x"]) == 100


def test_groups_without_rows(tmp_path: Path) -> None:
    with pyarrow.parquet.ParquetWriter(
        tmp_path / "set.parquet", pyarrow.schema([("x", "f4")])
    ) as to:
        for values in ([], [1.0, 2.0], [], [3.0]):
            to.write_table(pyarrow.table({"x": pyarrow.array(values, "f4")}), row_group_size=9)
    data = open_dataset(tmp_path, model(x=("N", 1)))
    assert [data.sample(row)["x"].item() for row in range(len(data))] == [1, 2, 3]


# --- bombs and damage --------------------------------------------------------------------------


def test_row_group_over_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "LIMIT", 100_000)
    columns = {"x": np.zeros((20_000, 2)).tolist(), "n": [0.0] * 20_000}
    path = save(tmp_path, rows=20_000, **columns)
    assert path.stat().st_size < 10_000
    refused(tmp_path, X, "set.parquet[0]", 'column "x"', "320,000 bytes", "limit of 100,000")
    save(tmp_path, rows=4_000, **columns)
    assert open_dataset(tmp_path, X).sample(19_999)["x"].tolist() == [0, 0]
    refused(tmp_path, model(x=("N", 2), n=("N",)), 'with column "n" its row group 0 unpacks to')


def test_a_long_text_many_times_stays_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "LIMIT", 1_000_000)
    save(tmp_path, rows=10**3, x=np.zeros(10**3), y=["w" * 10_000] * 10**3)  # 10 MB of text
    data = open_dataset(tmp_path, model(x=("N", 1)))
    assert data.classes == ("w" * 10_000,)


def test_texts_that_unpack_to_more_than_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "LIMIT", 1_000_000)
    texts = ["w" * 10_000 + str(number) for number in range(5000)]  # each is the last and a bit
    pyarrow.parquet.write_table(
        pyarrow.table({"x": texts}), tmp_path / "set.parquet", use_dictionary=False,
        column_encoding={"x": "DELTA_BYTE_ARRAY"},
    )  # fmt: skip
    assert (tmp_path / "set.parquet").stat().st_size < 500_000
    refused(tmp_path, model(x=("N",), dtype="str"), "set.parquet[0]", "limit of 1,000,000")


@pytest.mark.slow
def test_every_cut_and_every_flipped_byte(tmp_path: Path) -> None:
    texts = ["b", "a", "b"]
    path = save(tmp_path, rows=2, x=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], y=texts)
    good = path.read_bytes()
    for cut in range(1, len(good), 23):
        path.write_bytes(good[:cut])
        refused(tmp_path, X, "cannot read", "set.parquet")
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x01]) + good[place + 1 :])
        try:
            data = open_dataset(tmp_path, X)
            data.check()
            _ = data.labels
        except DataError:
            pass


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_parquet(tmp_path / "set.parquet", {"a": [1], "b": [2]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MachineError) as caught:
        open_dataset(tmp_path, X)
    assert caught.value.fix == install_command("parquet")
