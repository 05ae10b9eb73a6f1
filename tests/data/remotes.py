"""File systems of fsspec for tests: one that says what is fetched, and ones with faults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem


class Counted(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Files in memory at counted://…; it notes which were fetched, and how often it was listed."""

    protocol = "counted"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    fetched: ClassVar[list[str]] = []
    listings: ClassVar[list[str]] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix(f"{cls.protocol}://")))

    def find(self, path: str, *args: Any, **kwargs: Any) -> Any:
        self.listings.append(path)
        return super().find(path, *args, **kwargs)

    def get_file(self, rpath: str, lpath: str, **kwargs: Any) -> None:
        self.fetched.append(rpath)
        super().get_file(rpath, lpath, **kwargs)


class Faulty(Counted):
    """Downloads end in the middle as often as `faults` says, with an error or without one."""

    protocol = "faulty"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    faults: ClassVar[list[Exception | None]] = []

    def get_file(self, rpath: str, lpath: str, **kwargs: Any) -> None:
        super().get_file(rpath, lpath, **kwargs)
        if self.faults:
            error = self.faults.pop(0)
            data = Path(lpath).read_bytes()
            Path(lpath).write_bytes(data[: len(data) // 2])
            if error:
                raise error


class Walked(Counted):
    """It lists a folder at a time, as many do, and some of them it may not."""

    protocol = "walked"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    closed: ClassVar[set[str]] = set()
    find = AbstractFileSystem.find

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:
        self.listings.append(path)
        if path in self.closed:
            raise PermissionError("Access Denied")
        return super().ls(path, detail, **kwargs)


SYSTEMS = (Counted, Faulty, Walked)


def forget() -> None:
    """Every file system is known and empty, and has noted nothing."""
    for system in SYSTEMS:
        fsspec.register_implementation(system.protocol, system, clobber=True)
        system.store.clear()
        system.pseudo_dirs[:] = [""]
    Counted.fetched.clear()
    Counted.listings.clear()
    Faulty.faults.clear()
    Walked.closed.clear()


def upload(folder: Path, url: str) -> str:
    """All files below the folder, to the URL, which is given back."""
    system, root = fsspec.core.url_to_fs(url)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            system.pipe_file(f"{root}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return url


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The folder at an http:// address, and the paths that were asked for; *.cut end too soon."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if not self.path.endswith(".cut.npy"):
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"\x93NUMPY")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    def handler(*args: Any) -> Handler:
        return Handler(*args, directory=str(folder))

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
