"""Processes that this one starts: they leave the terminal and Ctrl-C to it, and end with it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

NOTHING = logging.CRITICAL + 1  # a level that no message reaches


@contextmanager
def silent(*packages: str) -> Iterator[None]:
    """These log nothing and warn of nothing: what is worth saying is said as an error of ours."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith(packages)]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(NOTHING)
    try:
        with warnings.catch_warnings():
            for package in packages:
                warnings.filterwarnings("ignore", module=package)
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def leaving_interrupts() -> Iterator[None]:
    """Threads and processes that begin here, and theirs, leave Ctrl-C to this process."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_tracker() -> None:
    """Start what frees the processes' semaphores, so that it is silent when we end at once."""
    name, before = "PYTHONWARNINGS", os.environ.get("PYTHONWARNINGS")
    os.environ[name] = ",".join(filter(None, (before, "ignore:resource_tracker")))
    try:
        resource_tracker.ensure_running()
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def end_processes(name: str, others: Collection[object]) -> None:
    """End what is left of the processes whose names begin so, but for `others`."""
    for process in multiprocessing.active_children():
        if process not in others and process.name.startswith(name):
            process.kill()
