"""The .jsonl reader: one object a line. https://jsonlines.org"""

from __future__ import annotations

import json
from array import array
from typing import Any

from qtool.data.cells import quoted
from qtool.data.column import Found, Request
from qtool.data.files import File, listed, printable
from qtool.data.lines import BOM, Pieces, decoded, lines_of
from qtool.data.rows import Table
from qtool.data.table import open_table
from qtool.errors import DataError


def open_jsonl(request: Request) -> Found:
    """Objects in .jsonl files; their keys are the columns."""
    return open_table(request, JsonTable)


class JsonTable(Table):
    """One .jsonl file: the places of its lines. The first object says what the columns are."""

    def __init__(self, file: File) -> None:
        starts, used = array("q", [0]), 1  # blank lines at the end are not
        with file.open() as stream:
            for line in lines_of(stream):
                starts.append(starts[-1] + len(line))
                used = used if line.isspace() else len(starts)
            stream.seek(0)
            starts[0] = len(BOM) if stream.read(len(BOM)) == BOM else 0
        del starts[used:]
        self._lines = Pieces(file, starts)
        self._last: tuple[int, dict[str, Any]] = (-1, {})
        first = self._first(file)
        nested = frozenset(key for key, value in first.items() if isinstance(value, list))
        super().__init__(file, list(first), nested)

    def __len__(self) -> int:
        return len(self._lines)

    def value(self, row: int, column: str) -> Any:
        """The value under a key. ValueError where the line is no object, or has no such key."""
        last = self._last
        if last[0] != row:
            self._last = last = row, self._object(row)
        if column not in last[1]:
            raise ValueError(f"it has no key {quoted(column)}, only {listed(last[1])}")
        return last[1][column]

    def where(self, row: int) -> str:
        """The line."""
        return f"line {row + 1}"

    def _first(self, file: File) -> dict[str, Any]:
        problem = ValueError("it is empty")
        for row in range(len(self._lines)):  # a bad line may be left out
            try:
                return self._object(row)
            except ValueError as error:
                problem = error if row == 0 else problem
        why = f"line 1: {problem}" if len(self._lines) else str(problem)
        fix = 'write one object a line, such as  {"x": [1, 2], "label": 0}'
        raise DataError(f"cannot use {printable(file.path)}", why, fix)

    def _object(self, row: int) -> dict[str, Any]:
        text = decoded(self._lines.read(row))
        if not text.strip():
            raise ValueError("the line is empty")
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"it is no JSON: {error.msg} (column {error.colno})") from error
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        if not isinstance(found, dict):
            raise ValueError(f"it is {quoted(text.strip())}, and no object")
        return found
