"""What an interrupted sweep leaves beside its output, for the same command to go on from."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from qtool.calibrate.resume import EVERY
from qtool.errors import MachineError, UsageError
from qtool.files import atomic_write, check_output
from qtool.sweep.cells import Cell
from qtool.sweep.result import Outcome, outcome_of, plain

FORMAT = 1


class Kept:
    """The file `OUTPUT.part`: outcomes by what makes a recipe, under what they were found under.

    It is written whole or not at all, so a kill -9 leaves a good one, at most a second behind.
    """

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(f"{output.name}.part")
        self.went_on = 0  # cells that were there already
        self._run: Mapping[str, Any] = {}
        self._models: str | None = None
        self._done: dict[str, Outcome] = {}
        self._next = 0.0

    def check(self, inputs: Iterable[Path]) -> None:
        """Refuse to take the place of a file that is not ours.

        Raises:
            UsageError: it is something else than what an interrupted run leaves.
        """
        check_output(self.path, force=True, inputs=inputs)
        if os.path.lexists(self.path) and self._read() is None:
            raise UsageError(
                f"{self.path} is in the way",
                "what is done would be kept there, and it is not what an interrupted sweep left",
                "move it, or choose another output name",
            )

    def begin(self, run: Mapping[str, Any], models: Path | None = None) -> None:
        """Take over what was found under the very same conditions; where models are kept in a
        folder, only if they were kept there too: others may lie under their names."""
        self._run, self._models = json.loads(json.dumps(run)), _whole(models)
        found = self._read()
        if found is None or found["run"] != self._run:
            return
        if models is not None and not self.has_models_in(models):
            return
        with suppress(ValueError, AttributeError):
            self._done = {key: outcome_of(table) for key, table in found["cells"].items()}

    def has_models_in(self, folder: Path) -> bool:
        """Whether an interrupted run kept its models there."""
        found = self._read()
        return found is not None and found.get("models") == _whole(folder)

    def outcome(self, cell: Cell) -> Outcome | None:
        """What a cell came to, if that is known."""
        known = self._done.get(cell.key)
        self.went_on += known is not None
        return known

    def add(self, cell: Cell, outcome: Outcome) -> None:
        """Remember an outcome, and write all down if it is time; a failure is tried again."""
        if outcome.error is not None:
            return
        self._done[cell.key] = outcome
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Keep what is done so far. A disk that does not take it ends no run."""
        cells = {key: plain(outcome) for key, outcome in self._done.items()}
        found = {"sweep": FORMAT, "run": self._run, "models": self._models, "cells": cells}
        text = json.dumps(found, allow_nan=False)
        with suppress(MachineError, UsageError):
            atomic_write(self.path, text.encode(), force=True)
        self._next = time.monotonic() + EVERY

    def remove(self) -> None:
        """The run is done."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self.path.read_bytes())
            ours = found["sweep"] == FORMAT and isinstance(found["cells"], dict)
            return found if ours and isinstance(found["run"], dict) else None
        except (OSError, ValueError, TypeError, KeyError):
            return None


def _whole(folder: Path | None) -> str | None:
    return None if folder is None else str(folder.resolve())
