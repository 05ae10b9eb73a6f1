"""The reader of ONNX test data: `test_data_set_0/input_0.pb …`, one whole batch in each folder.

https://github.com/onnx/onnx/blob/main/docs/OnnxBackendTest.md. `output_0.pb …` beside them are
passed over: they are what the original model answers, and so no judge of how right it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool import model as models
from qtool.data.column import Column, Found, Request
from qtool.data.files import File, listed, printable, repeated
from qtool.errors import DataError
from qtool.signature import TensorSpec

ONE_SAMPLE = 'since each set is one sample, add  samples = "files"  under [data] in qtool.toml'
BATCHES = "store whole batches: the first axis of every input must be the samples"


@dataclass(frozen=True)
class Tensor:
    """One input_<number>.pb: the tensor's own name, and its shape."""

    file: File
    number: int
    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """One folder: a file for each input and how many samples it holds, or why it holds none."""

    files: dict[str, File] = field(default_factory=dict)  # by model input
    count: int = 1
    problem: DataError | None = None  # then it counts as one sample, which cannot be read


def open_pb(request: Request) -> Found:
    """Batches of all inputs; the first axis is the samples, unless declared `samples = "files"`.

    A tensor feeds the input of its own name where all inputs are named so, else input_<i>.pb feeds
    the i-th. Every file is read once, for its shape.
    """
    sets: dict[str, list[File]] = {}
    strangers = []
    for file in request.files:
        folder, _, stem = file.key().rpartition("/")
        if re.fullmatch("input_[0-9]{1,9}", stem):
            sets.setdefault(folder, []).append(file)
        elif not re.fullmatch("output_[0-9]{1,9}", stem):
            strangers.append(file.name)
    if strangers or not sets:
        raise DataError(
            f"{request.where} holds .pb files that are no ONNX test data",
            f"there is {listed(strangers)}" if strangers else "there are outputs and no inputs",
            "give a folder with test_data_set_0/input_0.pb …, or one such set",
        )
    batches = [_batch(request, files) for files in sets.values()]
    problems = [batch.problem for batch in batches if batch.problem]
    if len(problems) == len(batches):
        raise problems[0]
    columns = {spec.name: _column(spec, batches, request) for spec in request.inputs}
    return Found(columns, unit="samples")


def _batch(request: Request, files: Sequence[File]) -> Batch:
    """What one folder feeds; a bad one is told when it is read, so that it may be skipped."""
    try:
        tensors = [_tensor(file) for file in files]
        found = _matched(request, tensors)
        return Batch({name: t.file for name, t in found.items()}, _count(request, found))
    except DataError as error:
        names = [spec.name for spec in request.inputs]
        return Batch(dict.fromkeys(names, files[0]), problem=error)


def _tensor(file: File) -> Tensor:
    name, array = _read(file)
    return Tensor(file, int(file.key().rpartition("_")[2]), name, array.shape)


def _read(file: File) -> tuple[str, NDArray[Any]]:
    with file.open() as stream:
        name, array = models.read_tensor(stream.read())
        if not array.size:
            raise ValueError(f"it holds no values, its shape is {array.shape}")
    return name, array


def _matched(request: Request, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """The tensor of each input. DataError where it is not clear which one that is."""
    where = printable(tensors[0].file.path.parent)
    names = [tensor.name for tensor in tensors if tensor.name]
    own = {tensor.name: tensor for tensor in tensors}
    stems = {f"input_{tensor.number}": tensor for tensor in tensors}
    inputs = [spec.name for spec in request.inputs]
    by_name = set(inputs) <= set(names) and repeated(names) is None
    found = {}
    for number, spec in enumerate(request.inputs):
        if source := request.chosen(spec):
            tensor = own.get(source) or stems.get(source)
        elif by_name:
            tensor = own[spec.name]
        else:
            tensor = stems.get(f"input_{number}") if len(tensors) == len(inputs) else None
        if tensor is None:
            have = [
                f"input_{t.number} ({t.name})" if t.name else f"input_{t.number}" for t in tensors
            ]
            raise DataError(
                f'nothing says what feeds input "{printable(spec.name)}" in {where}',
                f"it holds {listed(have)}; the model's inputs are {listed(inputs)}",
                f'add  from = "input_{number}"  under [data.inputs.{spec.name}] in qtool.toml',
            )
        found[spec.name] = tensor
    return found


def _count(request: Request, found: dict[str, Tensor]) -> int:
    """How many samples a batch holds: the first axis, which all inputs must share."""
    if request.declaration.samples == "files":
        return 1
    for spec in request.inputs:
        shape = found[spec.name].shape
        known = spec.shape is not None and not request.declared(spec).shape
        rank = len(spec.shape) if spec.shape and known else max(len(shape), 1)
        if len(shape) != rank:
            raise DataError(
                f'{printable(found[spec.name].file.path)} does not fit input "{spec.name}"',
                f"got {shape}, the model takes {spec}",
                ONE_SAMPLE if len(shape) == rank - 1 else BATCHES,
            )
    counts = {name: tensor.shape[0] for name, tensor in found.items()}
    if len(set(counts.values())) > 1:
        where = printable(next(iter(found.values())).file.path.parent)
        raise DataError(
            f"the inputs in {where} have different numbers of samples",
            listed(f"{name}: {count}" for name, count in counts.items()),
            BATCHES,
        )
    return next(iter(counts.values()))


def _column(spec: TensorSpec, batches: Sequence[Batch], request: Request) -> Column:
    rows = [(batch, row) for batch in batches for row in range(batch.count)]
    whole = request.declaration.samples != "files"
    last: list[tuple[File, NDArray[Any]]] = []  # read once for the samples that lie together

    def read(index: int) -> NDArray[Any]:
        batch, row = rows[index]
        if batch.problem:
            raise batch.problem
        file = batch.files[spec.name]
        kept = next(iter(last), None)
        if kept is None or kept[0] is not file:
            kept = (file, _read(file)[1])
            last[:] = [kept]
        if whole and row >= len(kept[1]):
            raise DataError(f"{printable(file.path)} has changed", "it holds fewer samples now")
        return np.asarray(kept[1][row]) if whole else kept[1]

    files = tuple(batch.files[spec.name] for batch, _ in rows)
    names = tuple(
        file.name if batch.count == 1 else f"{file.name}[{row}]"
        for file, (batch, row) in zip(files, rows, strict=True)
    )
    return Column(names, files, read)
