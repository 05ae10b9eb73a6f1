"""One session in a process of its own: `qtool.compare.footprint` starts it and reads its lines.

It imports the runtime and nothing else of size, so that what it measures is the session.
"""

from __future__ import annotations

import ctypes
import gc
import io
import json
import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.errors import QtoolError
from qtool.runtime import Session, use_libraries

Feeds = Mapping[str, NDArray[Any]]

# g (float[1] x) => (float[1] y) { y = Identity(x) }: run once before anything is measured, since
# what the runtime itself needs at its first session belongs to no model.
IDENTITY = (
    b'\x08\x08:9\n\x12\n\x01x\x12\x01y"\x08Identity:\x00\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01'
    b"\x12\x04\n\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)


def pack(feeds: Feeds) -> bytes:
    """Feeds as bytes. Texts go as arrays of one width, since objects would be pickled."""
    arrays = [x.astype(str) if x.dtype == object else x for x in feeds.values()]
    file = io.BytesIO()
    np.savez(file, np.array(list(feeds)), *arrays)
    return file.getvalue()


def unpack(packed: bytes) -> dict[str, NDArray[Any]]:
    """What `pack` was given."""
    with np.load(io.BytesIO(packed)) as file:
        names, *arrays = (file[f"arr_{i}"] for i in range(len(file.files)))
    texts = (x.astype(object) if x.dtype.kind == "U" else x for x in arrays)
    return dict(zip(names.tolist(), texts, strict=True))


def main(what: str, libraries: str, path: bytes, threads: int, seconds: int) -> None:
    """Measure "load" or "memory". stdin: packed feeds. stdout: a JSON line, as `MEASURES` gives it.

    `libraries` are those of custom operators, a JSON list of paths. The two measures are apart,
    since what makes memory exact costs time.
    """
    answers = _be_silent()
    _end_with_parent(seconds)
    packed = sys.stdin.buffer.read()
    feeds = unpack(packed)  # `packed` stays, so that the session does not get its memory
    try:
        use_libraries(map(Path, json.loads(libraries)))
        found = MEASURES[what](Path(os.fsdecode(path)), threads, feeds)
    except QtoolError as error:
        found = {"error": ": ".join(filter(None, (error.what, error.why)))}
    del packed
    os.write(answers, json.dumps(found).encode())


def measure_load(path: Path, threads: int, feeds: Feeds) -> dict[str, Any]:
    """Milliseconds to open the session."""
    _start_runtime(threads)
    start = time.perf_counter()
    session = Session(path, threads=threads)
    found = (time.perf_counter() - start) * 1e3
    del session, feeds
    return {"load_ms": found}


def measure_memory(path: Path, threads: int, feeds: Feeds) -> dict[str, Any]:
    """Bytes by which the process grows while the session is opened and run once; the most too."""
    # Freed blocks that the C library may keep are reused or not by chance, and are then resident.
    _of_glibc("mallopt", _MMAP_THRESHOLD, 1 << 17)  # from this size on it gives them back at once
    _start_runtime(threads)
    _of_glibc("malloc_trim", 0)  # what it kept so far
    _forget_peak()
    before = resident()
    session = Session(path, threads=threads)
    session.run(feeds)
    highest = peak()
    _of_glibc("malloc_trim", 0)
    after = {"memory": resident(), "peak": highest}
    if before is None:
        return {}
    return {key: max(0, value - before) for key, value in after.items() if value is not None}


def _start_runtime(threads: int) -> None:
    Session(IDENTITY, threads=threads).run({"x": np.ones(1, np.float32)})
    gc.collect()
    gc.disable()


def resident() -> int | None:
    """Bytes of memory that this process holds; None where the system does not say."""
    # smaps_rollup counts pages; the sums in status lag behind by megabytes where cores are many.
    return _read("/proc/self/smaps_rollup", "Rss") or _read("/proc/self/status", "VmRSS")


def peak() -> int | None:
    """The most that `resident` was since the start, or since `_forget_peak` where it works."""
    return _read("/proc/self/status", "VmHWM")


def _read(path: str, name: str) -> int | None:
    try:
        text = Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _of_glibc(function: str, *arguments: int) -> None:
    with suppress(OSError, AttributeError, TypeError):  # there is another C library
        getattr(ctypes.CDLL(None), function)(*arguments)


_MMAP_THRESHOLD = -3


def _forget_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _be_silent() -> int:
    """Keep stdout for the answers alone; whatever else is written, libraries included, is lost."""
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return answers


def _end_with_parent(seconds: int) -> None:
    """Whatever becomes of who waits for the answers, this process does not stay."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)  # also inside the runtime: the signal's own action is to end it
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


MEASURES = {"load": measure_load, "memory": measure_memory}
