"""Where labels come from: labels.csv, labels.npy, or class folders (and what readers meet)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.data import npy
from qtool.data.column import Column
from qtool.data.files import File, printable, raise_all, repeated
from qtool.data.sequences import disordered
from qtool.errors import DataError

FILES = ("labels.csv", "labels.npy")

# Kind of the first label's dtype -> those that may stand beside it in arrays, and their name.
_ARRAYS = {"f": ("f", "floats"), "i": ("iu", "integers"), "u": ("iu", "integers")}


@dataclass(frozen=True)
class Labels:
    """A label for each sample, the file they come from (None for folders), and class names."""

    column: Column
    named: tuple[str, ...] | None = None
    file: File | None = None
    find: Callable[[], tuple[str, ...] | None] | None = None  # names that take a look at all rows

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names in the order of the labels; None where labels are numbers."""
        return self.find() if self.find else self.named


def given(path: Path) -> File:
    """A file of labels that lies anywhere.

    Raises:
        DataError: there is none, or it is of another kind.
    """
    if path.suffix.lower() not in (".csv", ".npy"):
        raise DataError(
            f"{printable(path)} holds no labels",
            "labels are a .csv of the columns file and label, or a .npy of one for each sample",
        )
    if not path.is_file():
        raise DataError(f"{printable(path)} does not exist", fix="give another file of labels")
    return File(path, path.name)


def as_labels(values: Sequence[NDArray[Any]], names: Sequence[str]) -> NDArray[Any]:
    """int64 (n,) for class indices, float64 (n,) for regression, or arrays of one shape.

    Floats of more than one number each are targets: float32 (n, …), float64 where any is. Integers
    are the class at each place (a token, a pixel): int64 (n, …), where a negative one, such as
    PyTorch's -100, leaves its place out of the score. DataError where it is nothing of all this.
    """
    kind = values[0].dtype.kind if len(values) > 0 and values[0].size > 1 else ""
    kinds, word = _ARRAYS.get(kind, ("biuf", ""))
    shape = values[0].shape if word else None
    for value, name in zip(values, names, strict=True):
        fits = value.shape == shape if word else value.size == 1
        why = ""
        if not fits or value.dtype.kind not in kinds:
            why = f"got {value.dtype} {value.shape}; a label is one class index or one number"
            if word:
                why = f"got {value.dtype} {value.shape}; the first label is of {word} {shape}"
        elif not np.isfinite(value).all():
            why = "it holds NaN or infinity"
        elif value.dtype.kind == "u" and value.max() > np.iinfo(np.int64).max:  # it would wrap
            why = f"it holds {value.max()}, which is beyond int64"
        if why:
            fix = "store one number each, or finite floats or integers of one shape"
            raise DataError(f"the label of {name} cannot be used", why, fix)
    if kinds == "f":
        return np.stack(values, dtype=np.result_type(np.float32, *{v.dtype for v in values}))
    if word:
        return np.stack(values, dtype=np.int64)
    array = np.array([value.reshape(()) for value in values])
    return array.astype(np.float64 if array.dtype.kind == "f" else np.int64)


def from_npy(file: File, column: Column) -> Labels:
    """labels.npy, aligned with the samples' order. DataError where that order is in doubt."""
    with file.open() as stream:
        values = npy.read_array(stream, file.path.stat().st_size)
    if values.ndim == 0 or len(values) != len(column.names):
        raise DataError(
            f"{printable(file.path)} does not belong to the samples",
            f"it has shape {values.shape}, and there are {len(column.names)} samples",
            "give it one label per sample, in the order of their names",
        )
    if names := disordered(column.files):
        first, second = names
        raise DataError(
            f"the order of {printable(file.path)} is in doubt",
            f"{second} comes before {first} by name, and after it by number",
            "pad the numbers in file names with zeros, or write labels.csv (file,label)",
        )
    return Labels(_column(column, list(values)), file=file)


def from_csv(file: File, column: Column, keys: Sequence[str]) -> Labels:
    """labels.csv with the header `file,label`; numbers, or class names (sorted: 0, 1, 2 …)."""
    with file.open() as stream, io.TextIOWrapper(stream, "utf-8-sig", newline="") as text:
        reader = csv.DictReader(text, strict=True)
        if not {"file", "label"} <= set(reader.fieldnames or ()):
            raise ValueError(f"its first line is {reader.fieldnames}, and must be file,label")
        rows = [(printable(row["file"] or ""), (row["label"] or "").strip()) for row in reader]
    table = dict(rows)
    texts, problems = [], []
    if twice := repeated(name for name, _ in rows):
        problems.append(DataError(f"{file.name} names {twice} twice", fix="take one line away"))
    for name, key in zip(column.names, keys, strict=True):
        texts.append(table.get(name) or table.get(key) or "")
        if not texts[-1]:
            fix = f"add the line  {name},LABEL"
            problems.append(DataError(f"{file.name} has no label for {name}", fix=fix))
    raise_all(problems, len(texts))

    for number in (int, float):
        try:
            return Labels(_column(column, [np.array(number(t)) for t in texts]), file=file)
        except (ValueError, OverflowError):
            continue
    classes = tuple(sorted(set(texts)))
    index = {name: np.array(number) for number, name in enumerate(classes)}
    return Labels(_column(column, [index[t] for t in texts]), classes, file)


def from_folders(column: Column, keys: Sequence[str]) -> Labels | None:
    """Class folders: every file one folder deep, in two folders or more, or all named by integers.

    Sorted names are the classes 0, 1, 2 …; where all are integers, these are the labels.
    """
    parts = [key.split("/") for key in keys]
    names = sorted({part[0] for part in parts})
    if any(len(part) != 2 for part in parts):
        return None
    if all(re.fullmatch("[0-9]{1,18}", name) for name in names):
        numbers = sorted({int(name) for name in names})
        dense = numbers == list(range(len(names)))
        # classes[label] must be the label's name, so there are no names where integers are left out
        classes = tuple(sorted(names, key=int)) if dense else None
        return Labels(_column(column, [np.array(int(part[0])) for part in parts]), classes)
    if len(names) == 1:  # `images/`, more likely than a single class
        return None
    index = {name: np.array(number) for number, name in enumerate(names)}
    return Labels(_column(column, [index[part[0]] for part in parts]), tuple(names))


def _column(column: Column, values: Sequence[Any]) -> Column:
    return Column(column.names, column.files, lambda index: np.asarray(values[index]))
