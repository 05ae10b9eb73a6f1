"""Arrays whose files are cut, damaged, or say what is not so."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtool.data import open_dataset
from tests.data.folders import floats, model, refused, save_npz

IMAGE = model(x=("N", 3, 4, 5))


def npy_bytes(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def lying(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + bytes(240)


class Evil:
    """Unpickling it fails the test."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return pytest.fail, ("a pickle was loaded",)


GOOD = npy_bytes(np.zeros((3, 4, 5), np.float32))

BAD_FILES = {
    "objects": (npy_bytes(np.array([Evil()], dtype=object)), "pickle"),
    "pickle": (pickle.dumps(Evil()), "magic string"),
    "text": (npy_bytes(np.array(["a", "b"])), "not numbers"),
    "fields": (npy_bytes(np.zeros(2, [("a", "f4"), ("b", "i4")])), "not numbers"),
    "cut": (GOOD[:-1], "has 367"),
    "header cut": (GOOD[:40], "header"),
    "longer": (GOOD + b"x", "has 369"),
    "too many": (lying((2**40,)), "bytes"),
    "negative": (lying((-1, -60)), "(-1, -60)"),
    "empty": (b"", "empty"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\n", "magic string"),
    "unknown version": (GOOD[:6] + b"\x09" + GOOD[7:], "version"),
}


@pytest.mark.parametrize(("content", "why"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_bad_npy(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "0.npy").write_bytes(GOOD)
    (tmp_path / "1.npy").write_bytes(content)
    refused(tmp_path, IMAGE, "cannot read", "1.npy", why, "--on-bad-file skip")


@pytest.mark.parametrize(("content", "why"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_bad_npy_first_or_as_whole_set(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    refused(tmp_path, IMAGE, "cannot read", "x.npy", why)


@pytest.mark.parametrize(("content", "why"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_bad_array_in_npz(tmp_path: Path, content: bytes, why: str) -> None:
    for name, member in (("0", GOOD), ("1", content)):
        with zipfile.ZipFile(tmp_path / f"{name}.npz", "w") as archive:
            archive.writestr("x.npy", member)
    refused(tmp_path, IMAGE, "1.npz", "" if why == "empty" else why)


def test_every_cut_and_every_flipped_byte_of_an_npz(tmp_path: Path) -> None:
    path = tmp_path / "0.npz"
    save_npz(path, True, x=floats(3, 4, 5))
    good = path.read_bytes()
    for cut in range(0, len(good), 7):
        path.write_bytes(good[:cut])
        refused(tmp_path, IMAGE, "0.npz")
    for place in range(0, len(good), 3):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
        try:
            sample = open_dataset(tmp_path, IMAGE).sample(0)["x"]
        except Exception as error:
            assert type(error).__name__ == "DataError", (place, error)
        else:  # a byte that says nothing of the array, such as its date
            np.testing.assert_array_equal(sample, floats(3, 4, 5))


def test_whole_set_cut_after_it_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, floats(6, 3, 4, 5))
    data = open_dataset(tmp_path, IMAGE)
    path.write_bytes(path.read_bytes()[:-1])
    data.sample(4)
    with pytest.raises(Exception, match=r"cannot read .*x\.npy"):
        data.sample(5)
