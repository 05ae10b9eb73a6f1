"""Workers of tests: what they do, who they are, and a scheduler that is started by hand."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from qtool.errors import DataError

ROOT = Path(__file__).parents[2]
DASK = Path(sys.executable).parent / "dask"
FAILURES: dict[str, Callable[[], Exception]] = {
    "ours": lambda: DataError("what", "why", "fix"),
    "other": lambda: ValueError("a strange value"),
    "memory": MemoryError,
}


class Counted:
    """Knows how often it has been unpickled in this process."""

    arrived = 0

    def __init__(self, content: bytes = b"") -> None:
        self.content = content

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        Counted.arrived += 1


def busy(shared: Counted, item: float, at_once: int) -> tuple[int, int, int]:
    """Takes `item` seconds; gives (process, how often `shared` arrived there, its size)."""
    time.sleep(item)
    return os.getpid(), Counted.arrived, len(shared.content)


def failing(kind: str, item: int, at_once: int) -> int:
    if item == 2:
        raise FAILURES[kind]()
    return item


def deadly(shared: None, item: int, at_once: int) -> int:
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def workers() -> list[psutil.Process]:
    """The worker processes that this one has started."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def kill(count: int) -> None:
    """kill -9 so many of them, at once."""
    found = workers()
    assert len(found) >= count
    for process in found[:count]:
        process.kill()


def end(process: subprocess.Popen[str]) -> None:
    """kill -9 a process, and first what it has started."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
    process.kill()


@contextmanager
def started(*command: object, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that ends with the block, and what it has started too."""
    pipe = subprocess.PIPE
    arguments = [str(each) for each in command]
    options["env"] = {**os.environ, "PYTHONPATH": str(ROOT)}  # tests send functions of their own
    with subprocess.Popen(arguments, stderr=pipe, stdout=pipe, text=True, **options) as process:
        try:
            yield process
        finally:
            end(process)


@contextmanager
def scheduler() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`dask scheduler` on this machine alone: its address, and its process."""
    with started(DASK, "scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard") as run:
        yield said(run, r"Scheduler at:\s+(tcp://[\d.:]+)"), run


@contextmanager
def worker(address: str) -> Iterator[subprocess.Popen[str]]:
    """`dask worker`, once it has joined."""
    with started(DASK, "worker", address, "--nthreads", 1, "--no-dashboard", cwd=ROOT) as run:
        said(run, r"Registered to:\s+(\S+)")
        yield run


def said(process: subprocess.Popen[str], pattern: str) -> str:
    """What the group in `pattern` is in the first line of stderr that has it."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if found := re.search(pattern, line):
            return found[1]
    raise AssertionError("".join(lines))
