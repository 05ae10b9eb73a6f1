"""A data folder as a sequence of samples, read one at a time."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.data.column import Column
from qtool.data.declaration import Declaration
from qtool.data.fed import Fed, Sample, watch
from qtool.data.files import File, printable, raise_all
from qtool.data.labels import Labels, as_labels
from qtool.data.prepare import Prepare
from qtool.errors import DataError, UsageError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples sorted by name; sample i is {input name: array without batch axis}, ready to feed."""

    path: Path
    columns: Mapping[str, Column] = field(repr=False)  # by model input, all of the same length
    prepare: Mapping[str, Prepare] = field(repr=False)
    declaration: Declaration = field(repr=False)
    label_source: Labels | None = field(default=None, repr=False)
    unit: str = "files"
    total: int = 0  # samples there were before any were chosen
    seed: int | None = None  # of the choice
    skipped: tuple[str, ...] = ()  # names of bad samples left out, with on_bad_file="skip"

    @property
    def names(self) -> Sequence[str]:
        """One per sample, relative to the folder: "0/0007.png", "images.npy[7]"; printable."""
        return next(iter(self.columns.values())).names

    @property
    def classes(self) -> tuple[str, ...] | None:
        """classes[label] is the class's name, where folders, labels.csv or a column do."""
        return self.label_source.classes if self.label_source else None

    @cached_property
    def labels(self) -> NDArray[Any] | None:
        """int64 (n,) class indices, float64 (n,) or float (n, …), as `names`; else DataError."""
        if self.label_source is None:
            return None
        column = self.label_source.column
        return as_labels([column.read(i) for i in range(len(self))], column.names)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over what can change what is fed: names, bytes of the files, the declaration.

        It reads every file of these samples once, and does not depend on where the folder is.
        """
        digest = hashlib.sha256(self.declaration.model_dump_json(exclude_defaults=True).encode())
        for name in self.names:
            digest.update(f"\n{name}".encode())
        for file in self._files():
            with file.open() as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
            digest.update(f"\n{content} {file.name}".encode())
        return digest.hexdigest()

    def _files(self) -> list[File]:
        files = {file for column in self.columns.values() for file in column.files}
        for declared in self.declaration.inputs.values():
            files |= {
                self.declaration.file(n) for n in (declared.vocabulary, declared.tokenizer) if n
            }
        if self.label_source and self.label_source.file:
            files.add(self.label_source.file)
        return sorted(files, key=lambda file: (file.name, str(file.path)))

    def __len__(self) -> int:
        return len(self.names)

    def sample(self, index: int) -> Sample:
        """Reads one sample. DataError names the file that cannot be read or does not fit."""
        sample = {}
        for name, column in self.columns.items():
            folder = self.path if self.path.is_dir() else self.path.parent
            shown = printable(folder / column.names[index])
            sample[name] = self.prepare[name](column.read(index), shown)
        return sample

    def choose(self, samples: int | None, seed: int) -> Dataset:
        """A choice without replacement that depends only on names and seed; order is kept."""
        if samples is not None and samples < 1:
            raise UsageError(f"cannot choose {samples} samples", fix="give 1 or more")
        if samples is None or samples >= len(self):
            return self

        # Hashes stay the same in every version of numpy, and a new file changes one choice at most.
        def rank(row: int) -> bytes:
            return hashlib.sha256(f"{seed}\n{self.names[row]}".encode()).digest()

        chosen = heapq.nsmallest(samples, range(len(self)), key=rank)
        return replace(self._take(sorted(chosen)), seed=seed)

    def _take(self, rows: Sequence[int]) -> Dataset:
        columns = {name: column.take(rows) for name, column in self.columns.items()}
        labels = self.label_source
        if labels:
            labels = replace(labels, column=labels.column.take(rows))
        return replace(self, columns=columns, label_source=labels)

    def batches(self, size: int) -> Iterator[Sample]:
        """Samples stacked on a new first axis, `size` at most, fewer where shapes change."""
        if size < 1:
            raise UsageError(f"a batch cannot hold {size} samples", fix="give 1 or more")
        batch: list[Sample] = []
        for index in range(len(self)):
            sample = self.sample(index)
            if batch and _shapes(batch[0]) != _shapes(sample):
                yield _stacked(batch)
                batch = []
            batch.append(sample)
            if len(batch) == size:
                yield _stacked(batch)
                batch = []
        if batch:
            yield _stacked(batch)

    def describe(self, fed: Mapping[str, Fed] | None = None) -> str:
        """ "used 256 of 1000 files (seed 0), float32 (3, 224, 224), range -2.1 … 2.6".

        `fed` is what `watch(dataset.batches(n), fed)` noted; without it every sample is read.
        """
        if fed is None:
            noted: dict[str, Fed] = {}
            for _ in watch(self.batches(1), noted):
                pass
            fed = noted
        seed = "" if self.seed is None else f" (seed {self.seed})"
        used = f"used {len(self)} of {self.total} {self.unit}{seed}"
        if len(fed) == 1:
            return f"{used}, {next(iter(fed.values()))}"
        return "\n".join([used, *(f"  {printable(name)} {each}" for name, each in fed.items())])

    def problems(self) -> dict[int, DataError]:
        """Reads every sample; which are bad, and why."""
        found = {}
        for index in range(len(self)):
            try:
                self.sample(index)
            except DataError as error:
                found[index] = error
        return found

    def check(self) -> None:
        """Reads every sample; raises one DataError with up to five bad ones and how many more."""
        raise_all(list(self.problems().values()), len(self))

    def without_bad(self) -> Dataset:
        """Reads every sample and leaves the bad ones out, as `skipped`. DataError if all are."""
        bad = self.problems()
        if len(bad) == len(self):
            raise_all(list(bad.values()), len(self))
        good = self._take([index for index in range(len(self)) if index not in bad])
        return replace(good, skipped=tuple(self.names[index] for index in bad))


def _shapes(sample: Sample) -> list[tuple[int, ...]]:
    return [array.shape for array in sample.values()]


def _stacked(batch: list[Sample]) -> Sample:
    return {name: np.stack([sample[name] for sample in batch]) for name in batch[0]}
