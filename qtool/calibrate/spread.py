"""One run over the data by workers: cut into pieces, and added up as these come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx_ir as ir

from qtool import cluster
from qtool import model as models
from qtool.calibrate.file import Calibration, Run
from qtool.calibrate.merge import merge
from qtool.calibrate.resume import Checkpoint
from qtool.calibrate.run import Step
from qtool.calibrate.shards import Task, digest_of, measure_shard, share_of_cores
from qtool.calibrate.spans import Span, gaps, pieces
from qtool.data.dataset import Dataset
from qtool.errors import MachineError
from qtool.numeric.histogram import Histogram
from qtool.recipe import Recipe
from qtool.runtime import libraries
from qtool.signature import Signature

EACH = 4  # pieces for a worker, so that one more or less costs little
MOST = 256  # blocks in a piece: that much is lost with a worker, and as often it is told


@dataclass(frozen=True)
class Workers:
    """So many processes of this machine, or those of the scheduler at an address.

    `place` and `on_bad_file` are how the data was opened here, and will be there. Each has so many
    `threads`; 0 for all cores, which processes of one machine share.
    """

    place: str
    on_bad_file: Literal["error", "skip"] = "error"
    count: int = 0
    address: str | None = None
    threads: int = 0

    def connected(self, most: int) -> AbstractContextManager[cluster.Cluster]:
        """The workers; where they are started for this, at most so many."""
        return cluster.connected(min(self.count, most), self.address)

    def task(
        self,
        model: ir.Model,
        tensors: Sequence[str],
        data: Dataset,
        run: Run,
        signature: Signature,
        recipe: Recipe,
    ) -> Task:
        """What they are told. A path is made absolute: theirs may start elsewhere."""
        local = data.path == Path(self.place)
        shared = share_of_cores(self.count) if self.count else 0
        return Task(
            model=models.serialize(model),
            tensors=tuple(tensors),
            signature=signature,
            place=str(data.path.absolute()) if local else self.place,
            declaration=recipe.data,
            samples=recipe.samples,
            seed=recipe.seed,
            on_bad_file=self.on_bad_file,
            run=run,
            digest=digest_of(data),
            threads=self.threads or shared,
            libraries=tuple(map(str, libraries())),
        )


def measure_spread(
    workers: Workers,
    task: Task,
    data: Dataset,
    span: Span,
    *,
    step: Step = lambda done, total: None,
    checkpoint: Checkpoint | None = None,
    halfway: Callable[[dict[str, Histogram]], None] = lambda seen: None,
) -> Calibration:
    """As `qtool.calibrate.run.measure`, with the same result, by workers.

    Raises:
        DataError: as there; or a worker has other data or other versions.
        MachineError: there are no workers, or no more.
    """
    blocks = data.blocks(task.run.batch_size)
    total = sum(len(blocks[index]) for index in range(*span))
    now = checkpoint.found(task.run, task.tensors, span) if checkpoint else None
    left = gaps(now.covers if now else (), span)
    count = sum(stop - start for start, stop in left)
    if now is not None and not count:
        return now
    try:
        with workers.connected(count) as crowd:
            cut = pieces(left, min(-(-count // (EACH * crowd.size)), MOST))
            with closing(crowd.run(measure_shard, task, cut)) as parts:
                for _, part in parts:
                    before = now.samples if now else 0
                    now = merge([now, part], ["what is done", "a piece"]) if now else part
                    step(now.samples, total)
                    if before < total / 2 <= now.samples:
                        halfway(now.histograms)
                    if checkpoint is not None and checkpoint.due:
                        checkpoint.write(now)
    except (MachineError, KeyboardInterrupt):
        if checkpoint is not None and now is not None:  # pieces are large, and so what is new
            checkpoint.write(now)
        raise
    assert now is not None  # there is at least one block
    return now
