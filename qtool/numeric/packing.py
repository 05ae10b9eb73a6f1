"""Codes of fewer than 8 bits packed as ONNX stores them: the first in the lowest bits of a byte."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


def packed(codes: NDArray[np.int8] | Bytes, bits: int) -> Bytes:
    """Codes of one byte each, of 2 or 4 bits, in the order of the array -> bytes; the last is
    filled with zeros.

    4 bits    q1 << 4 | q0
    2 bits    q3 << 6 | q2 << 4 | q1 << 2 | q0
    """
    many, flat = 8 // bits, np.ascontiguousarray(codes).reshape(-1).view(np.uint8)
    if flat.size % many:
        flat = np.pad(flat, (0, -flat.size % many))
    found = np.empty(flat.size // many, np.uint8)
    for start in range(0, found.size, _BYTES):
        part = flat[start * many : (start + _BYTES) * many] & np.uint8((1 << bits) - 1)
        into = found[start : start + _BYTES]
        into[:] = part[::many]
        for place in range(1, many):
            into |= part[place::many] << np.uint8(bits * place)
    return found


_BYTES = 1 << 16  # at a time, in the cache
