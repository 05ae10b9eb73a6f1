"""The peak memory of a process."""

from __future__ import annotations

import subprocess
import sys


def peak_mb(*command: str) -> float | None:
    """Peak resident memory, in MiB, of a command; None where it fails."""
    # A process's peak begins with that of the one that starts it: a small one stands between.
    found = subprocess.run(
        [sys.executable, "-S", "-c", _STARTER, *command], stdout=subprocess.PIPE, check=True
    )
    failed, kib = map(int, found.stdout.split())
    return None if failed else kib / 1024


_STARTER = """
import os, sys
quiet = [(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_WRONLY, 0) for n in (1, 2)]
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, usage = os.wait4(pid, 0)
print(int(status != 0), usage.ru_maxrss)
"""
