"""The same rows as .csv, .jsonl and .parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

Columns = Mapping[str, Sequence[Any]]


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


SAVE = {"csv": save_csv, "jsonl": save_jsonl, "parquet": save_parquet}
