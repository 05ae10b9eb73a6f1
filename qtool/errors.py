"""What can go wrong, said once: what happened, why, and what to do about it.

Low layers raise, `qtool.cli` prints. Each class has the exit code that a shell sees.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class QtoolError(Exception):
    """One problem: `what` in a line, `why` with the values in it, `fix` as a command or an edit."""

    exit_code = 70

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix


class UsageError(QtoolError):
    """The command line or the recipe asks for something that does not exist."""

    exit_code = 2


class ModelError(QtoolError):
    """The model cannot be read, is not valid, or cannot be quantized as asked."""

    exit_code = 3


class DataError(QtoolError):
    """The data folder or the calibration file does not fit."""

    exit_code = 4


class MachineError(QtoolError):
    """Disk, permission, memory, or an extra that is not installed."""

    exit_code = 5


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean "conv1"?`, or nothing when no known name is close."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


def missing_extra(user: str, package: str, extra: str) -> MachineError:
    """What `user`, a file or a folder, needs and is not installed."""
    return MachineError(
        f"{user} needs the package {package}",
        "it is an extra and not installed",
        install_command(extra),
    )


def install_command(extra: str) -> str:
    """The command that brings an extra: from the folder or wheel that qtool came from, if it is
    there still (PEP 610), else from the index."""
    import json
    from importlib.metadata import PackageNotFoundError, distribution
    from pathlib import Path
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    place = "qtool"
    try:
        origin = distribution("qtool").read_text("direct_url.json")
    except PackageNotFoundError:
        origin = None
    url = urlsplit(json.loads(origin)["url"] if origin else "")
    if url.scheme == "file" and Path(found := url2pathname(url.path)).exists():
        place = found
    return f"pip install '{place}[{extra}]'"
