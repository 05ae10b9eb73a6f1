"""Lines of a file, found once and read when they are asked for: 8 bytes of memory a row."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import IO

from qtool.data.files import File, printable
from qtool.errors import DataError

# Bytes of one line, and so of one row. A file that has no lines would be one of any size.
LIMIT = 2**26
# Bytes that are read at once, so that rows in their order do not each open the file.
WINDOW = 2**18
BOM = b"\xef\xbb\xbf"


def lines_of(stream: IO[bytes]) -> Iterator[bytes]:
    """Each line from here on, with its end. ValueError for UTF-16, and for a line over `LIMIT`."""
    number = 0
    while line := stream.readline(LIMIT + 1):
        number += 1
        if len(line) > LIMIT:
            raise ValueError(f"line {number} is longer than {LIMIT:,} bytes")
        if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise ValueError("it is UTF-16, and only UTF-8 is read")
        yield line


class Pieces:
    """Parts of a file, each from one of `starts` to the next; the last of them is the end."""

    def __init__(self, file: File, starts: array[int]) -> None:
        self.file = file
        self.starts = starts
        self._window = (0, b"")

    def __len__(self) -> int:
        return len(self.starts) - 1

    def read(self, index: int) -> bytes:
        """One part. Raises DataError where the file cannot be read, or is shorter than it was."""
        start, end = self.starts[index], self.starts[index + 1]
        at, window = self._window
        if not at <= start <= end <= at + len(window):
            with self.file.open() as stream:
                stream.seek(start)
                at, window = start, stream.read(max(WINDOW, end - start))
            if len(window) < end - start:
                why = "it is shorter than it was when it was opened"
                raise DataError(f"cannot read {printable(self.file.path)}", why, "try again")
            self._window = at, window
        return window[start - at : end - at]


def decoded(line: bytes) -> str:
    """The line as text. ValueError where it is not UTF-8."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = line[error.start]
        raise ValueError(f"byte {byte:#04x} is not UTF-8 (only UTF-8 is read)") from error
