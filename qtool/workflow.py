"""The story of a quantization, step by step; commands and the Python API call these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from qtool import model as models
from qtool.algorithms import listed, of_stage
from qtool.apart import open_file, open_model
from qtool.calibrate.file import Calibration
from qtool.calibrate.fitting import require_fit
from qtool.calibrate.resume import Checkpoint
from qtool.calibrate.run import Step, run_of
from qtool.calibrate.run import measure as measure_span
from qtool.calibrate.settled import settled
from qtool.calibrate.spans import WHOLE, Shard
from qtool.calibrate.spread import Workers, measure_spread
from qtool.data.dataset import Dataset
from qtool.errors import ModelError, QtoolError
from qtool.external import mark, marks, require_unchanged
from qtool.files import atomic_path, check_output
from qtool.job import Job as Job
from qtool.job import Quantized as Quantized
from qtool.job import Written as Written
from qtool.numeric.histogram import Histogram
from qtool.numeric.scheme import parse_scheme
from qtool.passes import prepare, rewritten, transform
from qtool.passes.dequantize import dequantize
from qtool.passes.insert_qdq import least_opset_of
from qtool.plan.decide import decide
from qtool.plan.effects import idle, require_matches
from qtool.plan.float_types import tolerance
from qtool.plan.names import Names
from qtool.plan.notes import kernel_notes, reading_notes
from qtool.plan.plan import Plan
from qtool.plan.sites import Sites, find_sites, fitting, require_work
from qtool.quantized import kind_of
from qtool.recipe import Recipe
from qtool.refine import SMOOTHERS, refine
from qtool.refine.samples import Samples
from qtool.refine.state import MEMORY, State
from qtool.runtime import probe
from qtool.target import Target
from qtool.verify import check_written, rounded, same_function


def open_job(
    path: Path, recipe: Recipe, target: Target, *, threads: int = 0, requantize: bool = False
) -> Job:
    """Load, prepare and transform a model, and find its sites.

    With `requantize` a model that is quantized already becomes float first.

    Raises:
        ModelError: it cannot be read, is quantized already, or does not survive preparation.
        UsageError: a pattern of the recipe matches nothing.
    """
    recipe.checked()
    before = mark(path)
    loaded = models.load(path)
    files = {**marks(loaded), path.resolve(): before}
    original = open_file(path, threads=threads)
    original.close()  # it loads: that is known now, and its weights are not needed yet
    names = Names(loaded)
    opset = max((least_opset_of(parse_scheme(s)) for s in recipe.schemes()), default=0)
    kind = kind_of(loaded) if requantize else None
    real = None if kind is None else dequantize(loaded)
    kept = frozenset(name for name, node in names.nodes.items() if recipe.keeps(node))
    asked = {"dequantized": real is not None, "standard": not target.classical}
    model = transform(prepare(real or loaded, opset, kept=kept, **asked), recipe.algorithms)
    models.stamp(model)
    names.give(model)
    require_matches(recipe, names, model)
    sites = find_sites(model, recipe, target)
    notes = (
        *reading_notes(loaded, kind, real, kept),
        *idle(model, recipe, target, names, sites),
        *kernel_notes(model, sites, target),
    )
    return Job(path, recipe, target, original, model, sites, notes, threads, real, files)


def check_preparation(job: Job, feeds: Mapping[str, NDArray[Any]] | None) -> tuple[str, ...]:
    """Compare the transformed model with the original on `feeds`, or on a probe if that runs.

    A quantized original is compared with the float model that it became, which differs by
    rounding: the notes returned say how far. That model is compared with the transformed one.
    """
    asked = probe(job.signature) if feeds is None else feeds
    try:
        before = job.original.run(asked)
    except QtoolError:
        if feeds is None:
            return ()
        raise
    job.original.close()  # one of the two at a time: each holds all weights
    notes = list[str]()
    if job.dequantized is not None:
        real = open_model(job.dequantized, threads=job.threads).run(asked)
        notes = rounded(before, real, certain=feeds is not None)
        before = real
    found = open_model(job.model, threads=job.threads, lean=True).run(asked)
    require_unchanged(job.files)
    same_function(before, found, "preparing the model", tolerance(job.model))
    return tuple(notes)


def measure(
    job: Job,
    data: Dataset,
    *,
    batch_size: int = 1,
    shard: Shard = WHOLE,
    step: Step = lambda done, total: None,
    kept: Checkpoint | None = None,
    advise: Callable[[str], None] = lambda advice: None,
    workers: Workers | None = None,
) -> Calibration:
    """Run the data, or one shard of it, through once, here or on workers.

    Args:
        kept: where an interrupted run left what it had done, and this one leaves it.
        advise: is told, in a sentence, whether more samples would move the ranges.

    Raises:
        DataError: a sample cannot be read or fed, or makes NaN or Inf.
        UsageError: batches that the model cannot take, more shards than batches.
        MachineError: there are no workers.
    """
    job.signature.without(data.states).check_batches(batch_size, len(data))
    run = run_of(job.model, data, batch_size)
    half: dict[str, Histogram] = {}
    here = job.model, job.sites.sources, data, run
    if workers is None:
        measuring = partial(measure_span, *here, threads=job.threads)
    else:
        task = workers.task(*here, job.signature, job.recipe)
        measuring = partial(measure_spread, workers, task, data)
    span = shard.span(run.blocks)
    found = measuring(span, step=step, checkpoint=kept, halfway=half.update)
    if half and shard == WHOLE and (advice := settled(half, found.histograms)):
        advise(advice)
    return found


_ONE = 1  # thread: kernels that nothing was fused into give other last bits with other numbers


def smoothed(job: Job, samples: Samples) -> Job:
    """The job with the transforms applied that need samples; calibration comes after them.

    Raises:
        ModelError: the model does not run on the samples.
    """
    model = job.model
    for entry in of_stage(job.recipe.algorithms, "transform"):
        if (name := listed(entry).name) in SMOOTHERS:
            model = SMOOTHERS[name](model, samples, job.recipe, job.target, _ONE)
    if model is job.model:
        return job
    return replace(job, model=model, sites=find_sites(model, job.recipe, job.target))


def build(
    job: Job,
    calibration: Calibration | None,
    samples: Samples | None = None,
    step: Callable[[str], None] = lambda algorithm: None,
    memory: int = MEMORY,
) -> Quantized:
    """Decide, refine on samples where there are some, and carry out; without a calibration only
    for sites that need none. `step` is told which algorithm has its turn, and `memory` is what
    those that choose codes may take, in bytes.

    Raises:
        DataError: the calibration was made for another model or recipe, or is a part of one.
    """
    if samples is None:
        plan = decided(job, calibration)
        return Quantized(models.serialize(rewritten(job.model, plan)), plan)
    begun = start(job, calibration, samples, memory)
    state, done = refine(begun, job.recipe.algorithms, step)
    return Quantized(models.serialize(state.quantized()), state.plan, done)


def start(
    job: Job, calibration: Calibration | None, samples: Samples, memory: int = MEMORY
) -> State:
    """The decision, before it is refined on the samples.

    Raises:
        DataError: as `build`.
    """
    deciding, plan = _decided(job, _histograms(job, calibration))
    return State(job.model, plan, samples, _ONE, deciding, memory=memory)


def decided(job: Job, calibration: Calibration | None) -> Plan:
    """The decision alone, before anything is refined.

    Raises:
        DataError: as `build`.
    """
    return _decided(job, _histograms(job, calibration))[1]


def _histograms(job: Job, calibration: Calibration | None) -> Mapping[str, Histogram]:
    if calibration is None:
        return {}
    again = f"qtool calibrate {job.path} --data DIR -o FILE"
    require_fit(calibration, job.model, job.sites.sources, again)
    return calibration.histograms


def dry_run(job: Job) -> Quantized:
    """The plan and the size without measuring: the size does not depend on the ranges."""
    _, plan = _decided(job, dict.fromkeys(job.sites.sources, Histogram.unit()))
    return Quantized(models.serialize(rewritten(job.model, plan)), plan)


def _decided(job: Job, ranges: Mapping[str, Histogram]) -> tuple[Callable[..., Plan], Plan]:
    """How to decide for these ranges, and the first decision."""
    sites = fitting(job.sites, ranges, job.model, job.recipe, job.target)
    kept, contrib = job.recipe.keep_io_types, job.recipe.contrib
    again = partial(
        decide, sites=sites, ranges=ranges, target=job.target, keep_io_types=kept, contrib=contrib
    )
    return again, again(job.model)


def write(
    job: Job,
    quantized: Quantized,
    output: Path,
    feeds: Mapping[str, NDArray[Any]] | None,
    *,
    force: bool = False,
    allow_empty: bool = False,
    allow_larger: bool = False,
) -> Written:
    """Write the model once it has been opened again, checked and run; or leave all as it was.

    Raises:
        UsageError: the output exists, or is the input.
        ModelError: there is nothing to quantize, the model changed meanwhile, or the result is
            larger or broken.
    """
    check_output(output, force=force, inputs=[job.path, *job.files])
    require_unchanged(job.files)
    if not (quantized.plan.schemes or quantized.plan.activations):
        require_work(Sites(skipped=job.sites.skipped), allow_empty=allow_empty)
    before, after = models.file_size(job.path), len(quantized.data)
    if after - before >= _GROWN and not allow_larger:
        raise ModelError(
            "the result would be larger than the model",
            f"{after} bytes against {before}",
            "--allow-larger writes it all the same",
        )
    with atomic_path(output, force=force) as temporary:
        temporary.write_bytes(quantized.data)
        keep = quantized.plan.keep_io_types
        ran = check_written(temporary, job.original, feeds, keep_io_types=keep)
        require_unchanged(job.files)
    return Written(before, after, ran)


_GROWN = 100_000  # bytes by which a small model may grow and still be written, with a warning
