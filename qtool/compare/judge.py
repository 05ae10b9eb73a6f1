"""Two models over the same samples in the same order: how far apart, and which is better.

Nothing keeps the outputs: sums stream, and per sample only a few small numbers stay (the best
class, hits, KL), which the labels and the bootstrap need.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from pathlib import Path

from qtool import model
from qtool.compare.block import Block, Part
from qtool.compare.footprint import measure_footprint
from qtool.compare.interface import Casts, check_readable, check_signatures
from qtool.compare.latency import measure
from qtool.compare.layers import compare_layers
from qtool.compare.result import Comparison, LayerError, Score, Size, Used
from qtool.compare.truth import truths
from qtool.compare.truth.custom import Scorer
from qtool.compare.truth.held import Truth
from qtool.compare.turns import Turns
from qtool.compare.watch import Watch
from qtool.data import Dataset, carried
from qtool.data.ahead import ahead
from qtool.data.fed import fingerprint
from qtool.data.files import printable
from qtool.errors import DataError, UsageError, did_you_mean
from qtool.runtime import Session
from qtool.signature import Signature

LATENCY_SAMPLES = 16
Progress = Callable[[int, int], None]


def compare(
    reference: Path,
    candidate: Path,
    data: Dataset | None = None,
    *,
    batch_size: int = 1,
    output: str | None = None,
    scorers: Sequence[Scorer] = (),
    latency: bool = False,
    layers: bool = False,
    threads: int = 0,
    progress: Progress = lambda done, total: None,
) -> Comparison:
    """Measure a candidate against a reference; without data only sizes and signatures.

    Args:
        reference, candidate: ONNX files with the same inputs and outputs, which may be floats of
            different widths.
        data: samples, with labels or without.
        batch_size: samples in one run.
        output: compare this output alone, and hold the labels against it.
        scorers: scores of the user's own.
        latency: also time both, and measure what their sessions cost; needs data.
        layers: also look at each tensor that both compute; needs data.
        threads: threads inside an operator, the same for both; 0 for all cores.
        progress: called with (samples done, samples in all).

    Raises:
        ModelError: a model does not load, run or give what can be read, or the signatures differ.
        DataError: a sample or label does not fit.
        UsageError: no such output, or something asked for that needs data.
        MachineError: an extra is missing that the labels need.
    """
    # First, since it refuses what is not a model, or whose data lies elsewhere, before any loads.
    size = Size(model.file_size(reference), model.file_size(candidate))
    sessions = Session(reference, threads=threads), Session(candidate, threads=threads)
    signatures = sessions[0].signature, sessions[1].signature
    check_signatures(*signatures)
    if data is None:
        _watched(signatures[0], output)
        for asked, option in ((latency, "latency"), (layers, "layers"), (scorers, "scorer")):
            if asked:
                raise UsageError(f"--{option} needs samples to run on", fix="add  --data DIR")
        return Comparison(reference, candidate, size)
    for signature in signatures:
        check_readable(signature)
    carry = data.declaration.carry
    labels = data.labels
    vectors = data.pairs is not None if labels is None else labels.ndim > 1
    watched = _watched(signatures[0], output, carry, vectors=vectors)
    signatures[0].without(data.states).check_batches(batch_size, len(data))
    held = truths(data, watched, scorers)  # what is wrong with them is said before the models run
    casts = Casts(*signatures)
    turns = Turns(*sessions, casts, carry)
    digest = _run(turns, data, batch_size, watched, held, progress)
    judged = [truth.judge() for truth in held]
    scores: dict[str, Score] = {}
    for each in judged:
        scores |= each.scores
    unused = tuple(note for each in judged for note in each.notes)
    notes = casts.notes() + tuple(note for w in watched for note in w.notes()) + unused
    errors: tuple[LayerError, ...] = ()
    if layers:
        for session in sessions:
            session.close()
        sizes = {"batch_size": batch_size, "threads": threads}
        every = compare_layers(reference, candidate, data, **sizes, progress=progress)
        errors, notes = every.errors, notes + every.notes()
    timed, footprint = None, None
    if latency:
        first = islice(data.batches(batch_size), LATENCY_SAMPLES)
        few = list(carried(carry, first, sessions[0].run))
        others = list(map(casts, few))
        timed = measure(*sessions, few, others, batch_size=batch_size, threads=threads)
        footprint, unknown = measure_footprint(
            reference, candidate, few[0], others[0], threads=threads
        )
        notes += unknown
    return Comparison(
        reference,
        candidate,
        size,
        samples=len(data),
        outputs=tuple(o for w in watched if (o := w.result()) is not None),
        labelled=next((each.output for each in judged if each.output), None),
        scores=scores,
        latency=timed,
        footprint=footprint,
        layers=errors,
        data=Used(printable(data.path), len(data), data.total, data.seed, digest),
        notes=notes,
    )


def _run(
    turns: Turns,
    data: Dataset,
    batch_size: int,
    watched: Sequence[Watch],
    held: Sequence[Truth],
    progress: Progress,
) -> str:
    """Run both over all samples and let everybody see; the digest of what was fed.

    Raises:
        DataError: there are no samples.
    """
    block = Block(any(truth.inputs for truth in held), alone=any(truth.alone for truth in held))

    def show(full: Iterable[Part]) -> None:
        for part in full:
            for watch in watched:
                left, right = part.reference[watch.name], part.candidate[watch.name]
                watch.see(left, right, part.samples, part.runs)
            for truth in held:
                truth.see(part.feeds, part.reference, part.candidate, part.samples)

    done, last, digest, total = 0, 0, 0, len(data)
    for feeds, reference, candidate in turns.run(ahead(data.batches(batch_size))):
        hashes = data.hashes(feeds, 0 if data.states.keys() <= feeds.keys() else last)
        done, last, digest = done + len(hashes), hashes[-1], digest + sum(hashes)
        show(block.add(feeds, reference, candidate, len(hashes)))
        progress(done, total)
    if not done:
        raise DataError("no samples to compare on")
    show(block.rest())
    return fingerprint([digest])


def _watched(
    signature: Signature, output: str | None, carry: Collection[str] = (), *, vectors: bool = False
) -> list[Watch]:
    names = [spec.name for spec in signature.outputs]
    if output is None:
        # A state is no answer, unless it is the only one.
        states = carry if set(names) - set(carry) else ()
        return [
            Watch(spec.name, spec.dtype, state=spec.name in states, vector=vectors)
            for spec in signature.outputs
        ]
    if output not in names:
        hint = did_you_mean(output, names) or f"the outputs are {', '.join(names)}"
        raise UsageError(f"no output {output!r}", fix=hint)
    return [Watch(s.name, s.dtype, vector=vectors) for s in signature.outputs if s.name == output]
