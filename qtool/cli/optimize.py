"""`qtool quantize --optimize latency`: the search for what is fastest, and what it found."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from qtool.data import Dataset
    from qtool.search.latency import Outcome
    from qtool.workflow import Job


class Goal(StrEnum):
    """What to be best at."""

    LATENCY = "latency"


Optimize = Annotated[
    Goal | None,
    typer.Option(
        help="Keep segments in float where integers are slower here. Takes 10 to 30 s for small "
        "models; what is chosen may differ from run to run: --save-recipe keeps it."
    ),
]


def optimized(
    job: Job,
    data: Dataset | None,
    calibration: Path | None,
    batch_size: int,
    *,
    goal: Goal | None,
    dry_run: bool,
) -> Job:
    """The job with rules for what is faster in float, where a goal is given; says what was found.

    Raises:
        UsageError: there are no samples to time, or nothing is to be measured.
    """
    if goal is None:
        return job
    from qtool.algorithms import needing_samples, of_stage
    from qtool.calibrate.file import load
    from qtool.calibrate.fitting import require_same_data
    from qtool.cli.console import doing
    from qtool.cli.show import advice
    from qtool.errors import UsageError
    from qtool.search.fastest import fastest

    if dry_run:
        raise UsageError(
            "--optimize latency and --dry-run are both given",
            "the one measures, the other measures nothing",
            "leave out  --dry-run;  --save-recipe FILE  writes down what is found",
        )
    transforms = needing_samples(of_stage(job.recipe.algorithms, "transform"))
    if calibration is not None and transforms:
        raise UsageError(
            f"--optimize latency and --calibration do not go with {', '.join(transforms)}",
            "what that changes depends on what is found, and the file was measured after it",
            "leave out  --calibration:  ranges are measured on  --data  then",
        )
    made = load(calibration) if calibration is not None else None
    if made is not None and data is not None:
        require_same_data(made, data)
    with doing() as say:
        found, outcome, lacking = fastest(job, data, made, batch_size=batch_size, say=say)
    if lacking:
        why = "the calibration file has not all of their ranges"
        advice(f"{lacking} choices could not be tried: {why};  --data  in its place lets them")
    if outcome is None:
        advice("nothing would run in integers: there is nothing to choose by time")
    else:
        show(outcome)
    return found


def show(outcome: Outcome) -> None:
    """A line for each segment, and one for the whole."""
    from qtool.cli.boundary import printable
    from qtool.cli.console import err

    time = outcome.latency
    if outcome.stored:
        err.print("no choice with integers is faster than float here: only weights are stored so")
    for each in outcome.segments:
        kind = "integers" if each.integer else "float"
        ends = each.first if each.layers == 1 else f"{each.first} … {each.last}"
        took = each.share * time.candidate_median_ms
        layers = f"{each.layers} layer{'' if each.layers == 1 else 's'}"
        line = f"  {kind:9}{layers:>11}{took:9.3f} ms  {ends}"
        err.print(printable(line, lines=False), markup=False)
    low, high = time.interval.low, time.interval.high
    threads = f"{time.threads or 'all'} thread{'' if time.threads == 1 else 's'}"
    err.print(
        f"time {time.ratio:.3f} of the model's (95 % interval {low:.3f} to {high:.3f}), "
        f"{time.candidate_median_ms:.3f} ms: {time.verdict} (batch {time.batch_size}, {threads}; "
        f"{outcome.tried} choices timed)",
        markup=False,
    )
