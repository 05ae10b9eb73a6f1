"""Two models over the same samples in the same order: how far apart, and which is better.

Nothing keeps the outputs: sums stream, and per sample only a few small numbers stay (the best
class, hits, KL), which the labels and the bootstrap need.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import islice
from pathlib import Path

from qtool import model
from qtool.compare import scores
from qtool.compare.interface import Casts, check_readable, check_signatures
from qtool.compare.latency import measure
from qtool.compare.result import Comparison, Size
from qtool.compare.targets import TargetErrors
from qtool.compare.watch import Watch
from qtool.data import Carry, Dataset, carried
from qtool.errors import DataError, UsageError, did_you_mean
from qtool.runtime import Session
from qtool.signature import Signature

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
        reference, candidate: ONNX files with the same inputs and outputs, which may be floats of
            different widths.
        data: samples, with labels or without.
        batch_size: samples in one run.
        output: compare this output alone, and hold the labels against it.
        latency: also time both; needs data.
        threads: threads inside an operator, the same for both; 0 for all cores.
        progress: called with (samples done, samples in all).

    Raises:
        ModelError: a model does not load, run or give what can be read, or the signatures differ.
        DataError: a sample or label does not fit.
        UsageError: no such output, or latency without data.
    """
    # First, since it refuses what is not a model, or whose data lies elsewhere, before any loads.
    size = Size(model.file_size(reference), model.file_size(candidate))
    sessions = Session(reference, threads=threads), Session(candidate, threads=threads)
    signatures = sessions[0].signature, sessions[1].signature
    check_signatures(*signatures)
    carry = {} if data is None else data.declaration.carry
    watched = _watched(signatures[0], output, carry)
    if data is None:
        if latency:
            raise UsageError("--latency needs samples to run on", fix="add  --data DIR")
        return Comparison(reference, candidate, size)
    for signature in signatures:
        check_readable(signature)
    batches = data.batches(batch_size)
    signatures[0].without(data.states).check_batches(batch_size, len(data))
    labels = data.labels  # a bad label is said before the models run
    targets = labels if labels is not None and labels.ndim > 1 else None
    errors = (
        [] if targets is None else [TargetErrors(w.name, targets) for w in watched if not w.state]
    )
    observers: list[Watch | TargetErrors] = [*watched, *errors]
    casts, samples = Casts(*signatures), 0
    states = Carry(carry), Carry(carry)
    for feeds in batches:
        count = len(next(iter(feeds.values())))
        left = sessions[0].run(states[0].fill(feeds))
        right = sessions[1].run(casts(states[1].fill(feeds)))
        states[0].keep(left)
        states[1].keep(right)
        for each in observers:
            each.see(left[each.name], right[each.name], count)
        samples += count
        if progress is not None:
            progress(samples, len(data))
    if samples == 0:
        raise DataError("no samples to compare on")
    judged: scores.Judged = (None, {}, ())
    if targets is not None:
        judged = scores.judge_targets(errors, targets)
    elif labels is not None:
        judged = scores.judge(watched, labels, data.classes)
    labelled, found, unused = judged
    notes = casts.notes() + tuple(note for w in watched for note in w.notes()) + unused
    timed = None
    if latency:
        first = islice(data.batches(batch_size), LATENCY_SAMPLES)
        few = list(carried(carry, first, sessions[0].run))
        timed = measure(
            *sessions, few, list(map(casts, few)), batch_size=batch_size, threads=threads
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
        notes=notes,
    )


def _watched(signature: Signature, output: str | None, carry: Collection[str]) -> list[Watch]:
    names = [spec.name for spec in signature.outputs]
    if output is None:
        # A state is no answer, unless it is the only one.
        states = carry if set(names) - set(carry) else ()
        return [Watch(spec.name, spec.dtype, spec.name in states) for spec in signature.outputs]
    if output not in names:
        hint = did_you_mean(output, names) or f"the outputs are {', '.join(names)}"
        raise UsageError(f"no output {output!r}", fix=hint)
    return [Watch(s.name, s.dtype) for s in signature.outputs if s.name == output]
