"""The .npy format, read without pickle and without believing what a header says.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

HEADERS = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}


@dataclass(frozen=True)
class Header:
    """What a .npy file says of itself, checked against its real size."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def array(self, data: bytes, shape: tuple[int, ...]) -> NDArray[Any]:
        """The bytes as an array. ValueError where there are too few of them."""
        if len(data) < math.prod(shape) * self.dtype.itemsize:
            raise ValueError("the file ends in the middle of an array")
        return np.frombuffer(data, self.dtype).reshape(shape, order="F" if self.fortran else "C")


def read_header(stream: IO[bytes], size: int) -> Header:
    """The header of a .npy file of `size` bytes, with the stream left at the data.

    Raises ValueError for objects (pickle), for dtypes that are no numbers, and where shape and size
    do not agree.
    """
    version = npy_format.read_magic(stream)
    if version not in HEADERS:
        raise ValueError(f"version {version} of the npy format is not known")
    shape, fortran, dtype = HEADERS[version](stream)
    header = Header(shape, dtype, fortran and len(shape) > 1, stream.tell())
    if dtype.hasobject:
        raise ValueError("it holds Python objects (pickle), which are never loaded")
    if dtype.kind not in "biufc":
        raise ValueError(f"it holds {dtype}, not numbers")
    needed = header.offset + math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or needed != size:
        raise ValueError(f"its header says {shape} {dtype}, {needed} bytes, and it has {size}")
    return header


def read_array(stream: IO[bytes], size: int) -> NDArray[Any]:
    """The whole array of a .npy file of `size` bytes. ValueError as `read_header`."""
    header = read_header(stream, size)
    return header.array(stream.read(size - header.offset), header.shape)
