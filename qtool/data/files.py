"""The files of a data folder: listed in one order, opened in one way, named safely."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from qtool.errors import DataError
from qtool.text import visible

T = TypeVar("T")

SHOWN = 5
SKIP = "replace or remove it, or pass --on-bad-file skip"
LINK = "copy the folder here, or give the folder that it points to as the data"


class Mirror(Protocol):
    """A folder of stubs that stand for files elsewhere, and how they are called there."""

    folder: Path

    def fetch(self, path: Path) -> None:
        """Makes a stub the file that it stands for. Raises DataError or MachineError."""

    def named(self, text: str) -> str:
        """The text with the names of files elsewhere in place of their stubs'."""

    def remove(self) -> None:
        """Removes the folder."""


MIRRORS: list[Mirror] = []  # see qtool.data.remote


@dataclass(frozen=True)
class File:
    """One file: where it is, its printable name within the data folder, and why not to open it."""

    path: Path
    name: str
    problem: str = ""

    @property
    def suffix(self) -> str:
        return _suffix(self.name).lower()

    def key(self, prefix: str = "") -> str:
        """The name without suffix, within the folder that `prefix` names."""
        return self.name[len(prefix) : len(self.name) - len(_suffix(self.name))]

    @contextmanager
    def open(self) -> Iterator[io.BufferedReader]:
        """The bytes. What goes wrong while they are read becomes a DataError naming the file."""
        shown = printable(self.path)
        if self.problem:
            raise DataError(f"cannot read {shown}", self.problem, SKIP)
        for mirror in tuple(MIRRORS):  # others may come and go meanwhile
            mirror.fetch(self.path)
        try:
            with self.path.open("rb") as stream:
                yield stream
        except DataError:
            raise
        # Decoders raise nearly anything on damaged bytes: struct.error, zlib.error, IndexError …
        except Exception as error:
            why = printable(str(error)) or type(error).__name__
            raise DataError(f"cannot read {shown}", why, SKIP) from error


def printable(name: str | Path) -> str:
    """The name with escape codes, newlines and bytes that are no UTF-8 written as `\\x..`.

    What is read from a URL is named as it is there.
    """
    text = str(name)
    for mirror in tuple(MIRRORS):
        text = mirror.named(text)
    if text.isascii() and text.isprintable():
        return text
    return visible(text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))


def _suffix(name: str) -> str:
    """As pathlib has it, which takes ten times as long."""
    name = name[name.rfind("/") + 1 :]
    dot = name.rfind(".")
    return name[dot:] if 0 < dot < len(name) - 1 else ""


def listed(names: Iterable[str]) -> str:
    """The first five names, printable, and how many more there are."""
    shown = [printable(name) for name in names]
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return ", ".join(shown[:SHOWN]) + more


def repeated(names: Iterable[str]) -> str | None:
    """The first name that stands twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def list_files(path: Path, suffixes: Collection[str]) -> tuple[tuple[File, ...], frozenset[str]]:
    """All files with these suffixes sorted by name, and the other suffixes that were passed over.

    Hidden files are passed over; a path to a file is a list of that one. Raises DataError where the
    path does not exist or cannot be listed.
    """
    if path.is_file():
        return (File(path, printable(path.name)),), frozenset()
    if not path.is_dir():
        raise DataError(
            f"no data at {printable(path)}", "there is no such folder or file", "check the path"
        )
    root = Path(os.path.realpath(path))
    found, others, folders = [], set(), [(str(path), "")]
    while folders:
        folder, prefix = folders.pop()
        for entry in _scan(folder):
            if entry.name.startswith("."):
                continue
            # A link to a folder is not followed: inside the root it repeats, or never ends.
            if entry.is_dir(follow_symlinks=False):
                folders.append((entry.path, f"{prefix}{printable(entry.name)}/"))
                continue
            if entry.is_symlink() and entry.is_dir() and _leads_out(entry, root):
                raise DataError(f"cannot use {printable(entry.path)}", _problem(entry, root), LINK)
            suffix = _suffix(entry.name).lower()
            if suffix in suffixes:
                name = prefix + printable(entry.name)
                found.append(File(Path(entry.path), name, _problem(entry, root)))
            else:
                others.add(suffix)
    return tuple(sorted(found, key=lambda file: file.name)), frozenset(others - {""})


def _scan(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(
            f"cannot list {printable(folder)}", str(error.strerror), "check its permissions"
        ) from error


def _leads_out(entry: os.DirEntry[str], root: Path) -> bool:
    return entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(root)


def _problem(entry: os.DirEntry[str], root: Path) -> str:
    if _leads_out(entry, root):
        return f"it is a link to {printable(os.path.realpath(entry.path))}, outside the data folder"
    try:
        status = entry.stat()
    except OSError as error:
        return printable(error.strerror or str(error))
    # Opening a pipe would wait for ever.
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    return "" if status.st_size else "the file is empty"


def first_readable(files: Sequence[File], probe: Callable[[File], T]) -> tuple[File, T]:
    """The first file that can be read, and what `probe` finds in it: a bad one may be skipped.

    Raises the first file's DataError where none can.
    """
    errors = []
    for file in files:
        try:
            return file, probe(file)
        except DataError as error:
            errors.append(error)
    raise errors[0]


def raise_all(problems: Sequence[DataError], total: int, kind: str = "samples") -> None:
    """Raises what was found as one DataError: five in full, then how many more. None: returns."""
    if not problems:
        return
    if len(problems) == 1:
        raise problems[0]
    lines = [f"{p.what}: {p.why}" if p.why else p.what for p in problems[:SHOWN]]
    if len(problems) > SHOWN:
        lines.append(f"and {len(problems) - SHOWN} more")
    what = f"{len(problems)} of {total} {kind} cannot be used"
    raise DataError(what, "\n".join(lines), problems[0].fix)
