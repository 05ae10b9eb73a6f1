"""A temporary folder of stubs, each of which becomes the file that it stands for when it is opened.

A stub is a hole of the file's size and takes no space: listing, choosing and reading are those of
any folder, and what is never opened is never fetched.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import re
import secrets
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qtool.data.declaration import find_declaration
from qtool.data.files import printable
from qtool.errors import DataError, MachineError, QtoolError
from qtool.files import discard_folder, temporary_folder

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE}


@dataclass
class _Stub:
    """What stands for a file: its name there, its size where that is known, its time."""

    name: str
    size: int | None
    changed: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    fetched: bool = False


class Stubs:
    """The stubs of one folder of a file system of fsspec, and of the folder above it."""

    def __init__(self, system: Any, root: str, url: str) -> None:
        self._system = system
        self._root = root
        self._url = url
        self._base = temporary_folder()
        self.folder = self._base / "data"
        self.folder.mkdir()
        self._made = {self.folder}
        self._stubs: dict[str, _Stub] = {}

    def remove(self) -> None:
        """Removes what was fetched; the files cannot be opened any more."""
        self._stubs.clear()
        discard_folder(self._base)

    def named(self, text: str) -> str:
        """The text with the URL in place of the temporary folder."""
        above = self._url.rpartition("/")[0]
        return text.replace(str(self.folder), self._url).replace(str(self._base), above)

    def add(self, relative: str, name: str, info: Mapping[str, Any]) -> Path:
        """A stub of a file in the folder, which is called `name` there; its path.

        Raises DataError where no folder can hold it, or it would lie elsewhere.
        """
        parts = relative.split("/")
        try:
            if any(p in ("", ".", "..") or os.path.basename(p) != p for p in parts):  # noqa: PTH119
                raise ValueError("no file in a folder can have this name")
            path = self.folder.joinpath(*parts)
            self._put(path, name, info)
        except (OSError, ValueError) as error:
            what = f"cannot use {printable(f'{self._url}/{relative}')}"
            raise failed(what, error, "rename it") from error
        return path

    def _put(self, path: Path, name: str, info: Mapping[str, Any]) -> None:
        if path.parent not in self._made:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(path.parent)
        # Two names may be one here: where case does not count, or a file and a folder share it.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            size = info.get("size")
            os.truncate(handle, 1 if size is None else size)  # no reader opens an empty file
            os.utime(handle, ns=(_changed(info),) * 2)
        finally:
            os.close(handle)
        self._stubs[str(path)] = _Stub(name, size, _changed(info))

    def fetch(self, path: Path) -> None:
        """Makes a stub the file that it stands for; every other path is left as it is.

        Raises DataError where it does not arrive whole, MachineError where there is no room for it.
        """
        stub = self._stubs.get(os.path.normpath(path))
        if stub is None:
            return
        with stub.lock:
            if not stub.fetched:
                self._download(stub, path)
                stub.fetched = True

    def _download(self, stub: _Stub, path: Path) -> None:
        temporary = self._base / f".{secrets.token_hex(8)}.tmp"
        try:
            self._system.get_file(stub.name, str(temporary))
            size = temporary.stat().st_size
            if stub.size not in (None, size):
                raise ValueError(f"{size:,} bytes arrived, and it is listed with {stub.size:,}")
            os.utime(temporary, ns=(stub.changed,) * 2)
            temporary.replace(path)
        except Exception as error:  # each file system has errors of its own
            raise failed(f"cannot read {printable(path)}", error, "try again") from error
        finally:
            with suppress(OSError):
                temporary.unlink()

    def declare(self, *, listed: bool) -> None:
        """Fetches the qtool.toml of the folder and the one above, and adds the files they name.

        `listed`: what is in the folder has been added, so that only the one above is asked.
        """
        above = self._system._parent(self._root)
        places = [(above, self._base)] if above else []
        places += [] if listed else [(self._root, self.folder)]
        self._look(places, "qtool.toml")
        for folder in (self.folder, self._base):
            self.fetch(folder / "qtool.toml")
        with suppress(DataError):  # told when the table is used
            for each in find_declaration(self.folder).inputs.values():
                for declared in filter(None, (each.vocabulary, each.tokenizer)):
                    name = posixpath.normpath(declared)
                    if not name.startswith(("..", "/")):
                        self._look(places, name)

    def _look(self, places: list[tuple[str, Path]], name: str) -> None:
        for there, here in places:
            with suppress(Exception):  # each file system says in its own way that there is none
                full = f"{there.rstrip('/')}/{name}"
                self._put(here / name, full, self._system.info(full))


def _changed(info: Mapping[str, Any]) -> int:
    """A time for the stub, in ns, that changes when the file does, and never without."""
    told = [str(info[key]) for key in _TIMES if info.get(key)]
    return int.from_bytes(hashlib.sha256(repr(told).encode()).digest()[:7]) if told else 0


# what file systems call the time of the last change, or a digest
_TIMES = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")


def failed(what: str, error: Exception, fix: str) -> QtoolError:
    """What a failed call on either side means."""
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return MachineError(what, str(error.strerror), "free some space, or set TMPDIR")
    return DataError(what, printable(public(str(error))) or type(error).__name__, fix)


def public(text: str) -> str:
    """Without passwords (https://me:password@host) and signatures (https://host/file?key=…)."""
    text = re.sub(r"://[^/@\s]*@", "://", text)
    return re.sub(r"(https?://[^\s?'\"]*)\?[^\s'\"]*", r"\1", text)
