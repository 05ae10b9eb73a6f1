"""Two models over the same samples in the same order: how far apart, and which is better.

Nothing keeps the outputs: sums stream, and per sample only a few small numbers stay (the best
class, hits, KL), which the labels and the bootstrap need.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from qtool import model
from qtool.compare import scores
from qtool.compare.latency import measure
from qtool.compare.result import Comparison, Size
from qtool.compare.watch import Watch
from qtool.data import Dataset
from qtool.errors import DataError, ModelError, UsageError, did_you_mean
from qtool.runtime import Session
from qtool.signature import Signature, TensorSpec

LATENCY_SAMPLES = 16


def compare(
    reference: Path,
    candidate: Path,
    data: Dataset | None = None,
    *,
    batch_size: int = 1,
    output: str | None = None,
    latency: bool = False,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Measure a candidate against a reference; without data only sizes and signatures.

    Args:
        reference, candidate: ONNX files with the same inputs and outputs.
        data: samples, with labels or without.
        batch_size: samples in one run.
        output: compare this output alone, and hold the labels against it.
        latency: also time both; needs data.
        threads: threads inside an operator, the same for both; 0 for all cores.
        progress: called with (samples done, samples in all).

    Raises:
        ModelError: a model does not load or run, or their signatures differ.
        DataError: a sample or label does not fit.
        UsageError: no such output, or latency without data.
    """
    # First, since it refuses what is not a model, or whose data lies elsewhere, before any loads.
    size = Size(model.file_size(reference), model.file_size(candidate))
    sessions = Session(reference, threads=threads), Session(candidate, threads=threads)
    check_signatures(sessions[0].signature, sessions[1].signature)
    watched = _watched(sessions[0].signature, output)
    if data is None:
        if latency:
            raise UsageError("--latency needs samples to run on", fix="add  --data DIR")
        return Comparison(reference, candidate, size)
    sessions[0].signature.check_batches(batch_size, len(data))
    labels = data.labels  # a bad label is said before the models run
    samples = 0
    for feeds in data.batches(batch_size):
        count = len(next(iter(feeds.values())))
        left, right = sessions[0].run(feeds), sessions[1].run(feeds)
        for watch in watched:
            watch.see(left[watch.name], right[watch.name], count)
        samples += count
        if progress is not None:
            progress(samples, len(data))
    if samples == 0:
        raise DataError("no samples to compare on")
    labelled, found, unused = (None, {}, ()) if labels is None else scores.judge(watched, labels)
    timed = (
        measure(
            *sessions,
            list(islice(data.batches(batch_size), LATENCY_SAMPLES)),
            batch_size=batch_size,
            threads=threads,
        )
        if latency
        else None
    )
    return Comparison(
        reference,
        candidate,
        size,
        samples=samples,
        outputs=tuple(o for w in watched if (o := w.result()) is not None),
        labelled=labelled,
        scores=found,
        latency=timed,
        notes=tuple(note for w in watched for note in w.notes()) + unused,
    )


def check_signatures(reference: Signature, candidate: Signature) -> None:
    """Names, order, dtypes and ranks must be equal, and inputs take arrays of the same shape.

    Outputs that turn out to have other shapes count as infinitely wrong.

    Raises:
        ModelError: which input or output differs.
    """
    for kind, left, right in (
        ("input", reference.inputs, candidate.inputs),
        ("output", reference.outputs, candidate.outputs),
    ):
        ours, theirs = [s.name for s in left], [s.name for s in right]
        if ours != theirs:
            raise ModelError(
                f"the models have different {kind}s",
                f"reference: {', '.join(ours)}\ncandidate: {', '.join(theirs)}",
            )
        for one, other in zip(left, right, strict=True):
            same_rank = len({len(s.shape) for s in (one, other) if s.shape}) < 2
            meet = same_rank and (kind == "output" or _shapes_meet(one, other))
            if one.dtype != other.dtype or not meet:
                raise ModelError(
                    f"the models differ in {kind} {one.name!r}",
                    f"reference: {one}\ncandidate: {other}",
                )


def _shapes_meet(one: TensorSpec, other: TensorSpec) -> bool:
    """Whether some array has both shapes of one rank; unknown ranks and dynamic axes take any."""
    if not one.shape or not other.shape:
        return True
    pairs = zip(one.shape, other.shape, strict=True)
    return all(a == b or not (isinstance(a, int) and isinstance(b, int)) for a, b in pairs)


def _watched(signature: Signature, output: str | None) -> list[Watch]:
    names = [spec.name for spec in signature.outputs]
    if output is None:
        return [Watch(name) for name in names]
    if output not in names:
        hint = did_you_mean(output, names) or f"the outputs are {', '.join(names)}"
        raise UsageError(f"no output {output!r}", fix=hint)
    return [Watch(output)]
