"""The text reader: one line one sample, as token ids, a mask of ones, and zeros."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.data.column import Found, Request, many_in_one
from qtool.data.declaration import InputDeclaration
from qtool.data.files import File, listed, printable, repeated
from qtool.errors import DataError, missing_extra
from qtool.signature import TensorSpec


@dataclass(frozen=True)
class Encoder:
    """Text to ids, and the id that fills up to a fixed length (None where there is none)."""

    ids: Callable[[str], list[int]]  # ValueError where a token has no id
    pad: int | None


def open_text(request: Request) -> Found:
    """`texts.txt`, or the only .txt there is, for an input `from = "text"` and those beside it."""
    spec = _text_input(request)
    encode = encoder_of(request, spec)
    file = _text_file(request, request.declared(spec))
    with file.open() as stream:
        starts = np.cumsum([0, *(len(line) for line in stream)])

    def line(index: int) -> str:
        with file.open() as stream:
            stream.seek(starts[index])
            data = stream.read(starts[index + 1] - starts[index])
        return data.decode("utf-8-sig" if index == 0 else "utf-8").rstrip("\r\n")

    def array(kind: str, index: int) -> NDArray[Any]:
        try:
            return ARRAYS[kind](*encode(line(index)))
        except ValueError as error:
            shown = f"{printable(file.path)}[{index}] (line {index + 1})"
            fix = f"mend the line, or what [data.inputs.{spec.name}] declares"
            raise DataError(f"cannot use {shown}", str(error), fix) from error

    kinds = {s.name: "text" if s == spec else request.source(s) for s in request.inputs}
    count = len(starts) - 1
    columns = {name: many_in_one(file, count, partial(array, kind)) for name, kind in kinds.items()}
    columns[spec.name] = replace(columns[spec.name], text=line)
    return Found(columns, unit="lines")


def encoder_of(request: Request, spec: TensorSpec) -> Callable[[str], tuple[NDArray[Any], int]]:
    """What turns a text into (length,) int64, and how many of these are its ids.

    The rest is padding, where the model's length is fixed. DataError where the vocabulary or
    tokenizer cannot be used; the encoder raises ValueError for a text that it has no ids for.
    """
    declared = request.declared(spec)
    encoder = (_tokenizer if declared.tokenizer else _vocabulary)(request, declared)
    length = spec.shape[1] if spec.shape and len(spec.shape) > 1 else None
    fixed = length if isinstance(length, int) else None
    return lambda text: _padded(encoder.ids(text), fixed, encoder)


def _text_input(request: Request) -> TensorSpec:
    texts = [spec for spec in request.inputs if request.declared(spec).is_text]
    rest = [spec for spec in request.inputs if spec not in texts]
    for spec in rest + texts[1:]:
        if len(texts) > 1 or request.chosen(spec) not in ("mask", "zeros"):
            raise DataError(
                f'nothing says how texts become input "{spec.name}"',
                "one input is the text; those beside it are its mask or zeros",
                f'add  from = "mask"  (or "zeros")  under [data.inputs.{spec.name}] in qtool.toml; '
                "a cache of what was before, which is nothing at first, is fed by "
                f'empty = ["{spec.name}"]  under [data]',
            )
    if texts and (request.declared(texts[0]).vocabulary or request.declared(texts[0]).tokenizer):
        return texts[0]
    raise no_vocabulary((texts or rest)[0].name)


def no_vocabulary(name: str) -> DataError:
    """The error for a text whose words have no numbers."""
    return DataError(
        f'nothing says how texts become the ids of input "{name}"',
        "neither a vocabulary nor a tokenizer is declared",
        f'add  vocabulary = "vocabulary.txt"  or  tokenizer = "tokenizer.json"  '
        f"under [data.inputs.{name}] in qtool.toml",
    )


def _text_file(request: Request, declared: InputDeclaration) -> File:
    vocabulary = request.declaration.file(declared.vocabulary) if declared.vocabulary else None
    files = [f for f in request.files if not vocabulary or not vocabulary.path.samefile(f.path)]
    named = [file for file in files if file.name == "texts.txt"]
    if len(named or files) == 1:
        return (named or files)[0]
    raise DataError(
        f"{request.where} has {len(files)} text files",
        listed(file.name for file in files) or "only the vocabulary",
        "name the file with the samples texts.txt, one sample a line",
    )


def _padded(ids: list[int], length: int | None, encoder: Encoder) -> tuple[NDArray[Any], int]:
    if length is None:
        if not ids:
            raise ValueError("the text has no tokens")
        return np.array(ids, np.int64), len(ids)
    if len(ids) > length:
        raise ValueError(
            f"the text has {len(ids)} tokens and the model takes {length}: "
            f"declare max_length = {length}"
        )
    if len(ids) < length and encoder.pad is None:
        raise ValueError(f"the model takes {length} tokens, and there is no [PAD] to fill up with")
    filled = ids + [encoder.pad or 0] * (length - len(ids))
    return np.array(filled, np.int64), len(ids)


def _mask(ids: NDArray[Any], used: int) -> NDArray[Any]:
    return (np.arange(len(ids)) < used).astype(np.int64)


def _vocabulary(request: Request, declared: InputDeclaration) -> Encoder:
    file = request.declaration.file(declared.vocabulary or "")
    with file.open() as stream:
        lines = stream.read().decode("utf-8-sig").split("\n")
    lines = [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]
    tokens = [" " if line == "[SPACE]" else line for line in lines]
    table = {token: number for number, token in enumerate(tokens)}
    if twice := repeated(tokens):
        raise DataError(
            f"{printable(file.path)} has the token {twice!r} twice",
            "the line number is the id, so a token may stand once",
            "take one of the lines away",
        )
    unknown = table.get("[UNK]")

    def ids(text: str) -> list[int]:
        units = list(text) if declared.unit == "character" else text.split()
        found = [table.get(unit, unknown) for unit in units[: declared.max_length]]
        if None in found:
            unit = units[found.index(None)]
            raise ValueError(f"{unit!r} is not in {file.name}, which has no [UNK] either")
        return [number for number in found if number is not None]

    return Encoder(ids, table.get("[PAD]"))


def _tokenizer(request: Request, declared: InputDeclaration) -> Encoder:
    try:
        tokenizers = importlib.import_module("tokenizers")
    except ImportError as error:
        raise missing_extra(declared.tokenizer or "", "tokenizers", "tokenizers") from error
    file = request.declaration.file(declared.tokenizer or "")
    with file.open() as stream:
        made = tokenizers.Tokenizer.from_str(stream.read().decode("utf-8"))
    padding = made.padding or {}
    # Padding is ours: to the model's fixed length, or none.
    made.no_padding()
    if declared.max_length:
        made.enable_truncation(declared.max_length)
    pads = [padding.get("pad_id"), made.token_to_id("[PAD]"), made.token_to_id("<pad>")]

    def ids(text: str) -> list[int]:
        return [int(number) for number in made.encode(text).ids]

    return Encoder(ids, next((pad for pad in pads if pad is not None), None))


# What an input may be made of -> its array, from a text's ids and how many they are.
ARRAYS: dict[str, Callable[[NDArray[Any], int], NDArray[Any]]] = {
    "text": lambda ids, _: ids,
    "mask": _mask,
    "zeros": lambda ids, _: np.zeros_like(ids),
}
