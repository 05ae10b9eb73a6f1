"""What lies beside the samples for `compare` alone: pairs.csv and annotations.json."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from qtool.data import annotations as coco
from qtool.data import pairs as alike
from qtool.data.column import Column
from qtool.data.declaration import Declaration
from qtool.data.files import File, listed, printable
from qtool.errors import DataError, did_you_mean
from qtool.signature import Signature

FILES = (alike.FILE, coco.FILE)


@dataclass(frozen=True, eq=False)
class Beside:
    """The files, all samples that there were to choose from, and the `rows` of those chosen."""

    files: Mapping[str, File]
    column: Column  # of all samples
    prefix: str  # of their files' names, where the input has a folder of its own
    rows: Sequence[int]

    @classmethod
    def of(cls, files: Sequence[File], column: Column, prefix: str) -> Beside | None:
        """None where none of the files is one of `FILES`. Nothing is read yet."""
        found = {file.name: file for file in files if file.name in FILES}
        return cls(found, column, prefix, range(len(column.names))) if found else None

    def take(self, rows: Sequence[int]) -> Beside:
        """The same for these of the rows, in this order."""
        return replace(self, rows=array("q", (self.rows[row] for row in rows)))

    def pairs(self) -> alike.Pairs | None:
        """Reads pairs.csv, where there is one. DataError as `read_pairs`."""
        if (file := self.files.get(alike.FILE)) is None:
            return None
        names, keys = self._called
        found = alike.read_pairs(file, alike.called(names, keys), len(names))
        return found.among(self.rows, len(names))

    def annotations(self) -> coco.Annotations | None:
        """Reads annotations.json, where there is one. DataError as `read_annotations`."""
        if (file := self.files.get(coco.FILE)) is None:
            return None
        found = coco.read_annotations(file, *self._called, self.column.files)
        return found.among(self.rows)

    @property
    def _called(self) -> tuple[list[str], list[str]]:
        """The name of each sample, and that of its file without suffix."""
        keys = [file.key(self.prefix) for file in self.column.files]
        return list(self.column.names), keys


def check_judged(signature: Signature, declaration: Declaration) -> None:
    """Refuse what `compare` is told of inputs and outputs that the model does not have.

    Raises:
        DataError: with the closest name.
    """
    inputs = {spec.name: spec for spec in signature.inputs}
    for key, name in (("next_token", declaration.next_token), ("mask", declaration.mask)):
        if name is not None and name not in inputs:
            raise _no(f'{key} = "{printable(name)}"  under [data]', name, "input", inputs)
    token = declaration.next_token
    if token is not None and "int" not in inputs[token].dtype:
        raise DataError(
            f'"{token}", which  next_token  under [data] in qtool.toml names, holds no tokens',
            f"it is {inputs[token]}, and tokens are integers",
            "name the input that takes them",
        )
    outputs = [spec.name for spec in signature.outputs]
    for key, name in declaration.detections.named.items():
        if name not in outputs:
            where = f'{key} = "{printable(name)}"  under [data.detections]'
            raise _no(where, name, "output", outputs)


def _no(where: str, name: str, kind: str, known: Sequence[str] | Mapping[str, object]) -> DataError:
    return DataError(
        f"{where} in qtool.toml names no {kind} of the model",
        f"the {kind}s are {listed(known)}",
        did_you_mean(name, known) or "mend the name, or take it away",
    )
