"""Tables: files of rows, where a row is a sample, and several of them read as one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, TypeVar

from qtool.data.column import Lazy
from qtool.data.files import File, printable
from qtool.errors import DataError

T = TypeVar("T")


class Table(ABC):
    """One file: the names of its columns, and the value in a row and column when asked."""

    parses = False  # whether numbers are written as strings, as in CSV

    def __init__(
        self, file: File, columns: Sequence[str], nested: frozenset[str] = frozenset()
    ) -> None:
        self.file = file
        self.columns = tuple(columns)
        self.nested = nested  # the columns that hold lists

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def value(self, row: int, column: str) -> Any:
        """What stands there. ValueError says what is wrong with the row; DataError, the file."""

    def where(self, row: int) -> str:
        """Where to look in the file, "line 7"; nothing where a row's number says it."""
        return ""

    def name(self, row: int) -> str:
        """The name of the sample."""
        return f"{self.file.name}[{row}]"


class Unreadable(Table):
    """A file that cannot be read, as one bad sample: it can be left out by its name."""

    def __init__(self, file: File, error: DataError) -> None:
        super().__init__(file, ())
        self.error = error

    def __len__(self) -> int:
        return 1

    def value(self, row: int, column: str) -> Any:
        """Always raises the DataError."""
        raise self.error

    def name(self, row: int) -> str:
        """The file's."""
        return self.file.name


class Rows:
    """The rows of several tables, one table after the other."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tables = tables
        self._ends = list(accumulate(len(table) for table in tables))
        self.names = Lazy(len(self), lambda index: self._call(index, lambda t, row: t.name(row)))
        self.files = Lazy(len(self), lambda index: self._call(index, lambda t, _: t.file))

    def __len__(self) -> int:
        return self._ends[-1]

    def read(self, index: int, make: Callable[[Table, int], T]) -> T:
        """`make(table, row)`; a ValueError becomes a DataError that names file, row and line."""
        try:
            return self._call(index, make)
        except ValueError as error:
            fix = "mend the row, or pass --on-bad-file skip"
            raise DataError(f"cannot use {self._call(index, shown)}", str(error), fix) from error

    def _call(self, index: int, make: Callable[[Table, int], T]) -> T:
        number = bisect_right(self._ends, index)
        return make(self.tables[number], index - (self._ends[number - 1] if number else 0))


def shown(table: Table, row: int) -> str:
    """A row as it stands in messages: its path, number and line."""
    where = table.where(row)
    return f"{printable(table.file.path)}[{row}]" + (f" ({where})" if where else "")
