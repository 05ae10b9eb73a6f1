"""Rows of every kind: columns to inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtool.data import open_dataset
from qtool.signature import Signature
from tests.data.folders import declare, model, refused
from tests.data.tables import AB, X, values


def test_all_columns_in_their_order(tmp_path: Path, kind: str, save: Any) -> None:
    save({**AB, "target": [0, 1, 2, 1, 0]})
    for path in (tmp_path, tmp_path / f"iris.{kind}"):
        data = open_dataset(path, X)
        assert data.names == tuple(f"iris.{kind}[{row}]" for row in range(5))
        assert values(data) == [[0.5, 10], [1.5, 11], [2.5, 12], [3.5, 13], [4.5, 14]]
        assert data.sample(0)["x"].dtype == np.float32
        assert data.labels is not None and data.labels.tolist() == [0, 1, 2, 1, 0]
        assert data.labels.dtype == np.int64 and data.classes is None
        assert data.describe() == "used 5 of 5 rows, float32 (2,), range 0.5 … 14"


def test_rows_in_any_order(tmp_path: Path, save: Any) -> None:
    save({"a": list(range(2000)), "b": [-number for number in range(2000)]})
    data = open_dataset(tmp_path, X)
    for row in (1999, 3, 1024, 0, 1023, 1):
        assert data.sample(row)["x"].tolist() == [row, -row]


def test_declared_columns_in_declared_order(tmp_path: Path, save: Any) -> None:
    save({**AB, "c": [1] * 5})
    declare(tmp_path, '[data.inputs.x]\ncolumns = ["b", "a"]\n')
    assert values(open_dataset(tmp_path, X))[1] == [11, 1.5]
    declare(tmp_path, '[data.inputs.x]\ncolumns = ["b"]\n')
    assert values(open_dataset(tmp_path, model(x=("N", 1))))[1] == [11]


def test_column_named_like_the_input_or_in_from(tmp_path: Path, save: Any) -> None:
    save({**AB, "c": [1, 2, 3, 4, 5]})
    declare(tmp_path, '[data.inputs.x]\nfrom = "c"\n')
    data = open_dataset(tmp_path, model(b=("N", 1), x=("N",)))
    assert values(data, "b")[1] == [11] and values(data)[1] == 2
    assert data.sample(1)["b"].shape == (1,) and data.sample(1)["x"].shape == ()
    assert next(data.batches(3))["x"].shape == (3,)


def test_the_rest_feeds_the_input_that_is_left(tmp_path: Path, save: Any) -> None:
    save({"a": AB["a"], "id": [5, 6, 7, 8, 9], "b": AB["b"], "y": [0] * 5})
    ids = model(id=("N",), dtype="int64").inputs
    data = open_dataset(tmp_path, Signature((*ids, *X.inputs), ()))
    assert data.sample(2)["id"].dtype == np.int64 and data.sample(2)["id"] == 7
    assert values(data)[2] == [2.5, 12]


def test_one_column_is_not_guessed_for_one_of_several(tmp_path: Path, save: Any) -> None:
    save(AB)
    signature = model(a=("N", 1), bb=("N", 1))
    refused(tmp_path, signature, 'no column "bb"', 'input "bb"', "did you mean 'b'?")


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ('from = "c"', ['no column "c"', "the columns are a, b", 'from = "a"']),
        ('columns = ["a", "bb"]', ['no column "bb"', "did you mean 'b'?"]),
        ('columns = ["a"]', ["takes 2 values", "1 column: a", "name more", "[data.inputs.x]"]),
        ('columns = ["a", "a"]', ['"a" twice']),
        ('columns = ["a"]\nfrom = "a"', ["columns excludes from"]),
        ("columns = []", ['"columns"', "at least 1"]),
        ("resize = 3", ['"resize"', "means nothing", "columns, layout"]),
    ],
)
def test_bad_declarations(tmp_path: Path, save: Any, table: str, parts: list[str]) -> None:
    save(AB)
    declare(tmp_path, f"[data.inputs.x]\n{table}\n")
    refused(tmp_path, X, *parts)


def test_width_that_does_not_fit(tmp_path: Path, kind: str, save: Any) -> None:
    save({**AB, "species": [0] * 5})
    error = refused(tmp_path, X, "x float32 (N, 2) takes 2 values", "3 columns: a, b, species")
    assert 'label = "species"' in error.fix and "columns = [" in error.fix
    refused(tmp_path, model(x=("N", 9)), "takes 9 values", "for each of the 9 values")
    refused(tmp_path, model(x=("N",)), "takes 1 values", "3 columns")
    assert open_dataset(tmp_path, model(x=("N", "features"))).sample(0)["x"].shape == (3,)
    assert open_dataset(tmp_path, model(x=None)).sample(0)["x"].shape == (3,)


def test_shape_scale_mean_and_std_by_column(tmp_path: Path, save: Any) -> None:
    save(AB)
    declare(tmp_path, "[data.inputs.x]\nmean = [1.5, 10]\nstd = [1, 2]\n")
    assert values(open_dataset(tmp_path, X))[1] == [0, 0.5]
    declare(tmp_path, "[data.inputs.x]\nshape = [1, 2, 1]\n")
    data = open_dataset(tmp_path, model(x=("N", 1, 2, 1)))
    assert values(data)[1] == [[[1.5], [11]]]
    declare(tmp_path, "")
    refused(tmp_path, model(x=("N", 1, 2, 1)), "add  shape = [1, 2, 1]")


def test_types(tmp_path: Path, save: Any) -> None:
    save({"a": [1, 0], "b": [0, 1]})
    for dtype in ("int64", "uint8", "bool", "float64", "float16"):
        sample = open_dataset(tmp_path, model(x=("N", 2), dtype=dtype)).sample(0)["x"]
        assert sample.dtype == dtype and sample.tolist() == [1, 0]


def test_integers_stay_what_they_are(tmp_path: Path, save: Any) -> None:
    save({"x": [2**53 + 1, 3]})
    integers = model(x=("N", 1), dtype="int64")
    assert values(open_dataset(tmp_path, integers)) == [[2**53 + 1], [3]]
    refused(tmp_path, model(x=("N", 1), dtype="int32"), "iris", "does not fit")


def test_whole_floats_for_integers_and_no_others(tmp_path: Path, kind: str, save: Any) -> None:
    integers = model(x=("N", 1), dtype="int64")
    save({"x": [5.0, 6.0]})
    assert values(open_dataset(tmp_path, integers)) == [[5], [6]]
    save({"x": [5.0, 6.5]})
    refused(tmp_path, integers, f"iris.{kind}[1]", 'column "x" is 6.5', "wants int64")
