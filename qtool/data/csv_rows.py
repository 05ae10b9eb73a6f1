"""The .csv reader: UTF-8 with a header, quoted as RFC 4180 says, decimal points.

https://www.rfc-editor.org/rfc/rfc4180
"""

from __future__ import annotations

import csv
import io
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

from qtool.data.cells import number, quoted
from qtool.data.column import Found, Request
from qtool.data.files import File, printable, repeated
from qtool.data.lines import BOM, Pieces, decoded, lines_of
from qtool.data.rows import Table
from qtool.data.table import open_table
from qtool.errors import DataError

DELIMITERS = {";": ";", "\t": "\\t", "|": "|"}  # instead of commas, as TOML writes them

# What the csv module says -> what is the matter.
REASONS = {
    "field larger than": "a cell is longer than 131,072 characters: is a quote left open?",
    "unexpected end": "a quote is opened and not closed",
    "expected after": "something stands behind a closing quote (in a cell it is written twice)",
    "new-line character": "a carriage return stands alone: lines end with \\n or \\r\\n",
}


def open_csv(request: Request) -> Found:
    """Rows of .csv files, under the names in their first lines."""
    return open_table(request, lambda file: CsvTable(file, request.declaration.delimiter))


class CsvTable(Table):
    """One .csv file: the places of its rows, each of which is parsed when it is asked for."""

    parses = True

    def __init__(self, file: File, delimiter: str | None = None) -> None:
        self._delimiter = delimiter or ","
        self._continued = array("q")  # the number of a record, once for each line after its first
        with file.open() as stream:
            self._records = Pieces(file, self._find_records(stream))
        super().__init__(file, self._header(file, delimiter))
        self._places = {name: place for place, name in enumerate(self.columns)}
        self._last: tuple[int, list[str]] = (-1, [])

    def __len__(self) -> int:
        return len(self._records) - 1

    def value(self, row: int, column: str) -> str:
        """The cell as it is written. ValueError where the row is no row of this table."""
        last = self._last
        if last[0] != row:
            self._last = last = row, self._row(row)
        return last[1][self._places[column]]

    def where(self, row: int) -> str:
        """The line that the row begins in."""
        return f"line {2 + row + bisect_left(self._continued, 1 + row)}"

    def _find_records(self, stream: IO[bytes]) -> array[int]:
        start = len(BOM) if stream.read(len(BOM)) == BOM else 0
        stream.seek(start)
        end, blank = start, False

        # No byte of a UTF-8 character is a quote or an end of line, so this need not decode.
        def lines() -> Iterator[str]:
            nonlocal end, blank
            for line in lines_of(stream):
                end, blank = end + len(line), line.isspace()
                yield line.decode("latin-1")

        starts = array("q", [start])
        used = 1  # blank lines at the end are not
        reader = csv.reader(lines(), delimiter=self._delimiter, strict=True)
        while True:
            before = reader.line_num
            try:
                next(reader)
            except csv.Error:  # told of when the row is read
                pass
            except StopIteration:
                break
            continued = reader.line_num - before - 1
            self._continued.extend([len(starts) - 1] * continued)
            starts.append(end)
            used = len(starts) if continued or not blank else used
        del starts[used:]
        return starts

    def _cells(self, record: int) -> list[str]:
        text = decoded(self._records.read(record))
        lines = io.StringIO(text, newline="\n")
        try:
            return next(csv.reader(lines, delimiter=self._delimiter, strict=True), [])
        except csv.Error as error:
            known = (reason for start, reason in REASONS.items() if start in str(error))
            raise ValueError(next(known, str(error))) from error

    def _row(self, row: int) -> list[str]:
        cells = self._cells(row + 1)
        if not cells:
            raise ValueError("the line is empty")
        if len(cells) != len(self.columns):
            raise ValueError(f"it has {len(cells)} cells, and the header has {len(self.columns)}")
        return cells

    def _header(self, file: File, declared: str | None) -> list[str]:
        try:
            names = [name.strip() for name in self._cells(0)] if len(self._records) else []
        except ValueError as error:
            raise _bad_header(file, str(error), "mend the first line") from error
        if not any(names):
            raise _bad_header(file, "it has none", "write the columns' names into the first line")
        if all(_is_number(name) for name in names):
            why = f"the first line holds numbers: {', '.join(map(quoted, names[:5]))}"
            raise _bad_header(file, why, "add a line with the columns' names")
        other = next((found for found in DELIMITERS if found in names[0]), None)
        if len(names) == 1 and other and not declared:
            why = f"it is one cell, {quoted(names[0])}"
            fix = f'add  delimiter = "{DELIMITERS[other]}"  under [data] in qtool.toml'
            raise _bad_header(file, why, fix)
        if "" in names:
            fix = "name it, or leave it out (pandas writes its index so: index=False)"
            raise _bad_header(file, f"column {names.index('') + 1} has no name", fix)
        if twice := repeated(names):
            raise _bad_header(file, f"two columns are called {quoted(twice)}", "rename one")
        return names


def _is_number(cell: str) -> bool:
    with suppress(ValueError):
        number(cell)
        return True
    return False


def _bad_header(file: File, why: str, fix: str) -> DataError:
    return DataError(f"cannot use the header of {printable(file.path)}", why, fix)
