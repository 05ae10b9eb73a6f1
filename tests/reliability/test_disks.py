"""Disks that are full, and folders that must not or cannot be written to."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability.conftest import COMMAND, Shell, listing

OLD = b"old bytes"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "small", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs a right to mount")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    ("command", "exists"),
    [
        ("quantize", True),
        pytest.param("quantize", False, marks=pytest.mark.slow),
        pytest.param("calibrate", True, marks=pytest.mark.slow),
        pytest.param("compare", False, marks=pytest.mark.slow),
    ],
)
def test_a_full_disk(shell: Shell, cnn: Path, small: Path, command: str, exists: bool) -> None:
    output = small / "out"
    if exists:
        output.write_bytes(OLD)
    (small / "filler").write_bytes(bytes(60 << 10 if exists else 64 << 10))
    before = listing(small)
    arguments = {
        "quantize": [cnn / "model.onnx", "-o", output],
        "calibrate": [cnn / "model.onnx", "--data", cnn / "calib", "--samples", 64, "-o", output],
        "compare": [cnn / "model.onnx", cnn / "model.onnx", "--json", output],
    }
    done = shell(command, *arguments[command], "-f")
    assert done.returncode == 5, done.stderr
    assert f"error: cannot write {output}\n  No space left on device" in done.stderr
    assert "fix: free some space" in done.stderr
    assert listing(small) == before


def test_a_limit_on_file_sizes(shell: Shell, cnn: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "out.onnx").write_bytes(OLD)
    before = listing(folder)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = shell("quantize", cnn / "model.onnx", "-o", folder / "out.onnx", "-f", preexec_fn=limit)
    assert done.returncode == 5, done.stderr
    assert "fix: raise the limit on file sizes" in done.stderr
    assert listing(folder) == before


@pytest.mark.slow
def test_a_full_terminal(shell: Shell, cnn: Path, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    for arguments in (["-h"], ["quantize", "-h"], ["inspect", str(cnn / "model.onnx")]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True,
                cwd=tmp_path,
            )  # fmt: skip
        assert done.returncode == 5
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "crash-qtool.txt").exists()


@pytest.mark.slow
def test_nothing_is_written_to_a_full_folder_for_temporary_files(
    shell: Shell, cnn: Path, small: Path, tmp_path: Path
) -> None:
    (small / "filler").write_bytes(bytes(60 << 10))
    for folder in (small, tmp_path / "missing"):
        env = {"TMPDIR": str(folder)}
        done = shell("quantize", cnn / "model.onnx", "-o", tmp_path / "o.onnx", "-f", env=env)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_inspect_runtime_needs_room_for_temporary_files(
    shell: Shell, cnn: Path, small: Path, tmp_path: Path
) -> None:
    (small / "filler").write_bytes(bytes(60 << 10))
    done = shell(
        "inspect", cnn / "model.onnx", "--runtime", env={"TMPDIR": str(small)}, cwd=tmp_path
    )
    assert done.returncode == 5, done.stderr
    assert str(small) in done.stderr
    assert "fix: " in done.stderr


@pytest.mark.slow
def test_a_read_only_model_folder_is_left_as_it_is(shell: Shell, cnn: Path, tmp_path: Path) -> None:
    before = listing(cnn)
    for path in (cnn, *cnn.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    model, data = cnn / "model.onnx", cnn / "calib"
    for arguments in (
        ("quantize", model, "--data", data, "--samples", 40, "-o", tmp_path / "o.onnx"),
        ("compare", model, tmp_path / "o.onnx", "--data", cnn / "eval", "--samples", 40),
        ("inspect", model, "--runtime"),
    ):
        done = shell(*arguments)
        assert done.returncode == 0, done.stderr
    assert listing(cnn) == before
    if os.geteuid():  # root may write anywhere
        assert shell("quantize", model).returncode == 5
