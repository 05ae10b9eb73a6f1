"""What a reader is asked, and what it answers: the stored arrays of each model input."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Generic, TypeVar, overload

from numpy.typing import NDArray

from qtool.data.declaration import Declaration, InputDeclaration
from qtool.data.files import File, listed, printable
from qtool.errors import DataError
from qtool.signature import TensorSpec

T = TypeVar("T")


class Lazy(Sequence[T], Generic[T]):
    """`make(0)`, `make(1)` … `make(count - 1)`, none of them held: sets may have many rows."""

    def __init__(self, count: int, make: Callable[[int], T]) -> None:
        self._count = count
        self._make = make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...

    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        if isinstance(index, slice):
            return tuple(self._make(number) for number in range(self._count)[index])
        return self._make(range(self._count)[index])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lazy | tuple | list) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # as a list's

    def __repr__(self) -> str:
        return repr(tuple(self))


@dataclass(frozen=True, eq=False)
class Column:
    """The stored arrays of one input in the order of the samples, before any preprocessing."""

    names: Sequence[str]
    files: Sequence[File]  # the file that each sample lies in
    read: Callable[[int], NDArray[Any]]  # raises DataError naming the file
    layout: str | None = None  # of what `read` gives, where the reader knows it
    text: Callable[[int], str] | None = None  # what a person would read there, where it is text

    def take(self, rows: Sequence[int]) -> Column:
        """The same column with only these samples, in this order."""
        kept = array("q", rows)
        text = self.text
        return Column(
            Lazy(len(kept), lambda index: self.names[kept[index]]),
            Lazy(len(kept), lambda index: self.files[kept[index]]),
            lambda index: self.read(kept[index]),
            self.layout,
            text and (lambda index: text(kept[index])),
        )


@dataclass(frozen=True)
class Request:
    """Files of one format, and the model inputs that they should feed."""

    where: str  # the folder, as it is shown in messages
    files: tuple[File, ...]
    inputs: tuple[TensorSpec, ...]
    declaration: Declaration
    prefix: str = ""  # of the files' names, where the input has a folder of its own
    skip: bool = False  # bad samples, to be left out once they are known

    def declared(self, spec: TensorSpec) -> InputDeclaration:
        return self.declaration.input(spec.name)

    def chosen(self, spec: TensorSpec) -> str | None:
        """What `from` names within these files; where it named their folder, nothing more."""
        return None if self.prefix else self.declared(spec).source

    def source(self, spec: TensorSpec) -> str:
        return self.chosen(spec) or spec.name

    def one_input(self) -> TensorSpec:
        """The only input. DataError where the model has several."""
        if len(self.inputs) == 1:
            return self.inputs[0]
        names = [spec.name for spec in self.inputs]
        raise DataError(
            f"{self.where} feeds one input, and the model has {len(names)}",
            f"the inputs are {listed(names)}",
            f"make one folder for each input ({listed(f'{name}/' for name in names)}), "
            "with the same file names in each",
        )


@dataclass(frozen=True)
class Found:
    """What a reader made of a request: a column for each input, and labels where it met them."""

    columns: dict[str, Column]
    labels: Column | None = None
    unit: str = "files"
    classes: Callable[[], tuple[str, ...] | None] | None = None  # finds the names of the classes


@dataclass(frozen=True)
class Reader:
    """One data format: its suffixes, the declared keys that mean something to it, its function."""

    suffixes: frozenset[str]
    open: Callable[[Request], Found]
    keys: frozenset[str] = field(default_factory=frozenset)  # under [data.inputs.NAME]
    set_keys: frozenset[str] = field(default_factory=frozenset)  # under [data]
    rows: bool = False  # whether its samples are rows: these may hold texts and strings


def one_per_file(
    files: Sequence[File], read: Callable[[File], NDArray[Any]], layout: str | None = None
) -> Column:
    """A column where every file is a sample."""
    names = tuple(file.name for file in files)
    return Column(names, tuple(files), lambda index: read(files[index]), layout)


def many_in_one(file: File, count: int, read: Callable[[int], NDArray[Any]]) -> Column:
    """A column whose samples all lie in one file. DataError where there are none."""
    if not count:
        raise DataError(
            f"{printable(file.path)} holds no samples", "its first axis is 0", "add samples"
        )
    names = Lazy(count, lambda index: f"{file.name}[{index}]")
    return Column(names, Lazy(count, lambda _: file), read)


def one_behind_other(columns: Sequence[Column]) -> Column:
    """The samples of several columns as one."""
    ends = list(accumulate(len(column.names) for column in columns))

    def at(index: int) -> tuple[Column, int]:
        number = bisect_right(ends, index)
        return columns[number], index - (ends[number - 1] if number else 0)

    def name(index: int) -> str:
        column, row = at(index)
        return column.names[row]

    def file(index: int) -> File:
        column, row = at(index)
        return column.files[row]

    def read(index: int) -> NDArray[Any]:
        column, row = at(index)
        return column.read(row)

    return Column(Lazy(ends[-1], name), Lazy(ends[-1], file), read, columns[0].layout)
