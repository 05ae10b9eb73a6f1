"""What goes wrong at a URL: one error that names it, and nothing half fetched."""

from __future__ import annotations

import errno
import importlib
import sys
from pathlib import Path

import pytest

from qtool.data import open_dataset
from qtool.data.files import File
from qtool.data.remote import located
from qtool.errors import DataError, MachineError, install_command
from qtool.files import discard_temporaries
from tests.data.folders import contains, declare, floats, model, numbered, save_arrays
from tests.data.remotes import Counted, Faulty, forget, served, upload

FAULTY = "faulty://bucket/calib"
VECTOR = model(x=("N", 2))
CUT = [ConnectionResetError(errno.ECONNRESET, "connection reset"), EOFError(), None]


@pytest.fixture(autouse=True)
def empty() -> None:
    forget()


def refused(url: str, *parts: str) -> DataError:
    with pytest.raises(DataError) as caught:
        located(url)
    contains(caught.value, *parts)
    return caught.value


@pytest.mark.parametrize("url", ["counted://bucket/none", "memory://none/at/all.npy"])
def test_nothing_there(url: str) -> None:
    refused(url, f"no data at {url}", "no such folder or file")


def test_an_empty_folder() -> None:
    Counted().makedirs("/bucket/empty")
    with pytest.raises(DataError, match="no samples in counted://bucket/empty"):
        open_dataset(located("counted://bucket/empty"), VECTOR)


@pytest.mark.parametrize("error", CUT, ids=["reset", "no message", "shorter"])
def test_a_download_that_ends_in_the_middle(tmp_path: Path, error: Exception | None) -> None:
    numbered(tmp_path, 3)
    data = open_dataset(located(upload(tmp_path, FAULTY)), VECTOR)
    Faulty.faults[:] = [error]
    with pytest.raises(DataError) as caught:
        data.sample(1)
    shorter = "68 bytes arrived, and it is listed with 136"
    why = shorter if error is None else str(error) or "EOFError"
    contains(caught.value, f"{FAULTY}/0001.npy", why, "try again")
    assert str(data.path.parent) not in "".join([caught.value.what, caught.value.why])
    # what was there is the stub still, and the next time it is fetched
    assert {path.name for path in data.path.parent.rglob("*")} == {
        "data", "0000.npy", "0001.npy", "0002.npy",
    }  # fmt: skip
    assert (data.path / "0001.npy").read_bytes() == bytes(136)
    assert data.sample(1)["x"].tolist() == [1, 1]


def test_bad_samples_are_named_by_their_url(tmp_path: Path) -> None:
    numbered(tmp_path, 3)
    (tmp_path / "0001.npy").write_bytes(b"no array")
    (tmp_path / "0002.npy").write_bytes((tmp_path / "0000.npy").read_bytes()[:-1])
    data = open_dataset(located(upload(tmp_path, FAULTY)), VECTOR)
    with pytest.raises(DataError) as caught:
        data.check()
    contains(caught.value, f"{FAULTY}/0001.npy", f"{FAULTY}/0002.npy")


def test_a_declaration_that_cannot_be_read(tmp_path: Path) -> None:
    numbered(tmp_path, 1)
    declare(tmp_path, "[data")
    place = located(upload(tmp_path, FAULTY))
    with pytest.raises(DataError) as caught:
        open_dataset(place, VECTOR)
    contains(caught.value, f"{FAULTY}/qtool.toml")
    Faulty.faults[:] = [None]
    refused(FAULTY, f"cannot read {FAULTY}/qtool.toml", "bytes arrived")


def test_a_declared_file_outside_is_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "calib").mkdir()
    (tmp_path / "calib" / "texts.txt").write_text("a\n")
    (tmp_path / "v.txt").write_text("a\n")
    declare(tmp_path / "calib", '[data.inputs.x]\nvocabulary = "../v.txt"\n')
    upload(tmp_path, "counted://bucket")
    with pytest.raises(DataError, match="leads out of its folder"):
        open_dataset(located("counted://bucket/calib"), model(dtype="int64", x=("N", "L")))
    assert Counted.fetched == ["/bucket/calib/qtool.toml"]


@pytest.mark.parametrize("name", ["../x.npy", "a/../../x.npy", "a//x.npy", "nul\0.npy"])
def test_names_that_no_folder_can_hold(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = {f"/bucket/calib/{name}": {"type": "file", "size": 3}}
    monkeypatch.setattr(Counted, "find", lambda self, path, **kwargs: listing)
    refused("counted://bucket/calib", "cannot use counted://bucket/calib/", "rename it")


def test_two_names_that_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    listing = {f"/b/c/{name}": {"type": "file", "size": 3} for name in ("a", "a/b.npy")}
    monkeypatch.setattr(Counted, "find", lambda self, path, **kwargs: listing)
    refused("counted://b/c", "cannot use counted://b/c/a/b.npy", "exists")


def test_a_full_disk_is_the_machine(tmp_path: Path) -> None:
    numbered(tmp_path, 2)
    place = located(upload(tmp_path, FAULTY))
    Faulty.faults[:] = [OSError(errno.ENOSPC, "No space left on device")]
    # no file is to blame, so none is left out
    with pytest.raises(MachineError, match=f"cannot read {FAULTY}/0000.npy") as caught:
        open_dataset(place, VECTOR, on_bad_file="skip")
    assert caught.value.why == "No space left on device"


@pytest.mark.parametrize("module", ["fsspec", "s3fs", "gcsfs", "aiohttp", "smbclient"])
def test_what_is_not_installed_is_named(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url, fix = {
        "fsspec": ("counted://bucket", install_command("cluster")),
        "s3fs": ("s3://bucket/calib", "pip install s3fs"),
        "gcsfs": ("gs://bucket/calib", "pip install gcsfs"),
        "aiohttp": ("https://host/calib", "pip install aiohttp"),
        "smbclient": ("smb://host/calib", "pip install smbprotocol"),
    }[module]
    package = "fsspec" if module == "fsspec" else fix.split()[-1]
    protocol = url.partition(":")[0]
    registry = importlib.import_module("fsspec.registry")  # fsspec.registry is what is in it
    monkeypatch.delitem(registry._registry, protocol, raising=False)
    monkeypatch.delitem(sys.modules, f"fsspec.implementations.{protocol[:4]}", raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MachineError) as caught:
        located(url)
    assert caught.value.what == f"{url} needs the package {package}"
    assert caught.value.fix == fix


def test_an_unknown_kind_of_url() -> None:
    refused("nothing://bucket", "cannot read nothing://bucket", "Protocol not known")


def test_the_mirror_goes_when_a_signal_ends_the_process(tmp_path: Path) -> None:
    numbered(tmp_path, 2)
    place = located(upload(tmp_path, FAULTY))
    assert place.is_dir()
    discard_temporaries()
    assert not place.parent.exists()


def test_the_web(tmp_path: Path) -> None:
    """Pages that list a folder; names are decoded, and sizes not known before."""
    arrays = {"größe 1/a b": floats(2), "größe 1/c": floats(2), "d%2f/e": floats(2)}
    save_arrays(tmp_path / "calib", arrays)
    declare(tmp_path, "[data.inputs.x]\nscale = 2.0")
    local = open_dataset(tmp_path / "calib", VECTOR)
    with served(tmp_path) as (host, asked):
        remote = open_dataset(located(f"{host}/calib/"), VECTOR)
        assert list(remote.names) == list(local.names)
        assert remote.classes == local.classes == ("d%2f", "größe 1")
        assert remote.sample(1)["x"].tolist() == local.sample(1)["x"].tolist()
        fetched = [path for path in asked if path.endswith(".npy")]
        assert len(fetched) == 2  # the first, and the one that was read
        assert remote.fingerprint == local.fingerprint
        one = open_dataset(located(f"{host}/calib/d%252f/e.npy?signature=a/b"), VECTOR)
        assert list(one.names) == ["e.npy"]


def test_a_web_connection_that_is_lost(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"0": floats(2), "1.cut": floats(2)})
    with served(tmp_path) as (host, _):
        data = open_dataset(located(host), VECTOR)
        with pytest.raises(DataError) as caught:
            data.sample(1)
        contains(caught.value, f"cannot read {host}/1.cut.npy", "not completed")
        refused(f"{host}/none/", f"no data at {host}/none")
    error = refused(
        f"{host.replace('://', '://me:word@')}/calib/?key=secret", f"cannot list {host}/calib"
    )
    text = "".join([error.what, error.why, error.fix])
    assert "word" not in text and "secret" not in text
    assert not any(path.suffix == ".tmp" for path in data.path.parent.rglob("*"))


def test_other_files_are_not_touched(tmp_path: Path) -> None:
    numbered(tmp_path, 2)
    located(upload(tmp_path, FAULTY))
    with File(tmp_path / "0000.npy", "0000.npy").open() as stream:
        assert stream.read() == (tmp_path / "0000.npy").read_bytes()
    assert not Counted.fetched
