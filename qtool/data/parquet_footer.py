"""What the footer of a .parquet file claims of its row groups, read without unpacking anything.

pyarrow ends the process when it is asked for a damaged column chunk, so its own accessors of these
are not used. https://parquet.apache.org/docs/file-format/metadata (Thrift's compact protocol).
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import unpack
from typing import IO, Any

TAIL = 8  # bytes: the footer's length and the magic "PAR1"

# Bytes of a value once unpacked, by physical type: boolean, int32, int64, int96, float, double,
# text (its number in a dictionary, which stays packed), bytes of fixed length.
WIDTHS = (1, 4, 8, 8, 4, 8, 4, 2)
TEXT = 6
# Plain, dictionaries and run lengths: what can be unpacked to a dictionary.
PLAIN = frozenset({0, 2, 3, 4, 8})


@dataclass(frozen=True)
class Chunk:
    """One leaf of a column in one row group: its path, the bytes it claims to unpack to."""

    path: str
    size: int
    text: bool  # in an encoding that can stay a dictionary


def chunks_of(stream: IO[bytes]) -> list[list[Chunk]]:
    """The chunks of each row group. ValueError where the footer is not whole."""
    end = stream.seek(0, 2)
    stream.seek(max(0, end - TAIL))
    length = int.from_bytes(stream.read(TAIL)[:4], "little")
    stream.seek(max(0, end - TAIL - length))
    try:
        groups = _Thrift(stream.read(length)).struct()[4]
        return [[_chunk(chunk[3]) for chunk in group[1]] for group in groups]
    except (IndexError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("its footer is damaged") from error


def _chunk(found: dict[int, Any]) -> Chunk:
    kind, count = found[1], found[5]
    path = b".".join(found[3]).decode("utf-8")
    size = max(0, found[6], count * WIDTHS[kind])
    return Chunk(path, size, kind == TEXT and PLAIN.issuperset(found[2]))


class _Thrift:
    """Structs as {field: value}, lists as lists; IndexError where the bytes end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def struct(self) -> dict[int, Any]:
        found: dict[int, Any] = {}
        field = 0
        while kind := self._byte():
            field = field + (kind >> 4) if kind >> 4 else self._signed()
            found[field] = self._value(kind & 15)
        return found

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _unsigned(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 128:
            value |= (byte & 127) << shift
            shift += 7
        return value | byte << shift

    def _signed(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)

    def _value(self, kind: int) -> Any:
        match kind:
            case 1 | 2:  # a boolean is its own type
                return kind == 1
            case 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._signed()
            case 7:
                self.at += 8
                return unpack("<d", self.data[self.at - 8 : self.at])[0]
            case 8:
                length = self._unsigned()
                self.at += length
                if self.at > len(self.data):
                    raise IndexError
                return self.data[self.at - length : self.at]
            case 9 | 10:
                return self._list()
            case 12:
                return self.struct()
        raise KeyError(kind)

    def _list(self) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._unsigned()
        if head & 15 in (1, 2):
            return [self._byte() == 1 for _ in range(count)]
        return [self._value(head & 15) for _ in range(count)]
