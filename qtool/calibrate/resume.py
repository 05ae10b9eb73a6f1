"""What an interrupted run leaves beside its output, for the same command to go on from."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from qtool.calibrate.file import Calibration, Run, load_with_note
from qtool.calibrate.spans import Span, inside
from qtool.data.dataset import Dataset
from qtool.errors import MachineError, QtoolError, UsageError
from qtool.files import check_output

EVERY = 1.0  # seconds from one checkpoint to the next, at least
SHARE = 0.05  # of the time may go into writing them, at most


class Checkpoint:
    """The file `OUTPUT.part`. It is written whole or not at all, so a kill -9 leaves a good one."""

    def __init__(self, output: Path, data: Dataset) -> None:
        self.path = output.with_name(f"{output.name}.part")
        self._data = data
        self._next = time.monotonic() + EVERY
        self.went_on = 0  # samples that were there already
        self.passed_over = False  # whether what was there is of something else

    def found(self, run: Run, tensors: Sequence[str], span: Span) -> Calibration | None:
        """What is there of this very run over these blocks, on unchanged files; None if nothing."""
        if not self.path.exists():
            return None
        self.passed_over = True
        try:
            part, note = load_with_note(self.path)
        except (QtoolError, OSError):  # not worth keeping
            return None
        fits = inside(part.covers, span) and list(part.histograms) == list(tensors)
        if not fits or part.run != run or note != self._note(part):
            return None
        self.passed_over = False
        self.went_on = part.samples
        return part

    def check(self, inputs: Iterable[Path]) -> None:
        """Refuse to take the place of a file that is not ours.

        Raises:
            UsageError: it is something else than what an interrupted run leaves.
        """
        check_output(self.path, force=True, inputs=inputs)
        with suppress(QtoolError):
            if not os.path.lexists(self.path) or load_with_note(self.path)[1]:
                return
        raise UsageError(
            f"{self.path} is in the way",
            "what is done would be kept there, and it is not what an interrupted run left",
            "move it, or choose another output name",
        )

    @property
    def due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() >= self._next

    def write(self, part: Calibration) -> None:
        """Keep what is done so far. A disk that does not take it ends no run."""
        start = time.monotonic()
        with suppress(MachineError, UsageError):
            part.save(self.path, force=True, note=self._note(part))
        now = time.monotonic()
        self._next = now + max(EVERY, (now - start) / SHARE)

    def remove(self) -> None:
        """The run is done."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _note(self, part: Calibration) -> str:
        """What tells that the files of the samples that it covers have not changed since."""
        blocks = self._data.blocks(part.run.batch_size)
        return self._data.listing(blocks[index] for span in part.covers for index in range(*span))
