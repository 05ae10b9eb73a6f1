"""What a reader is asked, and what it answers: the stored arrays of each model input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from qtool.data.declaration import Declaration, InputDeclaration
from qtool.data.files import File, listed, printable
from qtool.errors import DataError
from qtool.signature import TensorSpec


@dataclass(frozen=True, eq=False)
class Column:
    """The stored arrays of one input in the order of the samples, before any preprocessing."""

    names: tuple[str, ...]
    files: tuple[File, ...]  # the file that each sample lies in
    read: Callable[[int], NDArray[Any]]  # raises DataError naming the file
    layout: str | None = None  # of what `read` gives, where the reader knows it

    def take(self, rows: Sequence[int]) -> Column:
        """The same column with only these samples, in this order."""
        names, files = tuple(self.names[r] for r in rows), tuple(self.files[r] for r in rows)
        return Column(names, files, lambda index: self.read(rows[index]), self.layout)


@dataclass(frozen=True)
class Request:
    """Files of one format, and the model inputs that they should feed."""

    where: str  # the folder, as it is shown in messages
    files: tuple[File, ...]
    inputs: tuple[TensorSpec, ...]
    declaration: Declaration
    prefix: str = ""  # of the files' names, where the input has a folder of its own

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


@dataclass(frozen=True)
class Reader:
    """One data format: its suffixes, the declared keys that mean something to it, its function."""

    suffixes: frozenset[str]
    open: Callable[[Request], Found]
    keys: frozenset[str] = field(default_factory=frozenset)


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
    names = tuple(f"{file.name}[{index}]" for index in range(count))
    return Column(names, (file,) * count, read)
