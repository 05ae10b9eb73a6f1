"""Files that are there whole or not at all.

An output is filled under a temporary name in its own folder, counted, flushed to the disk, given
its name in one step, and the folder is flushed too. However that ends, the name holds the old
bytes or all the new ones; kill -9 may leave a `.qtool-….tmp` behind, and nothing worse.

An output name that is a link is replaced as a name: what it points to (the input model, a blob
that a cache shares) is never written to. Hard links are parted for the same reason.
"""

from __future__ import annotations

import atexit
import errno
import os
import secrets
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qtool.errors import MachineError, UsageError

# what a file system says that has no hard links (FAT, some network mounts)
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def atomic_write(path: Path, chunks: bytes | Iterable[bytes], *, force: bool) -> None:
    """Write a file of these bytes, whole or not at all.

    Raises:
        UsageError: the file exists and `force` is False, or it is not a regular file.
        MachineError: disk full, no permission, read-only, no such folder, cut short.
    """
    with atomic_path(path, force=force) as temporary:
        expected = 0
        handle = os.open(temporary, os.O_WRONLY)
        try:
            for chunk in (chunks,) if isinstance(chunks, bytes) else chunks:
                expected += len(chunk)
                rest = memoryview(chunk)
                while rest:
                    rest = rest[os.write(handle, rest) :]
            written = os.fstat(handle).st_size
        finally:
            os.close(handle)
        if written != expected:
            raise MachineError(f"cannot write {path}", f"{written} of {expected} bytes arrived")


@contextmanager
def atomic_path(path: Path, *, force: bool) -> Iterator[Path]:
    """Yield an empty temporary file beside `path`, to be filled and verified; then it is `path`.

    If the block raises, KeyboardInterrupt included, the temporary file goes and `path` stays as
    it was. An existing file keeps its mode; a new one gets the umask's. Without `force` a file
    that another process makes meanwhile is not overwritten either.

    Raises:
        UsageError: the file exists and `force` is False, or it is not a regular file.
        MachineError: disk full, no permission, read-only, no such folder.
    """
    check_output(path, force=force)
    temporary = path.parent / f".qtool-{secrets.token_hex(8)}.tmp"
    try:
        _temporaries.add(temporary)
        temporary.touch(exist_ok=False)
        yield temporary
        _keep_mode(path, temporary)
        _flush(temporary)
        if force:
            temporary.replace(path)
        else:
            _name_once(temporary, path)
        _flush(path.parent)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
        _temporaries.discard(temporary)


def temporary_folder() -> Path:
    """An empty folder of our own, which goes with the process. MachineError where it is refused."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="qtool-")).resolve()
    except OSError as error:
        fix = "set TMPDIR to a folder that you may write to"
        raise MachineError("cannot make a temporary folder", str(error), fix) from error
    _temporaries.add(folder)
    atexit.register(_discard_own, os.getpid())
    return folder


_temporaries: set[Path] = set()


def discard_temporaries() -> None:
    """Remove what unfinished writes left so far, for a process that is about to end."""
    for temporary in list(_temporaries):
        with suppress(OSError):
            if temporary.is_dir():
                discard_folder(temporary)
            else:
                temporary.unlink()


def discard_folder(folder: Path) -> None:
    """Remove a temporary folder before the process ends, and what is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    _temporaries.discard(folder)


def _discard_own(process: int) -> None:
    if os.getpid() == process:  # a fork ends without its parent's files
        discard_temporaries()


def check_output(path: Path, *, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Say before long work that `path` cannot be written; writing checks again.

    Raises:
        UsageError: the file exists and `force` is False, or it is not a regular file, or it is
            one of `inputs`, also through a link.
        MachineError: no such folder, or no permission to write there.
    """
    try:
        if not stat.S_ISDIR(path.parent.stat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent))
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))
        if not os.path.lexists(path):
            return
        # A device, a pipe, a folder, also behind a link: its name is not ours to take.
        special = path.exists() and not path.is_file()
        is_input = any(_same_file(path, other) for other in inputs)
    except OSError as error:
        raise _refused(path, error) from error
    if is_input:
        raise UsageError(f"{path} is an input", fix="choose another output name")
    if special:
        raise UsageError(f"{path} is not a regular file", fix="choose another output name")
    if not force:
        raise _exists(path)


def _same_file(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)


def _name_once(temporary: Path, path: Path) -> None:
    """Give the file its name unless the name is taken: a link is made or refused in one step."""
    try:
        path.hardlink_to(temporary)
        return
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    # Without hard links: a lock on the folder, which ends with its process, keeps our runs apart.
    import fcntl  # not on Windows, where os.link works on NTFS

    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if os.path.lexists(path):
            raise _exists(path)
        temporary.replace(path)
    finally:
        os.close(folder)


def _keep_mode(path: Path, temporary: Path) -> None:
    with suppress(FileNotFoundError):
        old = path.lstat()
        if stat.S_ISREG(old.st_mode):
            temporary.chmod(stat.S_IMODE(old.st_mode))


def _flush(path: Path) -> None:
    """Bring a file or a folder's list of names to the disk."""
    if os.name == "nt" and path.is_dir():
        return  # no handles on folders there
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network mounts cannot flush folders, and say so in this way.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP) or not path.is_dir():
            raise
    finally:
        os.close(handle)


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} exists", fix="-f overwrites it, or choose another output name")


def _refused(path: Path, error: OSError) -> MachineError:
    """What a failed call means to the person who asked for `path`."""
    where = "" if error.filename in (None, str(path)) else f": {error.filename}"
    why = f"{error.strerror or error}{where}"
    fix = _FIXES.get(error.errno or 0, "")
    if error.errno == errno.ENOENT and not path.parent.exists():
        fix = f"mkdir -p {shlex.quote(str(path.parent))}"
    return MachineError(f"cannot write {path}", why, fix)


_FIXES = {
    errno.ENOSPC: "free some space, or choose an output on another disk",
    errno.EDQUOT: "free some space, or choose an output on another disk",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f), or choose another disk",
    errno.EACCES: "choose an output in a folder that you may write to",
    errno.EPERM: "choose an output in a folder that you may write to",
    errno.EROFS: "choose an output in a folder that you may write to",
    errno.ENOTDIR: "choose an output inside a folder",
    errno.ENAMETOOLONG: "choose a shorter output name",
}
