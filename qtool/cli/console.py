"""The terminal: results on stdout, all else on stderr, progress that suits where it is shown."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """`| head` has seen enough: end as a shell's own tools do (rich would exit with 1)."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE)


# soft_wrap: paths are never broken across lines.
out = _Console(soft_wrap=True, highlight=False)
err = _Console(soft_wrap=True, highlight=False, stderr=True)
verbose = False  # tracebacks under errors


def configure(*, quiet: bool = False, more: bool = False) -> None:
    """Set what -q and -v ask for."""
    global verbose
    err.quiet, verbose = quiet, more


def complain(*lines: str) -> None:
    """An error that ends nothing by itself: what, why or what to do; -q does not silence it."""
    was, err.quiet = err.quiet, False
    try:
        for number, line in enumerate(lines):
            err.print(f"{'  ' if number else 'error: '}{line}", markup=False)
    finally:
        err.quiet = was


@contextmanager
def progress(description: str, unit: str = "samples") -> Iterator[Callable[[int, int], None]]:
    """Yield `step(done, total)`: a live bar on a terminal, a line every 10 s or 10 % elsewhere."""
    if err.quiet:
        yield lambda done, total: None
    elif sys.stderr.isatty():
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task(description, total=None, rate="")
            start = time.monotonic()

            def step(done: int, total: int) -> None:
                rate = done / max(time.monotonic() - start, 1e-9)
                bar.update(task, completed=done, total=total, rate=f"{rate:.0f}/s")

            yield step
    else:
        yield _plain(description, unit)


@contextmanager
def doing() -> Iterator[Callable[[str], None]]:
    """Yield `say(what)`: what is going on now, shown on a terminal and gone at the end."""
    if err.quiet or not sys.stderr.isatty():
        yield lambda what: None
        return
    with err.status("") as status:
        yield lambda what: status.update(what)


def _plain(description: str, unit: str) -> Callable[[int, int], None]:
    due = paced()

    def step(done: int, total: int) -> None:
        if due(done / max(total, 1)):
            err.print(f"{description}: {done} of {total} {unit}")

    return step


def paced() -> Callable[[float], bool]:
    """Whether, this share being done, it is time for another line: every 10 s or 10 %."""
    shown_at = time.monotonic()
    shown_share = 0.0

    def due(share: float) -> bool:
        nonlocal shown_at, shown_share
        since = time.monotonic() - shown_at
        if (share - shown_share >= 0.1 and since >= 1) or since >= 10:
            shown_at, shown_share = time.monotonic(), share
            return True
        return False

    return due
