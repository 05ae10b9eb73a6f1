"""Files that cannot be used: how they are told, skipped, or passed over; and odd names."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from qtool.data import open_dataset
from qtool.data.files import printable
from qtool.errors import DataError
from qtool.signature import Signature
from tests.data.folders import model, noise, numbered, refused, save_arrays, save_image

X = model(x=("N", 2))


def with_bad(folder: Path) -> None:
    numbered(folder, 6)
    save_arrays(folder, {"labels": np.arange(6)})
    (folder / "0000.npy").write_bytes(b"")
    (folder / "0002.npy").write_bytes(b"text")
    save_arrays(folder, {"0004": np.array([np.nan, 1])})


def test_skipping_bad_files(tmp_path: Path) -> None:
    with_bad(tmp_path)
    data = open_dataset(tmp_path, X, on_bad_file="skip")
    assert data.names == ("0001.npy", "0003.npy", "0005.npy")
    assert data.skipped == ("0000.npy", "0002.npy", "0004.npy")
    assert data.labels is not None and data.labels.tolist() == [1, 3, 5]
    assert data.describe().startswith("used 3 of 6 files, ")
    assert data.choose(2, 0).skipped == data.skipped


def test_skipping_everything(tmp_path: Path) -> None:
    save_arrays(tmp_path, {str(number): noise(3) for number in range(8)})
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path, X, on_bad_file="skip")
    assert caught.value.what == "8 of 8 samples cannot be used"
    assert caught.value.why.splitlines()[-1] == "and 3 more"


def test_empty_files_are_told_at_once(tmp_path: Path) -> None:
    numbered(tmp_path, 1)
    for number in range(10, 52):
        (tmp_path / f"{number}.npy").touch()
    error = refused(tmp_path, X, "42 of 43", "10.npy: the file is empty", "and 37 more")
    assert len(error.why.splitlines()) == 6


def test_check_reads_everything(tmp_path: Path) -> None:
    data = numbered(tmp_path, 4)
    data.check()
    save_arrays(tmp_path, {"0001": np.zeros(3), "0003": np.zeros(4)})
    with pytest.raises(DataError, match="2 of 4 samples"):
        data.check()


def test_hidden_files_and_others_are_passed_over(tmp_path: Path) -> None:
    numbered(tmp_path, 2)
    for name in (".0.npy", "._0001.npy", ".git/0.npy", "README.md", "notes.txt", "a.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no array")
    assert open_dataset(tmp_path, X).names == ("0000.npy", "0001.npy")


def test_two_kinds_of_files(tmp_path: Path) -> None:
    numbered(tmp_path, 2)
    save_image(tmp_path / "a.png", noise(2, 2))
    refused(tmp_path, X, "npy and image", "one kind")


def test_no_samples(tmp_path: Path) -> None:
    refused(tmp_path, X, str(tmp_path), "empty", ".npy")
    (tmp_path / "a.pdf").touch()
    refused(tmp_path, X, "no samples", "only .pdf")
    refused(tmp_path / "a.pdf", X, "no samples", "only")
    refused(tmp_path / "absent", X, "absent", "no such folder")


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "dangling"])
def test_files_that_are_none(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    numbered(tmp_path, 1)
    path = tmp_path / "1.npy"
    if kind == "pipe":
        os.mkfifo(path)
        refused(path, X, "no such folder or file")
    elif kind == "socket":
        monkeypatch.chdir(tmp_path)  # the name of a socket must be short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("1.npy")
    elif kind == "folder":
        (tmp_path / "inner").mkdir()
        path.symlink_to(tmp_path / "inner")
    else:
        path.symlink_to(tmp_path / "nothing")
    why = "No such file" if kind == "dangling" else "not a regular file"
    refused(tmp_path, X, "cannot read", "1.npy", why)
    assert len(open_dataset(tmp_path, X, on_bad_file="skip")) == 1


def test_links(tmp_path: Path) -> None:
    folder = tmp_path / "calib"
    numbered(folder, 2)
    numbered(tmp_path / "elsewhere", 1)
    (folder / "inside.npy").symlink_to("0001.npy")
    (folder / "again").symlink_to(".")
    assert len(open_dataset(folder, X)) == 3
    (tmp_path / "link").symlink_to(folder)
    assert len(open_dataset(tmp_path / "link", X)) == 3
    (folder / "out.npy").symlink_to(tmp_path / "elsewhere" / "0000.npy")
    refused(folder, X, "out.npy", "outside the data folder")
    (folder / "out.npy").unlink()
    (folder / "out").symlink_to(tmp_path / "elsewhere")
    refused(folder, X, f"{folder}/out", "outside the data folder")


NAMES = {
    b"two words.npy": "two words.npy",
    "größe 数.npy".encode(): "größe 数.npy",
    b"\xff\xfe.npy": "\\xff\\xfe.npy",
    b"new\nline.npy": "new\\nline.npy",
    b"\x1b[31mred.npy": "\\x1b[31mred.npy",
    b"[bold]a.npy": "[bold]a.npy",
    b"::error::x.npy": "::error::x.npy",
}


@pytest.mark.parametrize(("name", "shown"), NAMES.items(), ids=NAMES.values())
def test_names(tmp_path: Path, name: bytes, shown: str) -> None:
    path = tmp_path / os.fsdecode(name)
    np.save(path, np.ones(2, np.float32))
    data = open_dataset(tmp_path, X)
    assert data.names == (shown,) and shown.isprintable()
    assert data.sample(0)["x"].tolist() == [1, 1] and len(data.fingerprint) == 32
    np.save(path, np.ones(3, np.float32))
    error = refused(tmp_path, X, shown)
    assert error.what.isprintable() and error.what.encode()


def test_folder_whose_name_is_not_utf8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    save_arrays(folder, {"0": noise(3)})
    assert "caf\\xe9/0.npy" in refused(folder, X).what
    assert printable(folder).endswith("caf\\xe9")


@pytest.mark.parametrize(
    ("signature", "part"),
    [
        (Signature((), ()), "no inputs"),
        (model(x=("N",), dtype="object"), "x object"),
        (model(x=("N",), dtype="str"), "x str"),
        (model(x=("N",), dtype="float3"), "x float3"),
        (model(x=()), "x float32 ()"),
    ],
)
def test_models_that_cannot_be_fed(tmp_path: Path, signature: Signature, part: str) -> None:
    save_arrays(tmp_path, {"0": noise(2)})
    refused(tmp_path, signature, part)
