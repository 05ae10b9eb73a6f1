"""One run over the data, or one shard of it: fetch, run, observe, and keep what is done."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

import qtool
from qtool import model as models
from qtool.calibrate.file import Calibration, Run
from qtool.calibrate.resume import Checkpoint
from qtool.calibrate.spans import Span, gaps, union
from qtool.calibrate.stream import Stream
from qtool.data.ahead import ahead
from qtool.data.carry import Carry
from qtool.data.dataset import Dataset
from qtool.data.fed import Fed, Sample, add, fingerprint, note
from qtool.model import ONNX_VERSION
from qtool.numeric.histogram import Histogram
from qtool.numeric.tally import SHIFTS, Shifts, counted
from qtool.runtime import VERSION as RUNTIME_VERSION
from qtool.runtime import digest_of_libraries

Step: TypeAlias = Callable[[int, int], None]


def run_of(model: ir.Model, data: Dataset, batch_size: int) -> Run:
    """What every part of this run will say of itself."""
    libraries = digest_of_libraries()
    return Run(
        model=models.digest(model),
        samples=len(data),
        total=data.total,
        seed=data.seed,
        batch_size=batch_size,
        blocks=len(data.blocks(batch_size)),
        counted=counted(len(data)),
        declared=data.declaration.feeding(),
        versions={
            "qtool": qtool.__version__,
            "numpy": np.__version__,
            "onnx": ONNX_VERSION,
            "onnxruntime": RUNTIME_VERSION,
            "python": platform.python_version(),
            **({"custom operators": libraries} if libraries else {}),
        },
    )


def measure(
    model: ir.Model,
    tensors: Sequence[str],
    data: Dataset,
    run: Run,
    span: Span,
    *,
    threads: int = 0,
    step: Step = lambda done, total: None,
    checkpoint: Checkpoint | None = None,
    halfway: Callable[[dict[str, Histogram]], None] = lambda seen: None,
) -> Calibration:
    """Statistics of the blocks in `span`; memory does not grow with their number.

    Args:
        step: is told (samples done, samples in all) after each block.
        checkpoint: where to keep what is done, and what may be gone on from.
        halfway: is given what was seen in the first half of the samples, of a run from its start.

    Raises:
        DataError: a sample cannot be read or fed, or makes NaN or Inf.
    """
    blocks = data.blocks(run.batch_size)
    total = sum(len(blocks[index]) for index in range(*span))
    before = checkpoint.found(run, tensors, span) if checkpoint else None
    done = _Done.of(before)
    carry = Carry(data.declaration.carry)
    stream = Stream(
        model,
        tensors,
        most=run.counted,
        kept=tuple(data.declaration.carry),
        threads=threads,
        seen=before.histograms if before else None,
    )
    halved = False
    left = (index for start, stop in gaps(done.covers, span) for index in range(start, stop))
    for each in ahead(_fetch(data, run.batch_size, blocks, left)):
        carry.keep(stream.see(carry.fill(each.feeds), each.shifts, each.first))
        done.add(each)
        if each.ends is None:
            continue
        step(done.samples, total)
        if before is None and not halved and total / 2 <= done.samples < total:
            halved = True
            halfway(stream.histograms())
        if checkpoint is not None and checkpoint.due:
            checkpoint.write(done.with_statistics(run, stream.histograms()))
    return done.with_statistics(run, stream.histograms())


@dataclass(frozen=True)
class _Batch:
    """Samples to run at once, from the `first` on; `ends`: the block that it is the last of."""

    feeds: Sample
    first: int
    shifts: Shifts
    fed: dict[str, Fed]
    hashes: list[int]
    ends: int | None


def _fetch(
    data: Dataset, size: int, blocks: Sequence[range], chosen: Iterable[int]
) -> Iterator[_Batch]:
    for index in chosen:
        first, last = blocks[index].start, 0
        for feeds in data.batches(size, [blocks[index]]):
            own = {name: feeds[name] for name in data.columns}
            hashes = data.hashes(feeds, last)
            fed: dict[str, Fed] = {}
            note(own, fed)
            ends = index if first + len(hashes) == blocks[index].stop else None
            shifts = tuple(each % SHIFTS for each in hashes)
            yield _Batch(feeds, first, shifts, fed, hashes, ends)
            first, last = first + len(hashes), hashes[-1]


@dataclass
class _Done:
    """What has gone in so far."""

    covers: tuple[Span, ...]
    samples: int
    hashes: int
    fed: dict[str, Fed]

    @classmethod
    def of(cls, part: Calibration | None) -> _Done:
        if part is None:
            return cls((), 0, 0, {})
        return cls(part.covers, part.samples, int(part.data, 16), dict(part.fed))

    def add(self, batch: _Batch) -> None:
        self.samples += len(batch.shifts)
        self.hashes += sum(batch.hashes)
        add(self.fed, batch.fed)
        if batch.ends is not None:
            self.covers = union([*self.covers, (batch.ends, batch.ends + 1)])

    def with_statistics(self, run: Run, seen: dict[str, Histogram]) -> Calibration:
        data = fingerprint([self.hashes])
        return Calibration(run, self.covers, self.samples, data, dict(self.fed), seen)
