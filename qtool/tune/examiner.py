"""Candidates held against the model on samples set apart, as `qtool compare` does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from qtool import model as models
from qtool.compare.judge import compare
from qtool.compare.result import Comparison
from qtool.compare.truth.custom import Scorer
from qtool.data.dataset import Dataset
from qtool.errors import MachineError
from qtool.search.budget import Budget, Loss, budget_for, loss_of
from qtool.search.making import ROOM
from qtool.tune.course import Verdict


@dataclass(frozen=True)
class Found:
    """What a comparison says: the loss in the metric, and the verdict that follows."""

    comparison: Comparison
    loss: Loss
    verdict: Verdict

    def better(self, other: Found) -> bool:
        """Whether it is to be preferred: by the verdict, unless surely worse in the metric."""
        surely = self.loss.low > other.loss.high
        return self.verdict.better(other.verdict) and not surely


class Examiner:
    """Judges by one metric, in which a target may be given.

    Args:
        folder: where candidates are written.
        target: the greatest loss, `0.5pp`; None for none.
        metric: "" for the best there is.

    Raises:
        UsageError: the metric cannot be had, or the target is not in its unit.
        DataError: a sample or label does not fit.
    """

    def __init__(
        self,
        model: Path,
        apart: Dataset,
        folder: Path,
        *,
        target: str | None = None,
        metric: str = "",
        scorers: Sequence[Scorer] = (),
        batch_size: int = 1,
        threads: int = 0,
    ) -> None:
        self.apart, self.target = apart, target
        self._model, self._path = model, folder / "examined.onnx"
        self._batch_size, self._threads, self._scorers = batch_size, threads, scorers
        self.float = self._compared(model)
        self.budget: Budget = budget_for(target or "0", metric, self.float, "--target-drop")
        self.doubt = max(0.0, loss_of(self.float, self.budget.metric).high)

    @property
    def classes(self) -> bool:
        """Whether it is classes that are judged, not numbers as they are."""
        scored = any(each.kind in ("classes", "label") for each in self.float.outputs)
        return scored and self.budget.metric != "sqnr"

    def of(self, model: ir.Model | bytes) -> Found:
        """What a candidate is worth.

        Raises:
            ModelError: it does not run.
            MachineError: there is no room for it.
        """
        data = model if isinstance(model, bytes) else models.serialize(model)
        try:
            self._path.write_bytes(data)
        except OSError as error:
            why = str(error)
            raise MachineError(f"cannot write {self._path}, to be judged", why, ROOM) from error
        found = self._compared(self._path)
        loss = loss_of(found, self.budget.metric)
        met = self.target is not None and self.budget.holds(loss, self.doubt)
        return Found(found, loss, Verdict(_noise(found), loss.value, met))

    def _compared(self, path: Path) -> Comparison:
        return compare(
            self._model,
            path,
            self.apart,
            batch_size=self._batch_size,
            scorers=self._scorers,
            threads=self._threads,
        )


def _noise(found: Comparison) -> float:
    """Error over signal, the mean over outputs that have one."""
    parts = [10 ** (-each.sqnr_db / 10) for each in found.outputs if each.sqnr_db == each.sqnr_db]
    return sum(parts) / len(parts) if parts else 0.0
