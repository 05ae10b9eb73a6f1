"""What an interrupted `tune` leaves beside its output, for the same command to go on from."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from qtool.errors import UsageError
from qtool.files import atomic_write, check_output
from qtool.tune.course import kept_beside
from qtool.tune.learn import Snapshot

FORMAT = 2
EVERY = 2.0  # seconds from one write to the next, at least


class Journal:
    """The file `OUTPUT.part`: stages that ended, and where the one that runs is.

    It is written whole or not at all. `identity` holds all that must agree for it to be worth
    something; what is of another run is written over.

    Raises:
        UsageError: there is something else of that name.
    """

    def __init__(self, output: Path, identity: Mapping[str, Any]) -> None:
        self.path = kept_beside(output)
        self._identity = json.dumps(identity, sort_keys=True)
        self._next = time.monotonic() + EVERY
        self.ended: dict[str, Snapshot] = {}  # stage -> what was learned in it
        self.running: tuple[str, Snapshot] | None = None
        check_output(self.path, force=True)
        known = _read(self.path)
        if known is None and self.path.exists():
            raise UsageError(
                f"{self.path} is in the way",
                "what is learned would be kept there, and it is not what an interrupted run left",
                "move it, or choose another output name",
            )
        self.went_on = known is not None and known["identity"] == self._identity
        self.replaced = known is not None and not self.went_on
        if known is not None and self.went_on:
            self.ended, self.running = known["ended"], known["running"]

    def keep(self, stage: str, snapshot: Snapshot) -> None:
        """Where a stage is now; not each time in the file."""
        self.running = (stage, snapshot)
        if time.monotonic() >= self._next:
            self._write()

    def end(self, stage: str, learned: Snapshot) -> None:
        """What a stage ended with."""
        self.ended[stage], self.running = learned, None
        self._write()

    def _write(self) -> None:
        table = {"format": FORMAT, "identity": self._identity, "ended": self.ended,
                 "running": self.running}  # fmt: skip
        data = io.BytesIO()
        torch.save(table, data)
        atomic_write(self.path, data.getvalue(), force=True)
        self._next = time.monotonic() + EVERY


def _read(path: Path) -> dict[str, Any] | None:
    """The file, if it is one of ours and whole; no code in it is run."""
    try:
        found = torch.load(path, weights_only=True)
        ours = isinstance(found, dict) and found.get("format") == FORMAT
        return found if ours and {"identity", "ended", "running"} <= found.keys() else None
    except Exception:  # whatever torch says of what is no file of its own
        return None
