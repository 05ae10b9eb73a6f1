"""A sweep from beginning to end: here or on workers, alone or going on where another stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from qtool import cluster
from qtool import model as models
from qtool.calibrate.run import run_of
from qtool.calibrate.shards import digest_of as digest_of_samples
from qtool.compare.truth.custom import digest_of
from qtool.data import Dataset
from qtool.data.files import printable
from qtool.data.truth import truth_of
from qtool.files import atomic_write, discard_folder, temporary_folder
from qtool.runtime import libraries
from qtool.sweep.axes import Values
from qtool.sweep.cells import Cell
from qtool.sweep.judging import OF_A_CELL, Bench, recipe_of
from qtool.sweep.kept import Kept
from qtool.sweep.result import Measure, Outcome, Sweep, with_latency
from qtool.sweep.setup import Setup
from qtool.sweep.spread import Task, bytes_of, judge_cell, versions_of

Done: TypeAlias = tuple[Cell, Outcome]
Tell = Callable[[int, int, str], None]
"""Is told (cells done, cells in all, the name of the one that is tried, or was done last)."""


@dataclass(frozen=True)
class Workers:
    """So many processes of this machine, or those of the scheduler at an address."""

    count: int = 0
    address: str | None = None

    def connected(self, most: int) -> AbstractContextManager[cluster.Cluster]:
        """The workers; where they are started for this, at most so many."""
        return cluster.connected(min(self.count, most), self.address)


@dataclass(frozen=True)
class Sweeping:
    """One sweep.

    Args:
        keep: a folder for the candidates, named after their cells.
        kept: what an interrupted run left, and this one will.
    """

    model: Path
    setup: Setup
    cells: Sequence[Cell]
    axes: Values
    kept: Kept
    keep: Path | None = None
    workers: Workers | None = None
    tell: Tell = lambda done, total, name: None

    @cached_property
    def parts(self) -> tuple[Dataset, Dataset]:
        """Samples to calibrate on, and to judge on."""
        return self.setup.opened(models.signature(models.load(self.model)))

    def file_of(self, cell: Cell) -> Path | None:
        """Where the candidate of a cell is kept, if it is."""
        return self.keep and self.keep / f"{self.model.stem}.{cell.slug}.onnx"

    def run(self) -> Sweep:
        """Make and judge what is not yet known.

        Raises:
            QtoolError: the model or the samples are not fit for any cell, or this machine is not.
        """
        folder = temporary_folder()
        try:
            size = models.file_size(self.model)
            bench = Bench(self.model, self.setup, self.parts, folder, size)
            self.tell(0, len(self.cells), "float")
            reference, metric, fingerprint = bench.reference()
            run = self._run(bench, metric, fingerprint)
            self.kept.begin(run, self.keep)
            outcomes = self._outcomes(bench, metric)
            cells = [(cell, outcomes[cell.name]) for cell in self.cells]
            return Sweep(str(self.model), run, self.axes, metric, reference, cells)
        finally:
            discard_folder(folder)

    def _run(self, bench: Bench, metric: Measure, fingerprint: str) -> dict[str, Any]:
        """All that must agree for outcomes to be worth something beside each other."""
        calibration, evaluation = self.parts
        measured = asdict(run_of(models.load(self.model), calibration, self.setup.batch_size))
        return {
            **{key: measured[key] for key in ("model", "declared", "batch_size", "versions")},
            "target": self.setup.target,
            "metric": metric.name,
            "calibration": _about(calibration, calibration.fingerprint),
            "evaluation": {**_about(evaluation, fingerprint), "truth": truth_of(evaluation)},
            "threads": self.setup.threads,
            "latency": self.setup.latency,
            "requantized": self.setup.requantize,
            "scorers": [digest_of(text) for text in self.setup.scorers],
        }

    def _outcomes(self, bench: Bench, metric: Measure) -> dict[str, Outcome]:
        """By the name of each cell; what is done is kept, however this ends."""
        found: dict[str, Outcome] = {}
        left: list[Cell] = []
        for cell in self.cells:
            file = self.file_of(cell)
            if cell.impossible is not None:
                found[cell.name] = Outcome(error=cell.impossible)
            elif (file is None or file.exists()) and (known := self.kept.outcome(cell)):
                found[cell.name] = known
            else:
                left.append(cell)
        judged = self._spread if self.workers else self._alone
        try:
            for cell, outcome in judged(bench, metric, left) if left else ():
                found[cell.name] = outcome
                self.kept.add(cell, outcome)
                self.tell(len(found), len(self.cells), cell.name)
        except BaseException:
            self.kept.write()
            raise
        return found

    def _alone(self, bench: Bench, metric: Measure, cells: Sequence[Cell]) -> Iterator[Done]:
        """The cells, one by one."""
        done = len(self.cells) - len(cells)
        for number, cell in enumerate(cells):
            self.tell(done + number, len(self.cells), cell.name)
            outcome, data = bench.judge(cell, metric, keep=self._wanted)
            yield cell, self._finished(bench, metric, cell, outcome, data)

    def _spread(self, bench: Bench, metric: Measure, cells: Sequence[Cell]) -> Iterator[Done]:
        """The cells as workers have done them; those to be timed when no worker works any more."""
        assert self.workers is not None
        for cell in cells:
            self.tell(len(self.cells) - len(cells), len(self.cells), "ranges")
            with suppress(*OF_A_CELL):  # it will be said of the cell
                bench.maker.ranges(bench.maker.job(recipe_of(cell)))
        task = Task(
            setup=self.setup.absolute(self.parts),
            metric=metric,
            model=bytes_of(self.model),
            size=bench.size,
            measured=dict(bench.maker.measured),
            digests=(digest_of_samples(bench.calibration), digest_of_samples(bench.evaluation)),
            versions=versions_of(bench),
            libraries=tuple(map(str, libraries())),
        )
        items = [(n, cell, self._wanted) for n, cell in enumerate(cells)]
        waiting: list[tuple[Cell, Outcome, Path]] = []
        with (
            self.workers.connected(len(items)) as crowd,
            closing(crowd.run(judge_cell, task, items)) as judged,
        ):
            for (number, _, _), (outcome, data) in judged:
                cell = cells[number]
                if data is None or not self.setup.latency:
                    yield cell, self._finished(bench, metric, cell, outcome, data)
                    continue
                path = bench.folder / f"waiting{number}.onnx"
                atomic_write(path, data, force=True)
                waiting.append((cell, outcome, path))
        for cell, outcome, path in waiting:
            yield cell, self._finished(bench, metric, cell, outcome, path.read_bytes())
            path.unlink()

    @property
    def _wanted(self) -> bool:
        """Whether the bytes of candidates are needed once they are judged."""
        return self.keep is not None or self.setup.latency

    def _finished(
        self, bench: Bench, metric: Measure, cell: Cell, outcome: Outcome, data: bytes | None
    ) -> Outcome:
        """The outcome once it is timed and its file written, where that is asked for."""
        if data is None:
            return outcome
        if self.setup.latency:
            timed = bench.timed(data, metric)
            if timed.error is not None:
                return timed
            outcome = with_latency(outcome, timed)
        if file := self.file_of(cell):
            atomic_write(file, data, force=True)
        return outcome


def _about(data: Dataset, fingerprint: str) -> dict[str, Any]:
    return {
        "path": printable(data.path),
        "samples": len(data),
        "total": data.total,
        "seed": data.seed,
        "fingerprint": fingerprint,
    }
