"""`--optimize latency`: the job with the rules that make it fastest here."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from qtool.calibrate.file import Calibration
from qtool.calibrate.fitting import require_fit
from qtool.compare.judge import LATENCY_SAMPLES
from qtool.data import Dataset, carried
from qtool.errors import UsageError
from qtool.files import discard_folder, temporary_folder
from qtool.search.costs import Costs
from qtool.search.latency import Outcome, search
from qtool.search.rules import integers
from qtool.search.workbench import FEW, Workbench, feeds_like
from qtool.workflow import Job, open_job


def fastest(
    job: Job,
    data: Dataset | None,
    calibration: Calibration | None,
    *,
    batch_size: int = 1,
    say: Callable[[str], None] = lambda what: None,
) -> tuple[Job, Outcome | None, int]:
    """The job with rules for what is faster in float, how that was found, and how many choices the
    calibration does not cover; no outcome where nothing runs in integers.

    Timed are up to 16 batches of the data; without it, values of the sizes and ranges that the
    calibration tells.

    Raises:
        UsageError: there is nothing to time, or activations are not measured beforehand.
        DataError: a sample cannot be read, or the calibration is of another model or recipe.
        MachineError: there is no room for the models that are timed.
    """
    if data is None and calibration is None:
        raise UsageError(
            "--optimize latency needs samples to time the model on",
            "integers are faster or slower by the sizes of what flows through",
            "add  --data DIR",
        )
    if job.recipe.mode != "static":
        raise UsageError(
            "--optimize latency goes with activations that are measured beforehand",
            f"the mode is {job.recipe.mode}",
            "leave out  --mode",
        )
    if not integers(job):
        return job, None, 0
    if calibration is not None:
        again = f"qtool calibrate {job.path} --data DIR -o FILE"
        require_fit(calibration, job.model, job.sites.sources, again)
        batch_size = batch_size if data is not None else calibration.run.batch_size
    if data is not None:
        batches = islice(data.batches(batch_size), LATENCY_SAMPLES)
        feeds = list(carried(data.declaration.carry, batches, job.original.run))
        job.original.close()
    else:
        assert calibration is not None
        feeds = [feeds_like(calibration, job.signature, batch_size)]
    known = dict(calibration.histograms) if calibration is not None else {}
    few = data.choose(FEW, job.recipe.seed) if data is not None and calibration is None else None
    folder = temporary_folder()
    try:
        bench = Workbench(job, feeds, folder, known, few, batch_size)
        outcome = search(Costs(job.model.graph, bench.units), bench, say=say)
        made = bench.jobs[outcome.floats]
        if outcome.stored and calibration is None:
            # 16-bit activations want a higher opset than weights alone: as the saved recipe has it.
            real = job.dequantized is not None
            made = open_job(job.path, made.recipe, job.target, threads=job.threads, requantize=real)
        return made, outcome, bench.lacking
    finally:
        discard_folder(folder)
