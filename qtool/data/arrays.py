"""The readers of .npy and .npz: one sample a file, or a whole set with a leading sample axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from qtool.data import npy, npz
from qtool.data.column import Column, Found, Request, many_in_one, one_behind_other, one_per_file
from qtool.data.files import File, first_readable, listed, printable
from qtool.errors import DataError, did_you_mean
from qtool.signature import TensorSpec

LABEL_KEYS = ("labels", "label", "y")

NPY = ".npy files"

T = TypeVar("T")
Samples = Literal["whole", "files"]


def open_npy(request: Request) -> Found:
    """`<input>.npy` for each input with a leading sample axis, or one sample a file."""
    stems = {file.key(): file for file in request.files}
    chosen = [spec.name for spec in request.inputs if request.chosen(spec)]
    if len(request.inputs) == len(request.files) == 1 and not chosen:
        stems[request.inputs[0].name] = request.files[0]
    named = {spec.name: stems.get(request.source(spec)) for spec in request.inputs}
    files = {name: file for name, file in named.items() if file}
    samples = request.declaration.samples
    several = len(named) == 1 and not chosen and not files and len(request.files) > 1
    if len(files) < len(named) and (
        len(named) > 1 or chosen or (samples == "whole" and not several)
    ):
        raise _missing([n for n in named if n not in files], list(stems), request, NPY)

    if not samples and len(named) == 1:
        _, header = first_readable(list(files.values()) or request.files, _header)
        samples = _samples(request, header.shape, bool(files))
    if samples == "whole" and several:  # each a set, or a sequence, of its own
        sets = one_behind_other([_npy_rows(file) for file in request.files])
        return Found({request.inputs[0].name: sets}, unit="samples")
    if samples == "files":
        request.one_input()
        column = one_per_file(request.files, _read_npy)
        return Found({request.inputs[0].name: column})
    if extra := [file.name for file in request.files if file not in files.values()]:
        raise DataError(
            f"{request.where} holds whole sets, and {listed(extra)} belongs to no input",
            f"the inputs are {listed(named)}",
            'take it away, name labels labels.npy, or add  samples = "files"  under [data]',
        )
    return Found({name: _npy_rows(file) for name, file in files.items()}, unit="samples")


def open_npz(request: Request) -> Found:
    """Arrays under the inputs' names: of one sample in each file, or of a whole set in one file."""
    first, present = first_readable(request.files, npz.keys_of)
    keys = _match_keys(request, present)
    label = next((k for k in LABEL_KEYS if k in present and k not in keys.values()), None)

    shape = npz.header_of(first, keys[request.inputs[0].name]).shape
    samples = request.declaration.samples or _samples(request, shape, len(request.files) == 1)
    if samples == "whole":
        if len(request.files) > 1:
            what = f"{request.where} holds {len(request.files)} .npz files, and a whole set is one"
            raise DataError(what, fix="keep one of them, or give its path as the data")
        columns = {name: _npz_rows(first, key) for name, key in keys.items()}
        labels = _npz_rows(first, label) if label else None
        return Found(columns, labels, "samples")
    columns = {name: _npz_files(request.files, key) for name, key in keys.items()}
    return Found(columns, _npz_files(request.files, label) if label else None)


def _samples(request: Request, shape: tuple[int, ...], may_be_whole: bool) -> Samples:
    """How the stored arrays are to be read, from the first one's shape; see `whole_or_files`."""
    spec = request.inputs[0]
    guess = whole_or_files(shape, spec, request.declared(spec).shape)
    if may_be_whole:
        if guess:
            return guess
        why = f"an array has shape {shape}, and the model's input is {spec}"
        what = "cannot tell whether it holds one sample or a whole set"
        fix = 'add  samples = "whole"  or  samples = "files"  under [data] in qtool.toml'
        raise DataError(f"{request.where}: {what}", why, fix)
    if guess == "whole" and request.declaration.carry:
        return guess
    if guess == "whole" and shape[0] != 1:  # a batch of one is a sample
        raise DataError(
            f"{printable(request.files[0].path)} is one of {len(request.files)} files, and it "
            f"looks like a batch of {shape[0]}",
            f"got {shape}, and the model's input is {spec}",
            'add  samples = "whole"  under [data] in qtool.toml if each file is a set of samples; '
            'if it is one sample, add  samples = "files"',
        )
    return "files"


def whole_or_files(
    shape: tuple[int, ...], spec: TensorSpec, reshape: Sequence[int] | None
) -> Samples | None:
    """What an array of this shape holds: a whole set, one sample, or None where both are possible.

    1. As many values in all as a sample has: one sample.
    2. As many values behind the first axis as a sample has: a whole set.
    3. The rank of the model's input: a whole set; one less: one sample.
    """
    sample = reshape if spec.shape is None or reshape else spec.shape[1:]
    sizes = [size for size in sample or () if isinstance(size, int)]
    if sample is not None and len(sizes) == len(sample):
        if math.prod(shape) == math.prod(sizes):  # 1
            return "files"
        if shape and math.prod(shape[1:]) == math.prod(sizes):  # 2
            return "whole"
    if spec.shape is not None and not reshape:  # 3
        if len(shape) == len(spec.shape):
            return "whole"
        if len(shape) == len(spec.shape) - 1:
            return "files"
    return None


def _match_keys(request: Request, present: list[str]) -> dict[str, str]:
    keys = {spec.name: request.source(spec) for spec in request.inputs}
    missing = [name for name, key in keys.items() if key not in present]
    others = [key for key in present if key not in LABEL_KEYS]
    if missing and len(keys) == len(others) == 1 and not request.chosen(request.inputs[0]):
        # One input and one array that is no label: there is nothing to choose.
        return {missing[0]: others[0]}
    if missing:
        raise _missing(missing, present, request, "arrays")
    return keys


def _missing(missing: list[str], present: list[str], request: Request, kind: str) -> DataError:
    source = next(request.source(spec) for spec in request.inputs if spec.name == missing[0])
    folders = f"make one folder for each input, or one whole set ({printable(source)}.npy), or "
    return DataError(
        f'{request.where} has nothing for input "{listed(missing)}"',
        f"there is no {source!r} among the {kind} {listed(present)}",
        did_you_mean(source, present[:1000])
        or f'{folders if kind == NPY else ""}add  from = "{printable(present[0])}"  '
        f"under [data.inputs.{missing[0]}] in qtool.toml",
    )


def _header(file: File) -> npy.Header:
    with file.open() as stream:
        return npy.read_header(stream, file.path.stat().st_size)


def _read_npy(file: File) -> NDArray[Any]:
    with file.open() as stream:
        return npy.read_array(stream, file.path.stat().st_size)


def _npy_rows(file: File) -> Column:
    header = _header(file)

    # A mapped file would count as memory with every row, and die with the process if cut short.
    def read(index: int) -> NDArray[Any]:
        with file.open() as stream:
            if header.fortran:
                mapped = np.memmap(stream, header.dtype, "r", header.offset, header.shape, "F")
                return np.array(mapped[index])
            stream.seek(header.offset + index * header.row_bytes)
            return header.array(stream.read(header.row_bytes), header.shape[1:])

    return many_in_one(file, header.shape[0] if header.shape else 0, read)


def _npz_rows(file: File, key: str) -> Column:
    header = npz.header_of(file, key)
    count = header.shape[0] if header.shape else 0
    return many_in_one(file, count, npz.Rows(file, key, header).read)


def _npz_files(files: Sequence[File], key: str) -> Column:
    return one_per_file(files, lambda file: npz.read_member(file, key))
