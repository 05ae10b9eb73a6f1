"""The .npz format: a zip of .npy files, where a small file can claim to be a very large one."""

from __future__ import annotations

import os
import threading
import weakref
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from qtool.data.files import File, listed
from qtool.data.npy import Header, read_array, read_header

# Bytes of one array, or of one sample of a whole set, once unpacked. A zip bomb says far more.
LIMIT = 2**30


@contextmanager
def _member(file: File, key: str) -> Iterator[tuple[IO[bytes], int]]:
    """One array's bytes and their size as the zip declares it; zipfile never gives more."""
    with file.open() as stream, zipfile.ZipFile(stream) as archive:
        if f"{key}.npy" not in archive.namelist():
            raise ValueError(f'it has no array "{key}", only {listed(_keys(archive))}')
        info = archive.getinfo(f"{key}.npy")
        with archive.open(info) as member:
            yield member, info.file_size


def _keys(archive: zipfile.ZipFile) -> list[str]:
    return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def keys_of(file: File) -> list[str]:
    """The names of the arrays in a file. DataError where it is no zip."""
    with file.open() as stream, zipfile.ZipFile(stream) as archive:
        if not (keys := _keys(archive)):
            raise ValueError("it holds no arrays")
        return keys


def header_of(file: File, key: str) -> Header:
    """Shape and dtype of one array, without unpacking it. DataError where the header lies."""
    with _member(file, key) as (member, size):
        return read_header(member, size)


def read_member(file: File, key: str) -> NDArray[Any]:
    """One array of a file. DataError where it is damaged or unpacks to more than `LIMIT`."""
    with _member(file, key) as (member, size):
        _refuse_bomb(size)
        return read_array(member, size)


def _refuse_bomb(size: int) -> None:
    if size > LIMIT:
        raise ValueError(f"it unpacks to {size:,} bytes, over the limit of {LIMIT:,}")


class Rows:
    """One array of a .npz file by rows, unpacked as a stream: memory holds one row at a time.

    Going forward is cheap, going back starts the stream again; `Dataset` goes forward.
    """

    def __init__(self, file: File, key: str, header: Header) -> None:
        self.file = file
        self.key = key
        self.header = header
        self._lock = threading.Lock()
        self._owner = 0
        self._stream: IO[bytes] | None = None

    def read(self, index: int) -> NDArray[Any]:
        """Row `index`. Raises DataError where the file is damaged or one row is over `LIMIT`."""
        if self.header.fortran:  # a row lies scattered over the whole array
            return np.asarray(self._whole[index])
        # The file is opened here only so that its errors name it.
        with self._lock, self.file.open():
            _refuse_bomb(self.header.row_bytes)
            stream = self._opened()
            stream.seek(self.header.offset + index * self.header.row_bytes)
            return self.header.array(stream.read(self.header.row_bytes), self.header.shape[1:])

    @cached_property
    def _whole(self) -> NDArray[Any]:
        return read_member(self.file, self.key)

    def _opened(self) -> IO[bytes]:
        # A forked process would share the position in the file with its parent.
        if self._stream is None or self._owner != os.getpid():
            self._owner = os.getpid()
            # Closed with this object: a context would close it after one row.
            archive = zipfile.ZipFile(self.file.path)
            self._stream = archive.open(f"{self.key}.npy")
            weakref.finalize(self, _close, self._stream, archive)
        return self._stream


def _close(stream: IO[bytes], archive: zipfile.ZipFile) -> None:
    stream.close()
    archive.close()
