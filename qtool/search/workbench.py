"""Candidates as files, with the ranges that they need, and the clock that they are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool import model as models
from qtool import workflow
from qtool.calibrate.file import Calibration
from qtool.compare.latency import Feeds, measure
from qtool.compare.result import Latency
from qtool.data.dataset import Dataset
from qtool.data.fed import Fed
from qtool.errors import MachineError
from qtool.numeric.histogram import Histogram
from qtool.passes import rewritten
from qtool.plan.decide import decide
from qtool.plan.sites import fitting
from qtool.runtime import Session, probe
from qtool.search.kernels import ROOM, Kernel, profile
from qtool.search.latency import Floats
from qtool.search.rules import Ruled, integers
from qtool.signature import Signature
from qtool.workflow import Job

FEW = 16  # samples that ranges are measured on for candidates: these are timed, and no more


@dataclass
class Workbench:
    """The job, the feeds that are timed, the ranges known, and samples to measure others on.

    Without `few` a candidate that needs a range that is not known cannot be made. Where an interval
    of values lies does not change how long a kernel takes; what the values are may.
    """

    job: Job
    feeds: Sequence[Feeds]
    folder: Path
    known: dict[str, Histogram]
    few: Dataset | None
    batch_size: int
    jobs: dict[Floats, Job] = field(default_factory=dict)
    lacking: int = 0  # candidates that could not be made

    def __post_init__(self) -> None:
        self.units = Floats(integers(self.job))
        self._ruled = Ruled(self.job)
        self._paths: dict[Floats, Path] = {}

    def make(self, floats: Floats) -> Floats | None:
        """Write the candidate; the units that are float in it."""
        if floats == self.units:
            job = self._ruled.stored()
        else:
            job = self._ruled.with_floats(floats) if floats else self.job
        found = self.units - set(integers(job))
        if found not in self._paths:
            if not self._covered(job):
                self.lacking += 1
                return None
            self.jobs[found], self._paths[found] = job, self._write(job)
        return found

    def kernels(self, *choices: Floats) -> list[list[Kernel]]:
        """Their kernels, profiled in turns."""
        paths = [self._paths[choice] for choice in choices]
        return profile(paths, self.feeds, self.folder, threads=self.job.threads)

    def ratio(self, before: Floats | None, after: Floats, seconds: float | None) -> Latency:
        """Timed by the harness of `compare`; None is the model that was given."""
        path = self.job.path if before is None else self._paths[before]
        size, threads = self.batch_size, self.job.threads
        left, right = Session(path, threads=threads), Session(self._paths[after], threads=threads)
        found = measure(left, right, self.feeds, batch_size=size, threads=threads, seconds=seconds)
        left.close()
        right.close()
        return found

    def _covered(self, job: Job) -> bool:
        missing = [name for name in job.sites.sources if name not in self.known]
        if missing and self.few is not None:
            found = workflow.measure(job, self.few, batch_size=self.batch_size)
            self.known.update(found.histograms)
        return not missing or self.few is not None

    def _write(self, job: Job) -> Path:
        sites = fitting(job.sites, self.known, job.model, job.recipe, job.target)
        plan = decide(
            job.model, sites, self.known, job.target, keep_io_types=job.recipe.keep_io_types
        )
        path = self.folder / f"choice{len(self._paths)}.onnx"
        try:
            path.write_bytes(models.serialize(rewritten(job.model, plan)))
        except OSError as error:
            raise MachineError(f"cannot write {path}, to be timed", str(error), ROOM) from error
        return path


def feeds_like(calibration: Calibration, signature: Signature, batch_size: int) -> Feeds:
    """Made-up feeds of the sizes and ranges that were measured, to be timed and nothing else."""
    feeds = probe(signature)
    for name, fed in calibration.fed.items():
        if fed.dtype != "str" and name in feeds:
            feeds[name] = _like(fed, batch_size)
    return feeds


def _like(fed: Fed, batch_size: int) -> NDArray[Any]:
    """Values spread evenly over the range, of the greatest shape."""
    low, high = (fed.low, fed.high) if fed.low <= fed.high else (0.0, 0.0)
    spread = low + (high - low) * np.random.default_rng(0).random((batch_size, *fed.greatest))
    whole = np.dtype(fed.dtype).kind in "iub"
    return np.asarray(np.rint(spread) if whole else spread, fed.dtype)
