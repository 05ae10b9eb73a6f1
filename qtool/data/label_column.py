"""The labels in a column of a table: classes, their names, or numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.data.cells import COMMA, number, quoted
from qtool.data.column import Column, Request
from qtool.data.files import listed
from qtool.data.rows import Rows, Table, shown
from qtool.errors import DataError, did_you_mean

NAMES = frozenset({"label", "labels", "target", "y"})

# More different words than this are texts, and no names of classes.
MOST = 100_000


def find_label(request: Request, columns: Sequence[str], fed: frozenset[str]) -> str | None:
    """The column of the labels: the declared one, or the one of `NAMES` that feeds no input.

    DataError where the declared one is not there, or where there are several.
    """
    declared = request.declaration.label
    if declared is not None:
        # Of several folders, one for each input, one has the labels.
        if declared in columns or request.prefix:
            return declared if declared in columns else None
        raise DataError(
            f"{request.where} has no column {quoted(declared)}, which  label  under [data] names",
            f"the columns are {listed(columns)}",
            did_you_mean(declared, columns) or "mend  label  under [data] in qtool.toml",
        )
    found = [name for name in columns if name.lower() in NAMES and name not in fed]
    if len(found) > 1:
        raise DataError(
            f"{request.where} has several columns that may be the labels",
            f"they are {listed(found)}",
            f'add  label = "{found[0]}"  under [data] in qtool.toml',
        )
    return found[0] if found else None


def label_of(value: Any) -> int | float | str:
    """A class, a number, or the name of a class. ValueError where it is none of these."""
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in ("true", "false"):
            return text
        try:
            value = number(text)
        except ValueError:
            if not text or COMMA.fullmatch(text):
                raise
            return text
    if isinstance(value, int) and abs(value) < 2**63:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ValueError("is null" if value is None else f"is {quoted(value)}, which is no label")


class LabelColumn:
    """One column of all rows. What it holds is found out when a label is asked for."""

    def __init__(self, rows: Rows, name: str) -> None:
        self.rows = rows
        self.name = name
        self.column = Column(rows.names, rows.files, self._read)

    def value(self, table: Table, row: int) -> int | float | str:
        """The label in one row. ValueError names the column."""
        found = table.value(row, self.name)
        try:
            return label_of(found)
        except ValueError as error:
            raise ValueError(f"column {quoted(self.name)} {error}") from error

    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes, sorted; None where labels are numbers.

        Reads the column once. DataError where numbers and words are mixed: there a missing value
        that is written as a word would move all classes.
        """
        names = self._found[1]
        return tuple(names) if names else None

    @cached_property
    def _found(self) -> tuple[type, dict[str, int]]:
        first: dict[type, str] = {}
        words: set[str] = set()
        for index in range(len(self.rows)):
            with suppress(DataError):  # a bad row is told of, or left out, when it is read
                value = self.rows.read(index, self.value)
                if type(value) not in first:
                    first[type(value)] = self.rows.read(index, shown)
                if isinstance(value, str) and len(words) <= MOST:
                    words.add(value)
        if str in first and len(first) > 1:
            other = next(place for kind, place in first.items() if kind is not str)
            raise DataError(
                f"the labels in column {quoted(self.name)} are numbers and words",
                f"a number stands in {other}, a word in {first[str]}",
                "mend the words, or take these rows away; names of classes are words in all rows",
            )
        if len(words) > MOST:
            raise DataError(
                f"column {quoted(self.name)} cannot be labels",
                f"it has over {MOST:,} different words",
                'name the column of the labels:  label = "…"  under [data] in qtool.toml',
            )
        kind = str if words else float if float in first else int
        return kind, {name: index for index, name in enumerate(sorted(words))}

    def _read(self, index: int) -> NDArray[Any]:
        kind, classes = self._found
        value = self.rows.read(index, self.value)
        return np.array(classes[value] if isinstance(value, str) else kind(value))
