"""Candidates: one model under many recipes, each made as `qtool quantize` makes it.

Ranges are measured once: they hold for every recipe under which the model is transformed alike and
no other tensor is quantized, since a histogram knows nothing of bits, types or methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from qtool import model as models
from qtool import workflow
from qtool.algorithms import needing_samples
from qtool.bodies import nodes_in
from qtool.calibrate.file import Calibration
from qtool.calibrate.run import Step
from qtool.data.dataset import Dataset
from qtool.errors import MachineError
from qtool.ops import constant
from qtool.plan.plan import Plan
from qtool.recipe import Recipe
from qtool.refine.samples import Samples, drawn, learned
from qtool.refine.state import MEMORY
from qtool.target import Target
from qtool.workflow import Job, Quantized

ROOM = "make room, or set TMPDIR to a place that has some"


@dataclass(frozen=True)
class Candidate:
    """A model as some recipe has it, in a file."""

    job: Job
    quantized: Quantized
    path: Path

    @property
    def plan(self) -> Plan:
        """What was decided for it."""
        return self.quantized.plan

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.quantized.data)

    def share_and_bits(self) -> tuple[float, float]:
        """The share of the quantized weights' values that are multiplied in integers, and the bits
        of one on average."""
        nodes = {node.name: node for node in nodes_in(self.job.model.graph)}
        values, integer, bits = 0, 0, 0
        for (node, position), weight in self.plan.weights.items():
            tensor = constant(nodes[node].inputs[position])
            assert tensor is not None
            values += tensor.size
            integer += tensor.size * (weight.form != "stored")
            bits += tensor.size * weight.params.type.bits
        return (integer / values, bits / values) if values else (0.0, 0.0)


class Maker:
    """Makes candidates of one model, on the samples that `quantize` would have.

    Args:
        path: the model.
        data: samples to measure and refine on; None for recipes that need none.
        folder: where candidates are written.
        memory: what those algorithms may take that choose codes, in bytes.
    """

    def __init__(
        self,
        path: Path,
        target: Target,
        data: Dataset | None,
        folder: Path,
        *,
        batch_size: int = 1,
        threads: int = 0,
        requantize: bool = False,
        memory: int = MEMORY,
    ) -> None:
        self.path, self.target, self.data, self.folder = path, target, data, folder
        self.batch_size, self.threads, self.requantize = batch_size, threads, requantize
        self.memory = memory
        self._measured: dict[str, Calibration] = {}  # by the digest of the model as transformed
        self._drawn: dict[int, Samples] = {}  # by how many are learned from
        self._made = 0

    def job(self, recipe: Recipe) -> Job:
        """The model opened, prepared and transformed for the recipe.

        Raises:
            QtoolError: as `workflow.open_job` and `workflow.smoothed`.
        """
        job = self.opened(recipe)
        run = self.samples(recipe.measured_before())
        return job if run is None else workflow.smoothed(job, run)

    def opened(self, recipe: Recipe) -> Job:
        """The same but for transforms that need samples."""
        return workflow.open_job(
            self.path, recipe, self.target, threads=self.threads, requantize=self.requantize
        )

    def make(self, job: Job, step: Step = lambda done, total: None) -> Candidate:
        """Measure what was not yet measured, decide, refine, and write the result.

        Raises:
            DataError: a sample cannot be read or fed.
            MachineError: there is no room for it.
        """
        ranges, samples = self.ranges(job, step), self.samples(job.recipe)
        quantized = workflow.build(job, ranges, samples, memory=self.memory)
        self._made += 1
        path = self.folder / f"candidate{self._made}.onnx"
        try:
            path.write_bytes(quantized.data)
        except OSError as error:
            raise MachineError(f"cannot write {path}, to be judged", str(error), ROOM) from error
        return Candidate(job, quantized, path)

    def ranges(self, job: Job, step: Step = lambda done, total: None) -> Calibration | None:
        """The ranges of all that the job quantizes; None where it measures nothing."""
        if self.data is None or not job.sites.sources:
            return None
        key = models.digest(job.model)
        known = self._measured.get(key)
        missing = [n for n in job.sites.sources if known is None or n not in known.histograms]
        if missing:
            found = workflow.measure(job, self.data, batch_size=self.batch_size, step=step)
            both = {**(known.histograms if known else {}), **found.histograms}
            self._measured[key] = known = replace(found, histograms=both)
        return known

    @property
    def measured(self) -> Mapping[str, Calibration]:
        """The ranges so far."""
        return self._measured

    def learn(self, measured: Mapping[str, Calibration]) -> None:
        """Take ranges over that were measured elsewhere, on the same samples."""
        self._measured.update(measured)

    def samples(self, recipe: Recipe) -> Samples | None:
        """What the recipe's algorithms run, where one of them does."""
        if self.data is None or not needing_samples(recipe.algorithms):
            return None
        count = learned(recipe)
        if count not in self._drawn:
            self._drawn[count] = drawn(self.data, self.batch_size, count)
        return self._drawn[count]
