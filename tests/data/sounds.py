"""Files of .wav, chunk by chunk, and what is fed of them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from qtool.data import open_dataset
from tests.data.folders import model

X = model(x=("N", "T"))
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
GUID = bytes.fromhex("000000001000800000aa00389b71")


def chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def form(kind: int, bits: int, channels: int = 1, rate: int = 16000, frame: int = 0) -> bytes:
    frame = frame or channels * bits // 8
    return struct.pack("<HHIIHH", kind, channels, rate, rate * frame, frame, bits)


def extensible(kind: int, bits: int, guid: bytes = GUID) -> bytes:
    more = struct.pack("<HHIH", 22, bits, 0, kind)
    return form(EXTENSIBLE, bits) + more + guid


def riff(*chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + sum(map(len, chunks))) + b"WAVE" + b"".join(chunks)


def sound(values: Any, rate: int = 16000, kind: int | None = None) -> bytes:
    """A file of these values, (n,) or (n, channels), as their dtype says."""
    array = np.asarray(values)
    kind = kind or (FLOAT if array.dtype.kind == "f" else PCM)
    channels = 1 if array.ndim == 1 else array.shape[1]
    head = form(kind, array.dtype.itemsize * 8, channels, rate)
    return riff(chunk(b"fmt ", head), chunk(b"data", array.tobytes()))


def ramp(count: int, channels: int = 1) -> Any:
    """int16 values, each its own: channel c counts from 1000 * c."""
    values = np.arange(count)[:, None] + 1000 * np.arange(channels)
    return (values[:, 0] if channels == 1 else values).astype(np.int16)


def fed(folder: Path, signature: Any = X) -> Any:
    return open_dataset(folder, signature).sample(0)["x"]
