"""Data at a URL: the samples of the same folder on the disk, and no more fetched than is read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx.numpy_helper
import pytest

from qtool.data import open_dataset
from qtool.data.files import MIRRORS, File, list_files
from qtool.data.remote import located, release
from qtool.errors import DataError
from qtool.signature import Signature
from tests.data.folders import (
    declare,
    floats,
    model,
    noise,
    numbered,
    save_arrays,
    save_image,
    save_npz,
)  # fmt: skip
from tests.data.remotes import Counted, Walked, forget, upload
from tests.data.sounds import sound
from tests.data.tables import AB, save_csv, save_jsonl, save_parquet

URL = "counted://bucket/set/calib"
VECTOR = model(x=("N", 2))
PICTURE = model(image=("N", 3, 4, 4))


@pytest.fixture(autouse=True)
def empty() -> None:
    forget()


def images(folder: Path) -> Signature:
    for number, label in enumerate(("cat", "dog", "cat", "emu")):
        save_image(folder / label / f"{number}.png", noise(4, 4, 3, seed=number))
    declare(folder, "[data.inputs.image]\nscale = 0.5")
    return PICTURE


def labelled(folder: Path) -> Signature:
    save_arrays(folder, {f"{i}": floats(2) for i in range(3)})
    (folder / "labels.csv").write_text("file,label\n0.npy,b\n1.npy,a\n2.npy,b\n")
    return VECTOR


def whole(folder: Path) -> Signature:
    save_arrays(folder, {"x": np.asfortranarray(floats(5, 2)), "labels": np.arange(5)})
    return VECTOR


def two_inputs(folder: Path) -> Signature:
    save_arrays(folder, {f"{name}/{i}": floats(2) + i for name in "xy" for i in range(3)})
    return model(x=("N", 2), y=("N", 2))


def zipped(folder: Path) -> Signature:
    save_npz(folder / "set.npz", compressed=True, x=floats(5, 2), y=np.arange(5))
    return VECTOR


def zips(folder: Path) -> Signature:
    for number in range(3):
        save_npz(folder / f"{number}.npz", x=floats(2) + number)
    return VECTOR


def sounds(folder: Path) -> Signature:
    for number in range(3):
        (folder / f"{number}.wav").write_bytes(sound(np.arange(8, dtype=np.int16) * number))
    return model(x=("N", 8))


def batches(folder: Path) -> Signature:
    for number in range(2):
        place = folder / f"test_data_set_{number}"
        place.mkdir()
        tensor = onnx.numpy_helper.from_array(floats(3, 2) + number, "x")
        (place / "input_0.pb").write_bytes(tensor.SerializeToString())
    return VECTOR


def table_of(save: Callable[..., None], suffix: str) -> Callable[[Path], Signature]:
    def make(folder: Path) -> Signature:
        save(folder / f"rows.{suffix}", {**AB, "label": list("pqpqp")})
        return VECTOR

    return make


def texts(folder: Path) -> Signature:
    """The vocabulary is declared, and lies, in the folder above."""
    (folder / "texts.txt").write_text("a b\nb\n")
    (folder.parent / "words").mkdir()
    (folder.parent / "words" / "v.txt").write_text("a\nb\n")
    declare(
        folder.parent, '[data.inputs.x]\nfrom="text"\nvocabulary="./words/v.txt"\nunit="word"\n'
    )
    return model(dtype="int64", x=("N", "length"))


MAKERS = {
    "images": images, "labels.csv": labelled, "npy": whole, "two inputs": two_inputs,
    "npz": zipped, "npz files": zips, "wav": sounds, "pb": batches, "texts": texts,
    "csv": table_of(save_csv, "csv"), "jsonl": table_of(save_jsonl, "jsonl"),
    "parquet": table_of(save_parquet, "parquet"),
}  # fmt: skip


def assert_same(url: str, path: Path, signature: Signature) -> None:
    remote, local = (open_dataset(place, signature) for place in (located(url), path))
    assert list(remote.names) == list(local.names)
    assert (remote.unit, remote.classes) == (local.unit, local.classes)
    for index in range(len(local)):
        for name, array in local.sample(index).items():
            np.testing.assert_array_equal(remote.sample(index)[name], array)
    np.testing.assert_equal(remote.labels, local.labels)
    assert remote.fingerprint == local.fingerprint


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("scheme", ["counted", "memory", "walked", "file"])
def test_a_url_is_read_as_the_same_folder_is(tmp_path: Path, kind: str, scheme: str) -> None:
    folder = tmp_path / "calib"
    folder.mkdir()
    signature = MAKERS[kind](folder)
    above = f"memory://{tmp_path.name}" if scheme == "memory" else f"{scheme}://bucket/set"
    url = f"file://{tmp_path}" if scheme == "file" else upload(tmp_path, above)
    for slash in ("", "/"):
        assert_same(f"{url}/calib{slash}", folder, signature)


def test_only_what_is_read_is_fetched(tmp_path: Path) -> None:
    local = numbered(tmp_path / "calib", 2000).choose(256, 0)
    upload(tmp_path / "calib", URL)
    remote = open_dataset(located(URL), VECTOR).choose(256, 0)
    assert Counted.fetched == ["/bucket/set/calib/0000.npy"]  # the first is always looked at
    for index in range(256):
        np.testing.assert_array_equal(remote.sample(index)["x"], local.sample(index)["x"])
        remote.sample(index)
    expected = [f"/bucket/set/calib/{name}" for name in local.names]
    assert sorted(Counted.fetched) == sorted({"/bucket/set/calib/0000.npy", *expected})
    assert Counted.listings == [URL.removeprefix("counted:/")]


def test_labels_of_folders_fetch_nothing(tmp_path: Path) -> None:
    signature = images(tmp_path)
    labels = open_dataset(located(upload(tmp_path, URL)), signature).labels
    assert labels is not None and labels.tolist() == [0, 0, 1, 2]
    assert sorted(Counted.fetched) == [
        "/bucket/set/calib/cat/0.png", "/bucket/set/calib/qtool.toml",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["npy", "npz", "csv", "parquet"])
def test_one_file(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    signature = MAKERS[kind](folder)
    (folder / "labels.npy").unlink(missing_ok=True)
    (file,) = folder.iterdir()
    declare(folder, "[data.inputs.x]\nscale = 3.0")
    declare(tmp_path, "[data.inputs.x]\nscale = 5.0")  # the nearer one counts
    upload(tmp_path, "counted://bucket")
    assert_same(f"counted://bucket/set/{file.name}", file, signature)
    assert {name.rpartition("/")[2] for name in Counted.fetched} == {file.name, "qtool.toml"}


def test_one_file_takes_its_vocabulary_along(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("a b\nb\n")
    (tmp_path / "v.txt").write_text("a\nb\n")
    declare(tmp_path, '[data.inputs.x]\nvocabulary = "v.txt"\nunit = "word"\n')
    upload(tmp_path, URL)
    signature = model(dtype="int64", x=("N", "length"))
    assert_same(f"{URL}/texts.txt", tmp_path / "texts.txt", signature)


def test_hidden_files_are_passed_over(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"0": floats(2), ".1": floats(2), ".hidden/2": floats(2)})
    assert list(open_dataset(located(upload(tmp_path, URL)), VECTOR).names) == ["0.npy"]


def test_empty_files_are_bad_files(tmp_path: Path) -> None:
    save_arrays(tmp_path, {"0": floats(2)})
    (tmp_path / "1.npy").touch()
    with pytest.raises(DataError, match=rf"{URL}/1\.npy"):
        open_dataset(located(upload(tmp_path, URL)), VECTOR)
    left = open_dataset(located(URL), VECTOR, on_bad_file="skip")
    assert (list(left.names), left.skipped) == (["0.npy"], ("1.npy",))


def test_threads_fetch_a_file_once(tmp_path: Path) -> None:
    numbered(tmp_path, 4)
    root = located(upload(tmp_path, URL))
    files = [File(root / f"{i % 4:04}.npy", "") for i in range(64)]

    def read(file: File) -> bytes:
        with file.open() as stream:
            return stream.read()

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(read, files))
    assert found == [(tmp_path / file.path.name).read_bytes() for file in files]
    assert len(Counted.fetched) == 4


def test_stubs_take_no_space() -> None:
    Counted().pipe_file("/bucket/big.npy", bytes(2**24))
    path = located("counted://bucket/big.npy")
    assert (path.stat().st_size, path.stat().st_blocks) == (2**24, 0)
    assert path.parent.parent.stat().st_mode & 0o077 == 0


def test_what_changed_at_the_url_is_seen_by_the_next(tmp_path: Path) -> None:
    for count in (3, 5):
        numbered(tmp_path, count)
        assert len(open_dataset(located(upload(tmp_path, URL)), VECTOR)) == count


def test_a_file_url_is_the_folder_itself(tmp_path: Path) -> None:
    assert located(f"file://{tmp_path}") == tmp_path
    assert located(f"local://{tmp_path}/x y.npy") == tmp_path / "x y.npy"


def test_local_names_that_look_like_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("s3:", "s3:/bucket", "a::b", "memory:x"):
        numbered(tmp_path / name, 2)
        files, _ = list_files(located(name), {".npy"})
        assert len(files) >= 2


def test_a_folder_at_a_time_each_once(tmp_path: Path) -> None:
    save_arrays(tmp_path, {f"{i % 3}/{i % 2}/{i}": floats(2) for i in range(12)})
    located(upload(tmp_path, "walked://bucket"))
    assert len(Counted.listings) == len(set(Counted.listings)) == 1 + 3 + 3 * 2
    Walked.closed.add("/bucket/1")
    with pytest.raises(DataError, match="cannot list walked://bucket") as caught:
        located("walked://bucket")
    assert caught.value.why == "Access Denied"


def test_a_mirror_is_removed_when_it_is_released(tmp_path: Path) -> None:
    numbered(tmp_path, 2)
    upload(tmp_path, URL)
    first, second = located(URL), located(f"{URL}/0001.npy")
    count = len(MIRRORS)
    release(tmp_path)
    assert (len(MIRRORS), first.is_dir(), second.is_file()) == (count, True, True)
    release(second)
    assert (len(MIRRORS), first.is_dir(), second.exists()) == (count - 1, True, False)
    release(first)
    assert len(MIRRORS) == count - 2
    assert not first.parent.exists() and not second.parent.parent.exists()


def test_the_mirror_goes_with_the_process(tmp_path: Path) -> None:
    code = """if True:
        import os, sys, fsspec
        from qtool.data.remote import located
        fsspec.filesystem("memory").pipe_file("/a/0.npy", b"x")
        print(located("memory://a"), flush=True)
        if os.fork():
            os.wait()
            assert os.listdir(os.environ["TMPDIR"])
    """
    command = [sys.executable, "-c", code]
    ran = subprocess.run(
        command, capture_output=True, text=True, env={"TMPDIR": str(tmp_path)}, check=True
    )
    assert ran.stdout.startswith(str(tmp_path))
    assert not list(tmp_path.iterdir())
