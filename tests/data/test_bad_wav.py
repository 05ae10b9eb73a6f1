""".wav files that are cut, lie, or hold what is not read."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from qtool.data import open_dataset
from tests.data.folders import refused
from tests.data.sounds import FLOAT, PCM, X, chunk, extensible, fed, form, ramp, riff, sound

GOOD = sound(ramp(20))
FMT = chunk(b"fmt ", form(PCM, 16))
DATA = chunk(b"data", bytes(40))


def claims(size: int) -> bytes:
    """A data chunk of 40 bytes that says it has `size`."""
    return riff(FMT, b"data" + struct.pack("<I", size) + bytes(40))


BAD_FILES = {
    "empty": (b"", "the file is empty"),
    "text": (b"version https://git-lfs.github.com/spec/v1\n", "not RIFF WAVE"),
    "flac": (b"fLaC" + bytes(40), "it is FLAC, not RIFF WAVE"),
    "mp3": (b"ID3\x04" + bytes(40), "it is MP3"),
    "aiff": (b"FORM" + bytes(40), "it is AIFF"),
    "rf64": (b"RF64" + bytes(40), "it is RF64"),
    "big-endian": (b"RIFX" + bytes(40), "RIFX"),
    "avi": (b"RIFF\0\0\0\0AVI " + bytes(40), "not RIFF WAVE"),
    "cut header": (GOOD[:30], "fmt chunk has 10 bytes"),
    "cut before data": (GOOD[:40], "no data chunk"),
    "no chunks": (GOOD[:12], "no fmt chunk"),
    "cut data": (GOOD[:-2], "says 40 bytes of samples, and it has 38"),
    "huge": (claims(2**32 - 2), f"says {2**32 - 2} bytes of samples, and it has 40"),
    "pipe": (claims(2**32 - 1), "written into a pipe"),
    "no samples": (riff(FMT, chunk(b"data", b"")), "it holds no samples"),
    "half a frame": (riff(FMT, chunk(b"data", bytes(5))), "no whole number of frames"),
    "data first": (riff(DATA, FMT), "data chunk comes before"),
    "huge chunk": (riff(b"JUNK" + struct.pack("<I", 2**32 - 1), FMT, DATA), "no fmt chunk"),
    "many chunks": (riff(*[chunk(b"JUNK", b"")] * 2000, FMT, DATA), "more than 1000 chunks"),
    "short fmt": (riff(chunk(b"fmt ", bytes(14)), DATA), "fmt chunk has 14 bytes"),
    "mu-law": (riff(chunk(b"fmt ", form(7, 8)), DATA), "mu-law (format 7)"),
    "adpcm": (riff(chunk(b"fmt ", form(2, 4, frame=1)), DATA), "ADPCM (format 2)"),
    "unknown codec": (riff(chunk(b"fmt ", form(999, 8)), DATA), "a codec (format 999)"),
    "12 bit": (riff(chunk(b"fmt ", form(PCM, 12, frame=2)), DATA), "PCM of 12 bits"),
    "float 16": (riff(chunk(b"fmt ", form(FLOAT, 16)), DATA), "float of 16 bits"),
    "no channels": (riff(chunk(b"fmt ", form(PCM, 16, 0, frame=2)), DATA), "0 channels"),
    "rate 0": (riff(chunk(b"fmt ", form(PCM, 16, rate=0)), DATA), "at 0 Hz"),
    "frames lie": (riff(chunk(b"fmt ", form(PCM, 16, frame=6)), DATA), "frames of 6 bytes"),
    "other guid": (riff(chunk(b"fmt ", extensible(PCM, 16, b"x" * 14)), DATA), "an extension"),
    "short guid": (riff(chunk(b"fmt ", extensible(PCM, 16)[:30]), DATA), "an extension"),
    "nan": (sound(np.array([np.nan, 1], np.float32)), "1 of 2 values are NaN"),
}


@pytest.mark.parametrize(("content", "why"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_bad_wav(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "0.wav").write_bytes(GOOD)
    (tmp_path / "1.wav").write_bytes(content)
    refused(tmp_path, X, "1.wav", why, "--on-bad-file skip")
    data = open_dataset(tmp_path, X, on_bad_file="skip")
    assert data.names == ("0.wav",) and data.skipped == ("1.wav",)
    (tmp_path / "0.wav").unlink()
    refused(tmp_path, X, "1.wav", why)


def test_every_cut_and_every_flipped_byte(tmp_path: Path) -> None:
    path = tmp_path / "0.wav"
    for cut in range(1, len(GOOD)):
        path.write_bytes(GOOD[:cut])
        refused(tmp_path, X, "0.wav")
    for place in range(len(GOOD)):
        path.write_bytes(GOOD[:place] + bytes([GOOD[place] ^ 0x55]) + GOOD[place + 1 :])
        try:
            assert fed(tmp_path).size <= 20
        except Exception as error:
            assert type(error).__name__ == "DataError", (place, error)


def test_file_cut_after_its_header_was_read(tmp_path: Path) -> None:
    path = tmp_path / "0.wav"
    path.write_bytes(GOOD)
    data = open_dataset(tmp_path, X)
    path.write_bytes(GOOD[:-4])
    with pytest.raises(Exception, match=r"cannot read .*0\.wav"):
        data.sample(0)
