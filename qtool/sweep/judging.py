"""One cell after the other: made as `qtool quantize` makes it, judged as `qtool compare` does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from qtool.compare.judge import LATENCY_SAMPLES, compare
from qtool.compare.metrics import metrics_of, values
from qtool.compare.result import Comparison, Size
from qtool.compare.truth.custom import Scorer, load_scorers
from qtool.data import Dataset
from qtool.errors import DataError, ModelError, QtoolError, UsageError
from qtool.files import atomic_write
from qtool.recipe import Recipe
from qtool.search.budget import Loss, budget_for, loss_of
from qtool.search.making import Candidate, Maker
from qtool.search.within import Bounds, Within
from qtool.sweep.cells import Cell, Failure
from qtool.sweep.result import Measure, Outcome
from qtool.sweep.setup import Setup
from qtool.target import load_target

OF_A_CELL = (UsageError, ModelError, DataError)
"""What may be wrong with a cell alone; a full disk is wrong with all of them."""


class Bench:
    """Where the cells of a sweep are made and judged.

    Args:
        model: the file of the original; `size` bytes, also where a part of it lies elsewhere.
        folder: for candidates while they are judged.
    """

    def __init__(
        self, model: Path, setup: Setup, parts: tuple[Dataset, Dataset], folder: Path, size: int
    ) -> None:
        self.model, self.setup, self.folder, self.size = model, setup, folder, size
        self.calibration, self.evaluation = parts
        self.scorers: Sequence[Scorer] = load_scorers(setup.scorers)
        self.maker = Maker(
            model, load_target(setup.target), self.calibration, folder,
            batch_size=setup.batch_size, threads=setup.threads, requantize=setup.requantize,
        )  # fmt: skip

    def reference(self) -> tuple[Outcome, Measure, str]:
        """What float has, the metric that losses are in, and the digest of the samples judged on.

        Raises:
            UsageError: there is no such metric here.
            QtoolError: the model does not run on the samples.
        """
        found = self._compared(self.model, self.evaluation)
        budget = budget_for("0", self.setup.metric, found)
        better = metrics_of(found)[budget.metric].better
        metric = Measure(budget.metric, budget.unit, better)
        assert found.data is not None
        return self._outcome(found, 0, metric), metric, found.data.fingerprint

    def judge(self, cell: Cell, metric: Measure, *, keep: bool) -> tuple[Outcome, bytes | None]:
        """What becomes of the model under a cell's recipe, and the file's bytes if they are kept.

        Raises:
            MachineError: something is wrong here, and not with the recipe.
        """
        try:
            candidate = self._made(cell)
            try:
                found = self._compared(candidate.path, self.evaluation)
                data = candidate.quantized.data if keep else None
                outcome = self._outcome(found, len(candidate.plan.schemes), metric)
                rules = candidate.job.recipe.toml() if cell.mixed else None
                return replace(outcome, found=rules), data
            finally:
                with suppress(OSError):
                    candidate.path.unlink()
        except OF_A_CELL as error:
            return Outcome(error=failure(error)), None

    def timed(self, data: bytes, metric: Measure) -> Outcome:
        """The times of a candidate; all else in it is of a few samples, and worth nothing."""
        path = self.folder / "timed.onnx"
        atomic_write(path, data, force=True)
        few = self.evaluation.take(range(min(LATENCY_SAMPLES, len(self.evaluation))))
        try:
            return self._outcome(self._compared(path, few, latency=True), 0, metric)
        except OF_A_CELL as error:
            return Outcome(error=failure(error))

    def _made(self, cell: Cell) -> Candidate:
        recipe = recipe_of(cell)
        if cell.mixed is None:
            candidate = self.maker.make(self.maker.job(recipe))
        else:
            found = Within(self.maker, recipe, Bounds(target_bits=cell.mixed)).run()
            if not found.fits:
                raise UsageError(
                    f"{cell.mixed:g} bits on average cannot be had",
                    "with 2 bits wherever the recipe has more, there are more",
                )
            candidate = found.candidate
        if candidate.plan.schemes or candidate.plan.activations:
            return candidate
        candidate.path.unlink()
        raise ModelError(
            "there is nothing to quantize in this model",
            "no operator with constant float weights that the recipe and the target allow",
            "qtool inspect MODEL  tells why for each",
        )

    def _compared(self, path: Path, data: Dataset, *, latency: bool = False) -> Comparison:
        found = compare(
            self.model, path, data, batch_size=self.setup.batch_size, scorers=self.scorers,
            latency=latency, threads=self.setup.threads,
        )  # fmt: skip
        candidate = self.size if path == self.model else found.size.candidate
        return replace(found, size=Size(self.size, candidate))

    def _outcome(self, found: Comparison, layers: int, metric: Measure) -> Outcome:
        measured = values(found, metrics_of(found))
        known = {name: each for name, each in measured.items() if math.isfinite(each[0])}
        return Outcome(
            size=found.size.candidate,
            layers=layers,
            loss=_finite(loss_of(found, metric.name)),
            metrics={name: value for name, (value, _) in known.items()},
            intervals={
                name: (at.low, at.high)
                for name, (_, at) in known.items()
                if at and math.isfinite(at.low) and math.isfinite(at.high)
            },
        )


def recipe_of(cell: Cell) -> Recipe:
    """The recipe of a cell that has one."""
    assert cell.recipe is not None
    return cell.recipe


def failure(error: QtoolError) -> Failure:
    """The error as a plain value."""
    return Failure(error.what, error.why, error.fix)


def _finite(loss: Loss) -> Loss:
    """A loss whose ends, where nobody knows them, are infinite: JSON has one null for both."""
    low, high = (math.inf if math.isnan(end) else end for end in (loss.low, loss.high))
    return Loss(loss.value, low, high)
