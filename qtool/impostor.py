"""What is given in place of a model, called by its name."""

from __future__ import annotations

import stat
from pathlib import Path

from qtool.errors import DataError, MachineError, ModelError

# first bytes -> what the file is, for those that are often given in place of a model
_MAGIC = {
    b"PK\x03\x04": "a zip archive (a PyTorch .pt file, perhaps)",
    b"version https://git-lfs": "a git-lfs pointer; run  git lfs pull",
    b"\x89HDF": "an HDF5 file (Keras)",
    b"\x1f\x8b": "a gzip file",
}


def refuse_other_files(path: Path) -> None:
    """Refuse what is no file, or has nothing in it.

    Raises:
        ModelError: nothing there, a folder, a pipe, or empty.
        MachineError: it cannot be looked at.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise ModelError(f"no file {path}") from None
    except OSError as error:
        raise MachineError(f"cannot read {path}", str(error)) from error
    if stat.S_ISDIR(mode):
        raise ModelError(f"{path} is a folder", "the model is one .onnx file")
    if not stat.S_ISREG(mode):
        raise ModelError(f"{path} is not a regular file")
    if path.stat().st_size == 0:
        raise ModelError(f"{path} is empty", "a download or export may have been cut short")


def looks_like(path: Path) -> str:
    """What the first bytes say of a file that is no ONNX model."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise DataError(f"cannot read {path}", str(error)) from error
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            return f"it looks like {what}"
    if head[4:8] == b"TFL3":
        return "it looks like a TensorFlow Lite model"
    if head[8:10] == b'{"':
        return "it looks like a safetensors file"
    if all(32 <= b < 127 or b in b"\t\r\n" for b in head):
        return "it looks like a text file"
    return "it is damaged, cut short, or of another format"
