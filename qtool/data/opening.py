"""Finds out what a data folder holds, and for which input of the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from qtool.data.arrays import open_npy, open_npz
from qtool.data.audio import open_wav
from qtool.data.beside import FILES as BESIDE
from qtool.data.beside import Beside, check_judged
from qtool.data.carry import first_states
from qtool.data.column import Column, Found, Lazy, Reader, Request
from qtool.data.csv_rows import open_csv
from qtool.data.dataset import Dataset
from qtool.data.declaration import JUDGED, Declaration, find_declaration
from qtool.data.empty import empty_column, nothing_in
from qtool.data.feedable import check_inputs
from qtool.data.files import SKIP, File, list_files, listed, printable, raise_all, repeated
from qtool.data.images import SUFFIXES, open_images
from qtool.data.jsonl import open_jsonl
from qtool.data.labels import FILES, Labels, from_csv, from_folders, from_npy, given
from qtool.data.onnx_data import open_pb
from qtool.data.parquet import open_parquet
from qtool.data.prepare import Prepare
from qtool.data.text import open_text
from qtool.errors import DataError
from qtool.signature import Signature, TensorSpec

_NUMBERS = frozenset({"source", "model_layout", "scale", "mean", "std"})
_ARRAYS = _NUMBERS | {"layout", "shape"}
_IMAGES = _NUMBERS | {"color", "resize", "crop", "interpolation"}
_SOUNDS = _ARRAYS | {"sample_rate", "length", "channels"}
_TEXTS = frozenset({"source", "vocabulary", "tokenizer", "unit", "max_length"})
_ROWS = _ARRAYS | _TEXTS | {"columns"}
_LABEL = frozenset({"label"})

# What a format is called -> its suffixes, its reader, the declared keys that it heeds: those of an
# input, and those of the whole set.
READERS = {
    "npy": Reader(frozenset({".npy"}), open_npy, _ARRAYS),
    "npz": Reader(frozenset({".npz"}), open_npz, _ARRAYS),
    "image": Reader(SUFFIXES, open_images, _IMAGES),
    "wav": Reader(frozenset({".wav"}), open_wav, _SOUNDS),
    "pb": Reader(frozenset({".pb"}), open_pb, _ARRAYS),
    "text": Reader(frozenset({".txt"}), open_text, _TEXTS),
    "csv": Reader(frozenset({".csv"}), open_csv, _ROWS, _LABEL | {"delimiter"}, rows=True),
    "jsonl": Reader(frozenset({".jsonl"}), open_jsonl, _ROWS, _LABEL, rows=True),
    "parquet": Reader(frozenset({".parquet"}), open_parquet, _ROWS, _LABEL, rows=True),
}


def open_dataset(
    path: Path,
    signature: Signature,
    declaration: Declaration | None = None,
    *,
    on_bad_file: Literal["error", "skip"] = "error",
    labels: Path | None = None,
) -> Dataset:
    """The samples in a folder, or in one file of many, as the model's inputs want them.

    `declaration` wins over the `[data]` table of a qtool.toml. The first sample is read and must
    fit; with "skip" all are read, and bad ones left out. `labels` is a file in place of labels.csv
    or labels.npy in the folder. Raises DataError, or MachineError where an extra is missing.
    """
    if declaration is None:
        declaration = find_declaration(path)
    empty = nothing_in(signature, declaration.empty, declaration.inputs)
    states = first_states(signature, declaration.carry, declaration.inputs, empty)
    whole = signature.without(states)
    signature = whole.without(empty)
    check_inputs(signature.inputs, declaration)
    check_judged(signature, declaration)
    files, aside = _list(path, signature.inputs, declaration)
    label_files = [file for file in aside if file.name in FILES]
    if labels is not None:
        label_files = [given(labels)]
    if on_bad_file == "error":
        bad = [file for file in files if file.problem]
        problems = [DataError(f"cannot read {printable(f.path)}", f.problem, SKIP) for f in bad]
        raise_all(problems, len(files))

    skip = on_bad_file == "skip"
    requests = _requests(path, files, signature.inputs, declaration, skip)
    formats = [_format(request) for request in requests]
    _check_keys(requests, formats, declaration)
    found = [READERS[name].open(r) for name, r in zip(formats, requests, strict=True)]
    columns = _aligned(requests, found)
    first = columns[requests[0].inputs[0].name]
    columns |= {n: empty_column(array, first) for n, array in empty.items() if n not in states}
    prepare = {
        spec.name: Prepare(spec, declaration.input(spec.name), columns[spec.name].layout)
        for spec in whole.inputs
    }
    labelled = next((each for each in found if each.labels and each.unit == "rows"), found[0])
    if declaration.label is not None and (label_files or not labelled.labels):
        why = f"there is {label_files[0].name}" if label_files else "no folder has such a column"
        what = f'the labels are not "{printable(declaration.label)}", which  label  names'
        raise DataError(
            what, why, "keep one of them" if label_files else "mend  label  in qtool.toml"
        )
    folders = not declaration.carry
    label_source = _labels(label_files, labelled, first, requests[0].prefix, folders)
    dataset = Dataset(
        path,
        columns,
        prepare,
        declaration,
        label_source,
        found[0].unit,
        total=len(first.names),
        states=states,
        beside=Beside.of(aside, first, requests[0].prefix),
    )
    if declaration.carry:
        dataset = dataset.in_sequences()
    if skip:
        return dataset.without_bad()
    dataset.sample(0)
    return dataset


def _format(request: Request) -> str:
    """What the request's files are called in `READERS`. DataError where there are several kinds."""
    suffixes = {file.suffix for file in request.files}
    names = [name for name, reader in READERS.items() if reader.suffixes & suffixes]
    if len(names) == 1:
        return names[0]
    raise DataError(
        f"{request.where} holds {' and '.join(names)} files",
        f"suffixes: {', '.join(sorted(suffixes))}",
        "keep one kind of samples in a folder; labels belong into labels.csv or labels.npy",
    )


def _check_keys(
    requests: Sequence[Request], formats: Sequence[str], declaration: Declaration
) -> None:
    """Refuses what the readers of these formats do not heed, and inputs that they cannot feed."""
    heeded = frozenset[str]().union(*(READERS[name].set_keys for name in formats))
    if (
        unused := declaration.model_fields_set
        - {"samples", "carry", "empty", "inputs"}
        - JUDGED
        - heeded
    ):
        why = f"{requests[0].where} holds {' and '.join(dict.fromkeys(formats))} files"
        raise DataError(f'"{min(unused)}" under [data] means nothing here', why, "take it away")
    for request, name in zip(requests, formats, strict=True):
        reader = READERS[name]
        for spec in request.inputs:
            if spec.dtype == "str" and not reader.rows:
                kinds = listed(other for other, each in READERS.items() if each.rows)
                why = f"{name} files hold numbers; strings are fed from columns"
                fix = f"store the samples as rows ({kinds})"
                raise DataError(f"{request.where} cannot feed the input {spec}", why, fix)
            if unused := request.declared(spec).model_fields_set - reader.keys:
                suffixes = sorted({file.suffix for file in request.files})
                keys = ", ".join(sorted(reader.keys - {"source"}))
                raise DataError(
                    f'"{min(unused)}" under [data.inputs.{spec.name}] means nothing for {name}',
                    f"{request.where} holds {', '.join(suffixes)} files",
                    f"take it away; what counts is from, {keys}",
                )


def _list(
    path: Path, inputs: Sequence[TensorSpec], declaration: Declaration
) -> tuple[tuple[File, ...], tuple[File, ...]]:
    """The files that may hold samples, and those that say what to judge them by."""
    suffixes = frozenset[str]().union(*(reader.suffixes for reader in READERS.values()))
    rows = frozenset[str]().union(*(r.suffixes for r in READERS.values() if r.rows))
    files, others = list_files(path, suffixes | {".json"})
    sources = {declaration.source(spec.name) for spec in inputs}
    known = {*FILES, *BESIDE} if path.is_dir() else ()
    aside = tuple(file for file in files if file.name in known and file.key() not in sources)
    # A README.txt is no data, unless texts are; these may also be a column, and it the vocabulary.
    texts = any(declared.is_text for declared in declaration.inputs.values())
    lines = READERS["text"].suffixes
    wanted = rows | lines if texts else suffixes - lines
    rest = tuple(file for file in files if file not in aside and file.suffix in wanted)
    if texts and any(file.suffix in rows for file in rest):
        rest = tuple(f for f in rest if f.suffix not in lines or f.path.name == "texts.txt")
    if rest:
        return rest, aside
    seen = sorted(others | {file.suffix for file in files if file not in aside})
    if aside and not seen:
        raise DataError(
            f"no samples in {printable(path)}",
            f"it holds only {listed(f.name for f in aside)}, and nothing that this is for",
            "put the samples beside it; where its own rows are the samples, give its path as the "
            "data, or another name",
        )
    fix = f"put {', '.join(sorted(wanted))} files there"
    if ".txt" in seen and not texts:
        fix = (
            'for lines of text add  from = "text"  and  vocabulary = "vocabulary.txt"  '
            f"under [data.inputs.{inputs[0].name}] in qtool.toml"
        )
    why = f"it holds only {listed(seen)} files" if seen else "it is empty"
    raise DataError(f"no samples in {printable(path)}", why, fix)


def _requests(
    path: Path,
    files: tuple[File, ...],
    inputs: Sequence[TensorSpec],
    declaration: Declaration,
    skip: bool,
) -> list[Request]:
    """One request for the whole folder, or one per input where each has a folder of its own."""
    prefixes = [f"{printable(declaration.source(spec.name))}/" for spec in inputs]
    grouped = [tuple(f for f in files if f.name.startswith(prefix)) for prefix in prefixes]
    if not all(grouped) or sum(map(len, grouped)) != len(files):
        return [Request(printable(path), files, tuple(inputs), declaration, skip=skip)]
    return [
        Request(printable(path / prefix), group, (spec,), declaration, prefix, skip)
        for prefix, group, spec in zip(prefixes, grouped, inputs, strict=True)
    ]


def _aligned(requests: Sequence[Request], found: Sequence[Found]) -> dict[str, Column]:
    """The columns of all inputs with the samples in the same order. DataError where some lack."""
    columns = {name: column for each in found for name, column in each.columns.items()}
    if len(requests) > 1 and {each.unit for each in found} == {"files"}:
        return _aligned_files(requests, columns)
    counts = {name: len(column.names) for name, column in columns.items()}
    if len(set(counts.values())) > 1 or len({each.unit for each in found}) > 1:
        raise DataError(
            "the inputs have different numbers or kinds of samples",
            listed(f"{name}: {count}" for name, count in counts.items()),
            "the first axis of every array must be the samples, in the same order",
        )
    return columns


def _aligned_files(requests: Sequence[Request], columns: dict[str, Column]) -> dict[str, Column]:
    rows = {}
    for request in requests:
        keys = [file.key(request.prefix) for file in request.files]
        rows[request.inputs[0].name] = {key: row for row, key in enumerate(keys)}
        if twice := repeated(keys):
            why = f"there are two files of the name {twice}"
            raise DataError(f"{request.where} is ambiguous", why, "keep one of them")
    every = set[str]().union(*rows.values())
    problems = [
        DataError(
            f'sample "{key}" has no file for input "{name}"',
            fix=f"add it to {printable(name)}/, or remove it from the other folders",
        )
        for key in sorted(every)
        for name, present in rows.items()
        if key not in present
    ]
    raise_all(problems, len(every))
    order = list(next(iter(rows.values())))
    return {name: columns[name].take([rows[name][key] for key in order]) for name in columns}


def _labels(
    files: Sequence[File], found: Found, column: Column, prefix: str, folders: bool
) -> Labels | None:
    """Those in a file, else those that the reader met, else the `folders` as classes."""
    if len(files) > 1:
        why = f"there are {' and '.join(file.name for file in files)}"
        raise DataError("the labels are ambiguous", why, "keep one of them")
    if files and files[0].suffix == ".npy":
        return from_npy(files[0], column)
    keys = Lazy(len(column.files), lambda index: column.files[index].key(prefix))
    if files:
        return from_csv(files[0], column, keys)
    if found.labels and len(found.labels.names) != len(column.names):
        raise DataError(
            f"{column.files[0].name} has {len(column.names)} samples, and labels for "
            f"{len(found.labels.names)}",
            fix="store one label for each sample",
        )
    if found.labels:
        return Labels(found.labels, find=found.classes)
    # Where states are carried, a folder is a sequence, whatever its class may be.
    return from_folders(column, keys) if folders and found.unit == "files" else None
