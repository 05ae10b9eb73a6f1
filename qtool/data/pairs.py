"""pairs.csv: how alike two samples are, for models that give embeddings."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qtool.data.cells import number, quoted
from qtool.data.files import File, printable, raise_all
from qtool.errors import DataError, did_you_mean

FILE = "pairs.csv"
HEADER = ("first", "second", "score")

_NEAR = 1000  # names that are looked through for one that was meant


@dataclass(frozen=True)
class Pairs:
    """Row `first[i]` of a dataset and row `second[i]` are alike by `scores[i]`, finite numbers."""

    first: NDArray[np.int64]  # (m,)
    second: NDArray[np.int64]  # (m,)
    scores: NDArray[np.float64]  # (m,)
    left_out: int = 0  # pairs with a sample that is not in the dataset

    def among(self, rows: Sequence[int], total: int) -> Pairs:
        """The pairs whose samples are both among these rows of `total`, by their places there."""
        places = np.full(total, -1)
        places[np.asarray(rows, np.int64)] = np.arange(len(rows))
        first, second = places[self.first], places[self.second]
        kept = (first >= 0) & (second >= 0)
        return Pairs(first[kept], second[kept], self.scores[kept], len(kept) - int(kept.sum()))


def called(names: Sequence[str], keys: Sequence[str]) -> dict[str, int | None]:
    """Name -> row of each sample, and key -> row where none has that name; None of several."""
    rows: list[dict[str, int | None]] = [{}, {}]
    for found, words in zip(rows, (keys, names), strict=True):
        for row, word in enumerate(words):
            found[word] = None if word in found else row
    return rows[0] | rows[1]


def read_pairs(file: File, rows: Mapping[str, int | None], count: int) -> Pairs:
    """The file with the header `first,second,score`; samples by name (see `called`), or number.

    DataError names the lines that cannot be used, and says where it is in doubt what a number is.
    """
    rows_of: list[tuple[int, int]] = []
    scores: list[float] = []
    problems: list[DataError] = []
    finder = _Finder(rows, count)
    with file.open() as stream, io.TextIOWrapper(stream, "utf-8-sig", newline="") as text:
        reader = csv.DictReader(text, strict=True)
        if not set(HEADER) <= set(reader.fieldnames or ()):
            found = ",".join(reader.fieldnames or ())
            raise DataError(
                f"cannot use the header of {printable(file.path)}",
                f"its first line is {quoted(found)}, and must be {','.join(HEADER)}",
                "a table of samples that is called so needs another name",
            )
        for line in reader:
            try:
                if None in line:
                    raise ValueError("it has more cells than the header")
                pair = finder.row(line["first"]), finder.row(line["second"])
                scores.append(_score(line["score"]))
                rows_of.append(pair)
            except ValueError as error:
                what = f"cannot use line {reader.line_num} of {file.name}"
                problems.append(DataError(what, str(error), "" if problems else finder.advice()))
    raise_all(problems, len(scores) + len(problems), "pairs")
    finder.check(file)
    if not scores:
        raise DataError(f"{printable(file.path)} holds no pairs", "it ends after the header")
    first, second = np.array(rows_of, np.int64).T
    return Pairs(first, second, np.array(scores, np.float64))


class _Finder:
    """The row of a sample from what a cell calls it."""

    def __init__(self, rows: Mapping[str, int | None], count: int) -> None:
        self._rows = rows
        self._count = count
        self._unknown = ""  # the last, where it was not found
        self._name = self._number = ""  # the last digits that were a name, and that were none

    def row(self, cell: str | None) -> int:
        """ValueError where no sample is called so, or several are."""
        name = self._unknown = printable((cell or "").strip())
        digits = re.fullmatch("[0-9]{1,18}", name)
        if name in self._rows:
            row = self._rows[name]
            if row is None:
                raise ValueError(f"several samples are called {quoted(name)}")
            self._name = name if digits else self._name
        elif digits and int(name) < self._count:
            row, self._number = int(name), name
        else:
            numbers = f", and their numbers are 0 to {self._count - 1}" if digits else ""
            raise ValueError(f"no sample is called {quoted(name)}{numbers}")
        self._unknown = ""
        return row

    def advice(self) -> str:
        """How to mend the line of what was asked for last."""
        if not self._unknown:
            return "mend the line; names that hold commas stand in quotes"
        names = [name for name, row in self._rows.items() if row is not None][:_NEAR]
        known = f'call samples what  qtool data  calls them, such as "{names[-1]}"'
        return did_you_mean(self._unknown, names) or known

    def check(self, file: File) -> None:
        """DataError where some numbers were names, and some were not: they would count apart."""
        if self._name and self._number:
            raise DataError(
                f"what the numbers in {printable(file.path)} are is in doubt",
                f'"{self._name}" is the name of a sample, and "{self._number}" is none',
                "write names in all lines",
            )


def _score(cell: str | None) -> float:
    try:
        value = number(cell or "")
    except ValueError as error:
        raise ValueError(f"score {error}") from error
    if isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"score is {quoted(cell)}, which is not a finite number")
    return float(value)
