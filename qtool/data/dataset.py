"""A data folder as a sequence of samples, read one at a time."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.data.annotations import Annotations
from qtool.data.beside import Beside
from qtool.data.column import Column, Lazy
from qtool.data.declaration import Declaration
from qtool.data.fed import Fed, Sample, chained, digests, fingerprint, watch
from qtool.data.files import File, printable, raise_all
from qtool.data.labels import Labels, as_labels
from qtool.data.pairs import Pairs
from qtool.data.prepare import Prepare
from qtool.data.sequences import disordered, gathered, runs, shared
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
    states: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False)  # zeros, carried
    beside: Beside | None = field(default=None, repr=False)

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
        """int64 (n,) or (n, …) classes, float64 (n,), float (n, …), as `names`; else DataError."""
        if self.label_source is None:
            return None
        column = self.label_source.column
        return as_labels([column.read(i) for i in range(len(self))], column.names)

    @cached_property
    def pairs(self) -> Pairs | None:
        """What pairs.csv says of these samples; read when it is asked for, then maybe DataError."""
        return self.beside.pairs() if self.beside else None

    @cached_property
    def annotations(self) -> Annotations | None:
        """The image that each sample is in annotations.json; read, and refused, as `pairs`."""
        return self.beside.annotations() if self.beside else None

    @cached_property
    def fingerprint(self) -> str:
        """The digest of what is fed (see `qtool.data.fed`); reads every sample once.

        It depends on neither names nor places, and on the order only where states are carried.
        """
        total = 0
        for block in self.blocks(1):
            last = 0
            for batch in self.batches(1, [block]):
                (last,) = self.hashes(batch, last)
                total += last
        return fingerprint([total])

    def hashes(self, batch: Mapping[str, NDArray[Any]], before: int) -> list[int]:
        """A hash of each sample in a batch; where states are carried, also of those before it."""
        found = digests({name: batch[name] for name in self.columns})
        return chained(found, before) if self.states else found

    def listing(self, rows: Iterable[range]) -> str:
        """A digest of names, sizes and times of the files that these samples are made of.

        It changes when they do, and none is read.
        """
        found = hashlib.sha256(self.declaration.model_dump_json(exclude_defaults=True).encode())
        last: list[File] = []
        for row in (row for some in rows for row in some):
            found.update(f"{self.names[row]}\n".encode())
            files = [column.files[row] for column in self.columns.values()]
            for file in files if files != last else ():
                with suppress(OSError):  # it is told of when it is read
                    status = file.path.stat()
                    found.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
            last = files
        for declared in self.declaration.inputs.values():
            for name in (declared.vocabulary, declared.tokenizer):
                if name:
                    found.update(self.declaration.file(name).path.read_bytes())
        return found.hexdigest()

    def paths(self) -> Iterator[Path]:
        """The files that these samples are made of, each at least once."""
        last = None
        for column in self.columns.values():
            for file in column.files:
                if file is not last:
                    yield file.path
                last = file
        if self.label_source and self.label_source.file:
            yield self.label_source.file.path
        yield from (file.path for file in (self.beside.files.values() if self.beside else ()))

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
        """A choice without replacement that depends only on names and seed; order is kept.

        Where states are carried, whole sequences are chosen, and the last one is cut.
        """
        if samples is not None and samples < 1:
            raise UsageError(f"cannot choose {samples} samples", fix="give 1 or more")
        if samples is None or samples >= len(self):
            return self

        # Hashes stay the same in every version of numpy, and a new file changes one choice at most.
        def rank(row: int) -> bytes:
            return hashlib.sha256(f"{seed}\n{self.names[row]}".encode()).digest()

        chosen: list[int] = []
        if self.states:
            for sequence in sorted(self.sequences, key=lambda rows: rank(rows.start)):
                chosen += sequence[: samples - len(chosen)]
        else:
            chosen = heapq.nsmallest(samples, range(len(self)), key=rank)
        return replace(self.take(sorted(chosen)), seed=seed)

    def take(self, rows: Sequence[int]) -> Dataset:
        """These samples alone, in this order, with what belongs to them."""
        columns = {name: column.take(rows) for name, column in self.columns.items()}
        labels = self.label_source
        if labels:
            labels = replace(labels, column=labels.column.take(rows))
        beside = self.beside and self.beside.take(rows)
        return replace(self, columns=columns, label_source=labels, beside=beside)

    @cached_property
    def sequences(self) -> Sequence[range]:
        """The rows of samples that follow one another: a state goes from each to the next."""
        return runs(self._keys())

    def in_sequences(self) -> Dataset:
        """The same samples, those of a sequence together. DataError where names leave it open."""
        order = gathered(self._keys()) if self._parts else range(len(self))
        together = self if list(order) == list(range(len(self))) else self.take(order)
        files = next(iter(together.columns.values())).files
        for rows in together.sequences if self._parts else ():
            if names := disordered(files[rows.start : rows.stop]):
                raise DataError(
                    "the order of the samples, which  carry  follows, is in doubt",
                    f"{names[1]} comes before {names[0]} by name, and after it by number",
                    "pad the numbers in names with zeros",
                )
        return together

    @property
    def _parts(self) -> int:
        """How many parts of a file's name tell the samples of one sequence apart."""
        if self.unit == "files":
            return 1
        # ONNX test data, where a folder is one sample; elsewhere a file holds a whole sequence.
        return 2 if self.declaration.samples == "files" else 0

    def _keys(self) -> Iterator[tuple[str, ...]]:
        parts, columns = self._parts, self.columns.values()
        for files in zip(*(column.files for column in columns), strict=True):
            yield tuple(shared(file.name, parts) for file in files)

    def blocks(self, size: int) -> Sequence[range]:
        """The rows in runs of at most `size`; where states are carried, one run per sequence.

        Raises:
            UsageError: the size is less than 1, or not 1 where states are carried.
        """
        if size < 1:
            raise UsageError(f"a batch cannot hold {size} samples", fix="give 1 or more")
        if self.states and size > 1:
            raise UsageError(
                f"states cannot be carried through batches of {size}",
                "[data] carry feeds what one sample leaves to the next, so they run one by one",
                "use  --batch-size 1,  or take  carry  out of qtool.toml",
            )
        if self.states:
            return self.sequences
        count = len(self)
        return Lazy(-(-count // size), lambda i: range(i * size, min((i + 1) * size, count)))

    def batches(self, size: int, blocks: Iterable[range] | None = None) -> Iterator[Sample]:
        """Samples stacked on a new first axis, `size` at most, fewer where shapes change.

        A batch lies within one of `blocks`, which are all of `self.blocks(size)` unless given. One
        that starts a sequence also holds the carried inputs, as zeros.

        Raises:
            UsageError: as `blocks`.
        """
        every = self.blocks(size)
        return self._batches(size, every if blocks is None else blocks)

    def _batches(self, size: int, blocks: Iterable[range]) -> Iterator[Sample]:
        for block in blocks:
            batch: list[Sample] = []
            states = dict(self.states)
            for index in block:
                sample = self.sample(index)
                if batch and _shapes(batch[0]) != _shapes(sample):
                    yield _stacked(batch) | states
                    batch, states = [], {}
                batch.append(sample)
                if len(batch) == size:
                    yield _stacked(batch) | states
                    batch, states = [], {}
            if batch:
                yield _stacked(batch) | states

    def describe(self, fed: Mapping[str, Fed] | None = None) -> str:
        """ "used 256 of 1000 files (seed 0), float32 (3, 224, 224), range -2.1 … 2.6".

        `fed` is what `watch(dataset.batches(n), fed)` noted; without it every sample is read.
        """
        if fed is None:
            noted: dict[str, Fed] = {}
            for _ in watch(self.batches(1), noted):
                pass
            fed = noted
        fed = {name: fed[name] for name in fed if not self.starts(name)}
        seed = "" if self.seed is None else f" (seed {self.seed})"
        used = f"used {len(self)} of {self.total} {self.unit}{seed}"
        if len(fed) == 1:
            return f"{used}, {next(iter(fed.values()))}"
        return "\n".join([used, *(f"  {printable(name)} {each}" for name, each in fed.items())])

    def starts(self, name: str) -> bool:
        """Whether no sample feeds the input: it begins as a state does, or with nothing in it."""
        return name in self.states or any(fnmatchcase(name, p) for p in self.declaration.empty)

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
        good = self.take([index for index in range(len(self)) if index not in bad])
        return replace(good, skipped=tuple(self.names[index] for index in bad))


def _shapes(sample: Sample) -> list[tuple[int, ...]]:
    return [array.shape for array in sample.values()]


def _stacked(batch: list[Sample]) -> Sample:
    return {name: np.stack([sample[name] for sample in batch]) for name in batch[0]}
