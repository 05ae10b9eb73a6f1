"""Which names an output may take, what becomes of links and modes, and what is refused."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from qtool.errors import MachineError, UsageError
from qtool.files import atomic_path, atomic_write, check_output

OLD, WHOLE = b"old", b"new bytes"


def test_an_existing_file_needs_force(tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    path.write_bytes(OLD)
    with pytest.raises(UsageError) as caught:
        atomic_write(path, WHOLE, force=False)
    assert "-f" in caught.value.fix
    assert path.read_bytes() == OLD


def no_links(*_: Any, **__: Any) -> None:
    raise OSError(errno.EPERM, "no hard links here")


@pytest.mark.parametrize("hard_links", [True, False])
def test_of_two_runs_at_once_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool
) -> None:
    if not hard_links:
        monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "out.onnx"
    with pytest.raises(UsageError, match="exists"), atomic_path(path, force=False) as slow:
        slow.write_bytes(b"slow")
        atomic_write(path, b"fast", force=False)
    assert path.read_bytes() == b"fast"
    assert list(tmp_path.iterdir()) == [path]


def test_without_hard_links_the_folder_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", no_links)
    real, locked = os.replace, []

    def replace(*args: Any) -> None:
        other = os.open(tmp_path, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked.append(True)
        finally:
            os.close(other)
        real(*args)

    monkeypatch.setattr(os, "replace", replace)
    atomic_write(tmp_path / "out", WHOLE, force=False)
    assert locked == [True]
    assert (tmp_path / "out").read_bytes() == WHOLE


def test_a_link_is_replaced_and_its_target_never_written(tmp_path: Path) -> None:
    model, link = tmp_path / "model.onnx", tmp_path / "out.onnx"
    model.write_bytes(OLD)
    link.symlink_to(model)
    with pytest.raises(UsageError, match="exists"):
        atomic_write(link, WHOLE, force=False)
    atomic_write(link, WHOLE, force=True)
    assert model.read_bytes() == OLD
    assert link.read_bytes() == WHOLE
    assert not link.is_symlink()


def test_a_hard_link_is_parted(tmp_path: Path) -> None:
    model, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    model.write_bytes(OLD)
    out.hardlink_to(model)
    atomic_write(out, WHOLE, force=True)
    assert (model.read_bytes(), out.read_bytes()) == (OLD, WHOLE)


def test_a_dangling_link_exists(tmp_path: Path) -> None:
    link = tmp_path / "out.onnx"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="exists"):
        atomic_write(link, WHOLE, force=False)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("make", ["folder", "pipe", "device"])
def test_only_regular_files_are_replaced(tmp_path: Path, make: str) -> None:
    path = tmp_path / "out"
    if make == "folder":
        path.mkdir()
    elif make == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null")
    before = path.lstat().st_mode
    with pytest.raises(UsageError, match="not a regular file"):
        atomic_write(path, WHOLE, force=True)
    assert path.lstat().st_mode == before


@pytest.mark.parametrize("through", ["the same", "symlink", "hardlink"])
def test_the_output_is_never_the_input(tmp_path: Path, through: str) -> None:
    model, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    model.write_bytes(OLD)
    if through == "symlink":
        out.symlink_to(model)
    elif through == "hardlink":
        out.hardlink_to(model)
    else:
        out = tmp_path / "sub" / ".." / "model.onnx"
        (tmp_path / "sub").mkdir()
    with pytest.raises(UsageError, match="is an input"):
        check_output(out, force=True, inputs=[model])


def test_modes(tmp_path: Path) -> None:
    kept, made = tmp_path / "kept", tmp_path / "made"
    kept.write_bytes(OLD)
    kept.chmod(0o604)
    umask = os.umask(0o027)
    try:
        atomic_write(kept, WHOLE, force=True)
        atomic_write(made, WHOLE, force=False)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o604
    assert stat.S_IMODE(made.stat().st_mode) == 0o640


def test_a_missing_folder_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(MachineError) as caught:
        atomic_write(tmp_path / "a b" / "out", WHOLE, force=False)
    assert caught.value.fix == f"mkdir -p '{tmp_path}/a b'"


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="cannot write"):
        check_output(tmp_path / "file" / "out", force=False)


def test_a_folder_without_permission_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(MachineError) as caught:
        check_output(tmp_path / "out", force=False)
    assert "Permission denied" in caught.value.why


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(MachineError) as caught:
        atomic_write(tmp_path / ("x" * 300), WHOLE, force=False)
    assert "shorter" in caught.value.fix
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_flushed_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not here")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    atomic_write(tmp_path / "out", WHOLE, force=False)
    assert (tmp_path / "out").read_bytes() == WHOLE
