"""Large weights inside a model file, left where they are: to be read from there as those in files
beside it are, without a copy in memory.

The file is walked as protobuf is laid out, not parsed: tag, length, value. Of the graph's own
initializers those with plain bytes of the size that their type and shape say are taken out. A file
with anything odd is left to the parser whole.

    ModelProto.graph = 7   GraphProto.initializer = 5
    TensorProto: dims = 1, data_type = 2, segment = 3, raw_data = 9, external_data = 13,
    data_location = 14 (1: EXTERNAL)            StringStringEntryProto: key = 1, value = 2
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = "//here"  # the location of weights that lie in the model file itself
_FILE, _TENSOR = 16 << 20, 1 << 20  # bytes from which on it matters
_SIZES = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 10: 2, 11: 8, 16: 2}  # of a value, by data type
_BYTES, _VARINT = 2, 0  # wire types


class _Field(NamedTuple):
    number: int
    wire: int
    at: int  # where its tag begins
    value: int  # where its value begins
    end: int


def light(path: Path, location: str = HERE) -> bytes | None:
    """The model file without large weights, which are external data at that location; None where
    there are none, or something is odd."""
    try:
        about = path.stat()
        if about.st_size < _FILE or about.st_nlink > 1:  # which onnx_ir takes for an attack
            return None
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _without(data, location)
    except (OSError, ValueError, IndexError, UnicodeEncodeError):
        return None


def _without(data: mmap.mmap, location: str) -> bytes | None:
    fields = list(_fields(data, 0, len(data)))
    graphs = [field for field in fields if field.number == 7]
    if len(graphs) != 1 or graphs[0].wire != _BYTES:
        return None
    graph, taken = bytearray(), 0
    for field in _fields(data, graphs[0].value, graphs[0].end):
        short = _moved(data, field, location) if field.number == 5 else None
        taken += short is not None
        graph += data[field.at : field.end] if short is None else _bytes(5, short)
    if not taken:
        return None
    rest = (_bytes(7, graph) if f.number == 7 else data[f.at : f.end] for f in fields)
    return b"".join(rest)


def _moved(data: mmap.mmap, tensor: _Field, location: str) -> bytes | None:
    """A tensor whose values are elsewhere: where they are; None for one that stays as it is."""
    if tensor.wire != _BYTES or tensor.end - tensor.value < _TENSOR:
        return None
    fields = list(_fields(data, tensor.value, tensor.end))
    values = [field for field in fields if field.number == 9 and field.wire == _BYTES]
    others = [field for field in fields if field.number != 9]
    if len(values) != 1 or len(others) != len(fields) - 1:
        return None
    if any(field.number in (3, 4, 5, 6, 7, 10, 11, 13, 14) for field in others):
        return None
    size, kind = 1, 0
    for field in others:
        if field.number == 1:
            at = field.value
            while at < field.end:
                dim, at = _varint(data, at)
                size *= dim
        elif field.number == 2:
            kind, _ = _varint(data, field.value)
    start, end = values[0].value, values[0].end
    if end - start < _TENSOR or size * _SIZES.get(kind, 0) != end - start:
        return None
    told = {"location": location, "offset": str(start), "length": str(end - start)}
    entries = (_bytes(1, k.encode()) + _bytes(2, v.encode()) for k, v in told.items())
    kept = b"".join(data[field.at : field.end] for field in others)
    return kept + b"".join(_bytes(13, entry) for entry in entries) + bytes([14 << 3 | _VARINT, 1])


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[_Field]:
    """The fields of a message; ValueError where they do not fill it exactly."""
    at = start
    while at < end:
        tag, value = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _, after = _varint(data, value)
        elif wire == _BYTES:
            length, value = _varint(data, value)
            after = value + length
        elif wire in (1, 5):
            after = value + (8 if wire == 1 else 4)
        else:
            raise ValueError(f"wire type {wire}")
        if after > end:
            raise ValueError("a field is cut short")
        yield _Field(number, wire, at, value, after)
        at = after


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """The number that begins there, and where it ends."""
    found = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        found |= (byte & 127) << shift
        if byte < 128:
            return found, at
    raise ValueError("a number of more than ten bytes")


def _bytes(number: int, value: bytes | bytearray) -> bytes:
    """A field of bytes."""
    return _number(number << 3 | _BYTES) + _number(len(value)) + bytes(value)


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
