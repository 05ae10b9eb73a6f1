"""The WAV format, read without believing what a header says.

https://www.mmsp.ece.mcgill.ca/Documents/AudioFormats/WAVE/WAVE.html. A parser of our own, because
Python's `wave` knows no float and, before 3.12, no WAVE_FORMAT_EXTENSIBLE, and because scipy, or
soundfile with its C library, is much to install for a header and an array.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
# (format, bits) -> the numpy type in the file
DTYPES = {
    (PCM, 8): "u1",
    (PCM, 16): "<i2",
    (PCM, 24): "3u1",  # numpy has no such type
    (PCM, 32): "<i4",
    (FLOAT, 32): "<f4",
    (FLOAT, 64): "<f8",
}
# what else such files hold, for the message
CODECS = {
    2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 49: "GSM 6.10", 80: "MPEG", 85: "MP3",
    255: "AAC",
}  # fmt: skip
# the rest of an extensible format's identifier, behind its number
GUID = bytes.fromhex("000000001000800000aa00389b71")
CHUNKS = 1000  # more than any editor writes; without a bound, empty ones could be counted for hours
UNKNOWN = 2**32 - 1  # the size that a program writes which cannot go back, as into a pipe


@dataclass(frozen=True)
class Form:
    """How samples are stored: PCM or FLOAT, bits of one, channels of a frame, frames a second."""

    format: int
    bits: int
    channels: int
    rate: int

    @property
    def frame_bytes(self) -> int:
        return self.channels * self.bits // 8


@dataclass(frozen=True)
class Header:
    """What a WAV file says of itself, checked against its real size."""

    form: Form
    offset: int  # of the first frame
    frames: int


def read_header(stream: IO[bytes], size: int) -> Header:
    """The header of a WAV file of `size` bytes.

    Raises ValueError for other formats, for codecs (only PCM and float are read), where sizes do
    not agree, and where there are no samples.
    """
    start = stream.read(12)
    if start[:4] != b"RIFF" or start[8:] != b"WAVE":
        raise ValueError(_looks_like(start))
    form: Form | None = None
    place = 12
    for _ in range(CHUNKS):
        stream.seek(place)
        head = stream.read(8)
        if len(head) < 8:
            raise ValueError(f"it has no {'data' if form else 'fmt'} chunk")
        name, length = head[:4], int.from_bytes(head[4:], "little")
        place += 8
        if name == b"fmt ":
            form = _form(stream.read(min(length, 40)))
        elif name == b"data":
            if form is None:
                raise ValueError("its data chunk comes before its fmt chunk")
            return _header(form, place, length, size)
        place += length + length % 2  # chunks begin at even places
    raise ValueError(f"it has more than {CHUNKS} chunks, and none of them is data")


def read_frames(stream: IO[bytes], header: Header, most: int | None = None) -> NDArray[Any]:
    """The first `most` frames as stored, (frames, channels): uint8, int16, int32 or a float type.

    Samples of 24 bits are the upper bits of int32. ValueError where the file ends too soon.
    """
    form = header.form
    frames = header.frames if most is None else min(most, header.frames)
    stream.seek(header.offset)
    data = stream.read(frames * form.frame_bytes)
    if len(data) < frames * form.frame_bytes:
        raise ValueError("the file ends in the middle of its samples")
    if form.bits == 24:
        padded = np.zeros((frames * form.channels, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        stored: NDArray[Any] = padded.view("<i4")
    else:
        stored = np.frombuffer(data, DTYPES[form.format, form.bits])
    return stored.reshape(frames, form.channels)


def full_scale(stored: NDArray[Any]) -> NDArray[Any]:
    """Integers as float32 in -1 … 1: int x / 2^(bits - 1), uint8 (x - 128) / 128; floats stay."""
    if stored.dtype == np.uint8:
        return (stored.astype(np.float32) - 128) / 128
    if stored.dtype.kind == "i":
        return stored.astype(np.float32) / np.float32(2 ** (8 * stored.dtype.itemsize - 1))
    return stored


def _form(data: bytes) -> Form:
    """What a fmt chunk says."""
    if len(data) < 16:
        raise ValueError(f"its fmt chunk has {len(data)} bytes, and 16 is the least")
    number, channels, rate, _, frame, bits = struct.unpack("<HHIIHH", data[:16])
    if number == EXTENSIBLE:
        if len(data) < 40 or data[26:] != GUID:
            raise ValueError("its format is an extension that is neither PCM nor float")
        number = int.from_bytes(data[24:26], "little")
    if number not in (PCM, FLOAT):
        codec = CODECS.get(number, "a codec")
        raise ValueError(f"it holds {codec} (format {number}); only PCM and float are read")
    if (number, bits) not in DTYPES:
        kinds = "8, 16, 24 or 32" if number == PCM else "32 or 64"
        kind = "PCM" if number == PCM else "float"
        raise ValueError(f"it holds {kind} of {bits} bits; {kinds} are read")
    if not channels or not rate or frame != channels * bits // 8:
        raise ValueError(
            f"its header contradicts itself: {channels} channels of {bits} bits at {rate} Hz in "
            f"frames of {frame} bytes"
        )
    return Form(number, bits, channels, rate)


def _header(form: Form, offset: int, length: int, size: int) -> Header:
    if length == UNKNOWN:
        raise ValueError(
            "its header does not say how long it is, as when it was written into a pipe: convert "
            "it from file to file"
        )
    if length > size - offset:
        raise ValueError(f"its header says {length} bytes of samples, and it has {size - offset}")
    frames, rest = divmod(length, form.frame_bytes)
    if rest:
        raise ValueError(f"its {length} bytes of samples are no whole number of frames")
    if not frames:
        raise ValueError("it holds no samples")
    return Header(form, offset, frames)


def _looks_like(start: bytes) -> str:
    known = {b"RF64": "RF64", b"RIFX": "big-endian (RIFX)", b"fLaC": "FLAC", b"OggS": "Ogg"}
    known |= {b"FORM": "AIFF", b"ID3\x03": "MP3", b"ID3\x04": "MP3"}
    what = known.get(start[:4])
    return f"it is {what}, not RIFF WAVE" if what else "it is not RIFF WAVE"
