"""Streams whose factors are chosen on samples, and what is measured of each to choose them by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from qtool.passes.streams import Factors, Stream
from qtool.recipe import Recipe
from qtool.refine.judge import Judge
from qtool.refine.loss import gains, heard, loss
from qtool.refine.observed import Part, Reader, Tensor
from qtool.refine.samples import Samples
from qtool.refine.taps import Taps
from qtool.refine.trial import trial
from qtool.target import Target

_PLACES: dict[Part, int] = {"fit": 1024, "check": 512}  # of a layer, over all samples
_BYTES = 256 << 20


@dataclass
class Case:
    """A stream, and what is measured of it."""

    stream: Stream
    tensors: dict[str, Tensor]
    readers: list[Reader]

    @property
    def bytes(self) -> int:
        """What it takes at most."""
        wide = sum(t.labels.size for t in self.tensors.values())
        wide += sum(prod(r.labels.shape) for r in self.readers)
        return 4 * wide * sum(_PLACES.values())

    @property
    def sound(self) -> bool:
        """Whether all was seen, and held nothing but numbers."""
        return all(tensor.sound for tensor in self.tensors.values())


def batches(cases: Iterable[Case]) -> Iterator[list[Case]]:
    """Those with readers, as many at once as memory allows."""
    batch, held = list[Case](), 0
    for case in cases:
        if not case.readers:
            continue
        if batch and held + case.bytes > _BYTES:
            yield batch
            batch, held = [], 0
        batch.append(case)
        held += case.bytes
    if batch:
        yield batch


def measure(model: ir.Model, cases: list[Case], samples: Samples, threads: int) -> None:
    """Run the samples, and let the cases observe them.

    Raises:
        ModelError: the model cannot be run.
    """
    names = [name for case in cases for name in case.tensors]
    taps = Taps(model, names, threads=threads, optimize=True)
    parts: tuple[tuple[Part, tuple[object, ...]], ...] = (
        ("fit", samples.fit),
        ("check", samples.check),
    )
    for part, feeds in parts:
        most = -(-_PLACES[part] // len(feeds))
        for each in feeds:
            values = taps.run(each)  # type: ignore[arg-type]
            for case in cases:
                for name, tensor in case.tensors.items():
                    tensor.observe(values[name], part, most)
                for reader in case.readers:
                    reader.observe(values[reader.tensor], part, most)


def chosen(
    case: Case, every: list[Stream], candidates: Iterable[Factors], least: float
) -> Factors | None:
    """Of the candidates the one of least loss, or None if it gains less than `least` dB on samples
    that it was not chosen on."""
    heard_by = heard(every, {reader.end.node for reader in case.readers})
    loud = gains(case.stream)

    def cost(factors: Factors, part: Part) -> float:
        return loss(case.tensors, case.readers, factors, loud, heard_by, part)

    same = ones(case.stream)
    best = min([same, *candidates], key=lambda factors: cost(factors, "fit"))
    if best is same or _gained(cost(same, "check"), cost(best, "check")) < least:
        return None
    return best


def better(
    model: ir.Model,
    found: ir.Model,
    samples: Samples,
    recipe: Recipe,
    target: Target,
    threads: int,
    least: float,
) -> ir.Model:
    """The one that was found, if its outputs once quantized are nearer to float's by `least` dB;
    else the model itself.

    Raises:
        ModelError: the model cannot be run.
    """
    # All samples: one number for each stream was learned from them, and few tell less.
    judge = Judge(model, (*samples.fit, *samples.check), threads)
    before, after = (
        trial(each, judge, samples, recipe, target, threads) for each in (model, found)
    )
    return found if not len(after) or np.mean(after - before) >= least else model


def _gained(before: float, after: float) -> float:
    """By how many dB an error fell; 0 where there is none."""
    return float(10 * np.log10(before / after)) if before > 0 and after > 0 else 0.0


def ones(stream: Stream) -> Factors:
    """The factors that change nothing."""
    return np.ones(len(stream.free))
