"""The same rows as .csv, .jsonl and .parquet, and what is fed of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from qtool.data import Dataset
from tests.data.folders import model

Columns = Mapping[str, Sequence[Any]]
X = model(x=("N", 2))
AB: Columns = {"a": [0.5, 1.5, 2.5, 3.5, 4.5], "b": [10, 11, 12, 13, 14]}


def save_csv(path: Path, columns: Columns) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def save_jsonl(path: Path, columns: Columns) -> None:
    rows = zip(*columns.values(), strict=True)
    lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def save_parquet(path: Path, columns: Columns, rows: int = 2) -> None:
    """In row groups of so many rows."""
    table = pyarrow.table(dict(columns))
    pyarrow.parquet.write_table(table, path, row_group_size=rows)


def values(data: Dataset, name: str = "x") -> list[Any]:
    return [data.sample(index)[name].tolist() for index in range(len(data))]


SAVE = {"csv": save_csv, "jsonl": save_jsonl, "parquet": save_parquet}
