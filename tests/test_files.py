"""Promise 1: however a run ends, the output holds the old bytes or all the new ones."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qtool.errors import MachineError, UsageError
from qtool.files import atomic_path, atomic_write

OLD, NEW = b"old", [b"new " * 1000, b"bytes"]
WHOLE = b"".join(NEW)
# all that os offers to a writer
CALLS = ["access", "chmod", "close", "fstat", "fsync", "link"]
CALLS += ["lstat", "open", "replace", "stat", "unlink", "write"]


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name.startswith(".qtool-"))


class Faults:
    """Lets the n-th call into `os` fail, before or after it did its work."""

    def __init__(self, n: int, fault: BaseException, *, after: bool) -> None:
        self.n, self.fault, self.after = n, fault, after
        self.seen: list[str] = []

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for name in CALLS:
            patch.setattr(os, name, self._wrapped(name, getattr(os, name)))

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.seen.append(name)
            hit = len(self.seen) == self.n
            if hit and not self.after:
                if name == "close":  # close(2) gives the handle back even when it fails
                    real(*args)
                raise self.fault
            result = real(*args, **kwargs)
            if hit:
                raise self.fault
            return result

        return call


@pytest.mark.parametrize("fault", [OSError(errno.EIO, "injected"), KeyboardInterrupt()])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("exists", [False, True])
def test_fail_the_nth_call_until_a_run_completes(
    tmp_path: Path, fault: BaseException, after: bool, exists: bool
) -> None:
    n = 0
    while True:
        n += 1
        folder = tmp_path / str(n)
        folder.mkdir()
        path = folder / "out.onnx"
        if exists:
            path.write_bytes(OLD)
        faults = Faults(n, fault, after=after)
        with pytest.MonkeyPatch.context() as patch:
            faults.install(patch)
            try:
                atomic_write(path, iter(NEW), force=exists)
                raised = False
            except (MachineError, KeyboardInterrupt):
                raised = True
        held = path.read_bytes() if path.exists() else None
        assert held in (WHOLE, OLD if exists else None)
        if not raised:
            assert held == WHOLE
        failed = faults.seen[n - 1] if len(faults.seen) >= n else None
        if failed != "unlink":
            assert leftovers(folder) == []
        if failed is None:
            break
    assert n > 10, "the faults were never injected"


@pytest.mark.parametrize(("force", "named"), [(True, "replace"), (False, "link")])
def test_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, force: bool, named: str
) -> None:
    record = Faults(0, OSError(), after=False)
    flushed: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        real = os.fsync

        def fsync(handle: int) -> None:
            flushed.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
            real(handle)

        patch.setattr(os, "fsync", fsync)
        record.install(patch)
        atomic_write(tmp_path / "out", NEW, force=force)
    steps = [name for name in record.seen if name in ("write", "fsync", named)]
    assert steps == ["write", "write", "fsync", named, "fsync"]
    assert flushed[0].startswith(f"{tmp_path}/.qtool-")
    assert flushed[1] == str(tmp_path)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_names_the_output_and_a_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    path = tmp_path / "out.onnx"
    path.write_bytes(OLD)

    def refuse(*_: Any) -> int:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(MachineError) as caught:
        atomic_write(path, WHOLE, force=True)
    assert str(path) in caught.value.what
    assert caught.value.why == os.strerror(error)
    assert caught.value.fix
    assert path.read_bytes() == OLD
    assert leftovers(tmp_path) == []


def test_a_limit_on_file_sizes_cuts_the_write_short(tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(MachineError, match="cannot write") as caught:
            atomic_write(path, WHOLE, force=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "ulimit" in caught.value.fix
    assert list(tmp_path.iterdir()) == []


def test_writes_may_be_partial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:7]))
    atomic_write(tmp_path / "out", NEW, force=False)
    assert (tmp_path / "out").read_bytes() == WHOLE


def test_bytes_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that says it wrote, and did not."""
    monkeypatch.setattr(os, "write", lambda handle, data: len(data))
    with pytest.raises(MachineError) as caught:
        atomic_write(tmp_path / "out", WHOLE, force=False)
    assert caught.value.why == f"0 of {len(WHOLE)} bytes arrived"
    assert list(tmp_path.iterdir()) == []


def run_writer(code: str, path: Path) -> subprocess.Popen[str]:
    head = "import sys, time; from pathlib import Path; from qtool.files import *\n"
    command = [sys.executable, "-c", head + code, str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_kill_in_the_middle_of_a_write(tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    path.write_bytes(OLD)
    process = run_writer(
        """
def chunks():
    yield b"half"
    print("half", flush=True)
    time.sleep(60)
atomic_write(Path(sys.argv[1]), chunks(), force=True)
""",
        path,
    )
    assert process.stdout is not None
    process.stdout.readline()
    kill(process)
    assert path.read_bytes() == OLD
    assert len(leftovers(tmp_path)) == 1, "the half file was there, under another name"


def test_kill_at_any_time(tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    whole = {b"a" * 300_000, b"b" * 400_000}
    for delay in (0.0, 0.003, 0.011, 0.02):
        process = run_writer(
            """
for i in range(10**6):
    atomic_write(Path(sys.argv[1]), (b"a" * 300_000, b"b" * 400_000)[i % 2], force=True)
    if i == 1: print("running", flush=True)
""",
            path,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        kill(process)
        assert path.read_bytes() in whole


def test_an_error_while_making_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    path.write_bytes(OLD)

    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        atomic_write(path, chunks(), force=True)
    assert path.read_bytes() == OLD
    assert leftovers(tmp_path) == []


def test_a_file_filled_by_others_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    with atomic_path(path, force=False) as temporary:
        assert temporary.parent == tmp_path, "a rename must not cross disks"
        temporary.write_bytes(WHOLE)
        assert not path.exists()
    assert path.read_bytes() == WHOLE
    with pytest.raises(UsageError, match="does not verify"), atomic_path(path, force=True) as again:
        again.write_bytes(b"bad")
        raise UsageError("does not verify")
    assert path.read_bytes() == WHOLE
    assert leftovers(tmp_path) == []
