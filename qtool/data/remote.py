"""Data at a URL, the only module that imports fsspec.

The URL is listed once and mirrored as stubs (`qtool.data.mirror`); files come when they are opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from qtool.data.files import MIRRORS
from qtool.data.mirror import Stubs, failed, public
from qtool.errors import DataError, MachineError, missing_extra

# s3://…, and fsspec's chains: zip://…::s3://…, simplecache::s3://…
_URL = re.compile(r"(?:[a-z][a-z0-9+.-]+::)*[a-z][a-z0-9+.-]+://", re.IGNORECASE)
# module -> package, where they are called differently
_PACKAGES = {"smbclient": "smbprotocol", "libarchive": "libarchive-c"}
_WEB = ("http://", "https://")
_CHECK = "check the URL, the connection and your access to it"


def located(place: str) -> Path:
    """Where data lies that a person names: a path as it is, a URL as its mirror."""
    return mirror(place) if _URL.match(place) else Path(place)


def mirror(url: str) -> Path:
    """A temporary folder, or file, that stands for what the URL names until the process ends.

    Raises DataError where it cannot be listed, MachineError where a package is missing.
    """
    shown = public(url.rstrip("/"))
    system, root = _connected(url, shown)
    if type(system).__module__ == "fsspec.implementations.local":
        return Path(root)  # with links as they are
    try:
        found, file = _listed(system, root)
    except FileNotFoundError as error:
        raise DataError(f"no data at {shown}", "there is no such folder or file", _CHECK) from error
    except Exception as error:  # each file system has errors of its own
        raise failed(f"cannot list {shown}", error, _CHECK) from error
    root = _bare(root).rstrip("/")
    if file:
        root, shown = system._parent(root), shown.rpartition("/")[0]
    stubs = Stubs(system, root, shown)
    MIRRORS.append(stubs)
    path = stubs.folder
    for name, info in found.items():
        relative = _relative(name, root)
        if file or not _hidden(relative):
            path = stubs.add(relative, name, info)
    stubs.declare(listed=not file)
    return path if file else stubs.folder


def release(path: Path) -> None:
    """Removes a mirror before the process ends, where the path is one; else nothing happens."""
    for stubs in [each for each in MIRRORS if each.folder in (path, path.parent)]:
        MIRRORS.remove(stubs)
        stubs.remove()


def _connected(url: str, shown: str) -> tuple[Any, str]:
    """The file system and the path in it. MachineError where a package is missing."""
    try:
        import fsspec
    except ImportError as error:
        raise missing_extra(shown, "fsspec", "cluster") from error
    try:
        system, root = fsspec.core.url_to_fs(url)
        system.invalidate_cache()  # it may be one that was used before
    except ImportError as error:
        module = (getattr(error.__cause__, "name", None) or "").partition(".")[0]
        package = _PACKAGES.get(module, module)
        what = f"{shown} needs the package {package}" if package else f"cannot read {shown}"
        raise MachineError(what, str(error), package and f"pip install {package}") from error
    except Exception as error:
        raise failed(f"cannot read {shown}", error, _CHECK) from error
    return system, str(root)


def _listed(system: Any, root: str) -> tuple[dict[str, dict[str, Any]], bool]:
    """Name -> what is known of each file in a folder and those in it, or of one; and which."""
    from fsspec.asyn import AsyncFileSystem
    from fsspec.spec import AbstractFileSystem

    find = getattr(type(system), "_find", type(system).find)
    if find in (AbstractFileSystem.find, AsyncFileSystem._find):
        found = dict(_walked(system, root))  # theirs passes over folders that it may not list
    else:
        found = system.find(root, detail=True)  # all at once
    files = {n: info for n, info in found.items() if not _bare(n).endswith("/")}
    # Nothing, or itself: it is a file, or an empty folder. On the web the slash makes the folder.
    if set(files) <= {root} and not root.endswith("/"):
        info = system.info(root)
        if info["type"] != "directory":
            return {root: info}, True
    return files, False


def _walked(system: Any, root: str) -> Iterator[tuple[str, dict[str, Any]]]:
    folders, seen = [root], {root.rstrip("/")}
    while folders:
        for info in system.ls(folders.pop(), detail=True):
            name = info["name"]
            folder = name.rstrip("/")
            if info["type"] != "directory":
                yield name, info
            elif (
                folder not in seen
                and folder == _bare(folder)
                and not _hidden(folder.rpartition("/")[2])
            ):
                seen.add(folder)
                folders.append(name)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") and part != ".." for part in name.split("/"))


def _bare(name: str) -> str:
    """Without the query of an address of the web."""
    return name.partition("?")[0] if name.startswith(_WEB) else name


def _relative(name: str, root: str) -> str:
    relative = _bare(name).removeprefix(f"{root}/")
    return unquote(relative) if name.startswith(_WEB) else relative
