"""What a session costs before it answers: the time to open it, and the memory that it then holds.

Each number is the least of a few fresh processes, the two models in turns, with the files in the
disk cache: what else the machine does only adds. A process first opens and runs a model of one
Identity: the runtime's own start belongs to neither model.

Load time is that of opening the session: reading, optimizing the graph, packing weights.

Memory is how much more the process holds once the session has run the first sample than before it
was opened: resident pages, without the outputs. They include weights mapped from files beside the
model, which runs touch, and what the runtime's arena keeps for the next run; not the interpreter
and the runtime's library. Memory that is free counts as given back. A process may in fact keep it,
up to half as much again, and whether it does is chance. The peak is the most that was in use on the
way: with what only loading needs, and the outputs.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from qtool.children import leaving_interrupts
from qtool.compare.footprint_child import pack
from qtool.compare.result import Footprint
from qtool.runtime import libraries

Feeds = Mapping[str, NDArray[Any]]

FEWEST_ROUNDS, MOST_ROUNDS = 3, 5
MEMORY_ROUNDS = 2
"""Memory differs by pages between processes, time by much more."""
SECONDS = 4.0
"""A round after the third begins only before this much time is spent …"""
PATIENCE = 120
"""… one process may take so long, and no round after the first begins after so long."""
SMALL = 3 << 19
"""Bytes of memory of which no ratio is made: 25 kB more or less are chance."""


def measure_footprint(
    reference: Path,
    candidate: Path,
    feeds: Feeds,
    others: Feeds | None = None,
    *,
    threads: int,
) -> tuple[Footprint, tuple[str, ...]]:
    """Open each model and run it once on the feeds, in processes of its own; and notes.

    `others` is the same sample as the candidate takes it, where that is another way. Nothing is
    raised for a model that does not run: a note says what could not be measured.
    """
    packed = pack(feeds)
    both = [
        _Measured(reference, packed, threads),
        _Measured(candidate, packed if others is None else pack(others), threads),
    ]
    order, begin = random.Random(0), time.monotonic()
    for done in range(MOST_ROUNDS):
        spent = time.monotonic() - begin
        if done and spent > (SECONDS if done >= FEWEST_ROUNDS else PATIENCE):
            break
        for what in ("load", "memory") if done < MEMORY_ROUNDS else ("load",):
            for model in order.sample(both, 2):
                model.measure(what)
    left, right = both
    found = Footprint(
        left.least("load_ms"),
        right.least("load_ms"),
        _ratio(left.least("load_ms"), right.least("load_ms"), 0),
        left.least_bytes("memory"),
        right.least_bytes("memory"),
        _ratio(left.least("memory"), right.least("memory"), SMALL),
        left.least_bytes("peak"),
        right.least_bytes("peak"),
    )
    return found, tuple(dict.fromkeys(model.failure for model in both if model.failure))


class _Measured:
    """One model, and what its processes said; none is started after one failed."""

    def __init__(self, path: Path, packed: bytes, threads: int) -> None:
        self.path, self.packed, self.threads = path, packed, threads
        self.found: dict[str, list[float]] = {}
        self.failure = ""

    def least(self, key: str) -> float | None:
        return min(self.found.get(key, ()), default=None)

    def least_bytes(self, key: str) -> int | None:
        found = self.least(key)
        return None if found is None else round(found)

    def measure(self, what: str) -> None:
        if self.failure:
            return
        said, ending = _child(what, self.path, self.packed, self.threads)
        reason = said.pop("error", ending)
        for key, value in said.items():
            self.found.setdefault(key, []).append(value)
        if reason:
            lost = "memory" if "load_ms" in self.found else "load time and memory"
            self.failure = f"{lost} of {self.path.name} cannot be measured: {reason}"


def _child(what: str, path: Path, packed: bytes, threads: int) -> tuple[dict[str, Any], str]:
    """What the process said, and how it ended if that was not by itself."""
    if not sys.executable or getattr(sys, "frozen", False):  # it would start the application again
        return {}, "there is no Python interpreter to start"
    command = [sys.executable, "-P", "-c", _START, *map(os.fspath, sys.path)]
    command += [what, json.dumps([str(each) for each in libraries()])]
    command += [str(path), str(threads), str(PATIENCE + 10)]
    process = None
    try:
        with leaving_interrupts():  # ends before the first wait, which Ctrl-C may then cut short
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        written, _ = process.communicate(packed, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return {}, f"it takes longer than {PATIENCE} s"
    except OSError as error:
        return {}, f"no process can be started: {error.strerror or error}"
    finally:
        if process is not None:
            with process:  # waits for it and closes its pipes
                process.kill()
    return json.loads(written or "{}"), _ending(process.returncode)


# The child finds modules where this process does, whatever its folder and environment say.
_START = """
import os, sys
*sys.path, what, libraries, path, threads, seconds = sys.argv[1:]
from qtool.compare.footprint_child import main
main(what, libraries, os.fsencode(path), int(threads), int(seconds))
"""


def _ending(code: int) -> str:
    if code == 0:
        return ""
    if code > 0:
        return f"the process that runs it ended with {code}"
    try:
        return f"the process that runs it was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"the process that runs it was ended by signal {-code}"


def _ratio(reference: float | None, candidate: float | None, small: float) -> float | None:
    """Candidate over reference, if both are known and one of them is not small."""
    if not reference or candidate is None or max(reference, candidate) < small:
        return None
    return candidate / reference
