"""`qtool quantize` with a budget: the search, what it found, and what other samples say of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from qtool.cli import options as o
from qtool.cli.budget import Asked, Parts, parts

if TYPE_CHECKING:
    from qtool.recipe import Recipe
    from qtool.search.bounded import Trial
    from qtool.search.budget import Budget, Loss
    from qtool.search.making import Maker
    from qtool.search.within import Bounds, Found, Within
    from qtool.target import Target
    from qtool.verify import Feeds
    from qtool.workflow import Job


class Lines:
    """A line for each choice, as it comes."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, trial: Trial, budget: Budget) -> None:
        from qtool.cli.console import err
        from qtool.report.table import size

        if not self._count:
            lost = f"{budget.metric} lost"
            err.print(f"  tried      size  integer  bits  {lost:>14}  95 % interval", markup=False)
        self._count += 1
        bits = f"{trial.bits:.3g}"
        cells = f"{self._count:7}{size(trial.size):>10}{trial.share:9.0%}{bits:>6}"
        value = f"{budget.shown(trial.loss.value):>16}  {interval(trial.loss, budget):22}"
        unsure = "over" if trial.loss.value > budget.limit else "unsure"
        err.print(f"{cells}{value}  {'inside' if trial.inside else unsure}", markup=False)


def interval(loss: Loss, budget: Budget) -> str:
    low = budget.shown(loss.low).removesuffix(budget.unit).strip()
    return f"{low} to {budget.shown(loss.high)}"


@contextmanager
def making(
    model: Path,
    asked: Asked,
    recipe: Recipe,
    data: str | None,
    on_bad_file: o.BadFile,
    target: Target,
    **how: int,
) -> Iterator[tuple[Maker, Parts]]:
    """A maker of candidates, which lie in a folder that is gone in the end, and its samples."""
    from qtool.files import discard_folder, temporary_folder
    from qtool.search.making import Maker

    asked.bounds()
    samples = parts(data, asked, model, recipe, on_bad_file, how["batch_size"])
    folder = temporary_folder()
    try:
        yield Maker(model, target, samples.calibration, folder, **how), samples  # type: ignore[arg-type]
    finally:
        discard_folder(folder)


def quantize_within(
    maker: Maker,
    asked: Asked,
    recipe: Recipe,
    samples: Parts,
    output: Path,
    *,
    save_recipe: Path | None = None,
    inputs: Sequence[Path] = (),
    verbose: bool = False,
    force: bool = False,
    exit_zero: bool = False,
    **allowed: bool,
) -> None:
    """Search, write the best, report on samples that nothing was chosen on; exits with 1 if it is
    not inside the bounds."""
    from qtool import workflow
    from qtool.cli import show
    from qtool.cli.console import doing, err, out
    from qtool.cli.searching import check_places, check_recipe, identity
    from qtool.compare.truth.custom import load_scorers
    from qtool.files import atomic_write
    from qtool.plan.sites import require_work
    from qtool.search.budget import loss_of
    from qtool.search.journal import Journal
    from qtool.search.within import Within

    bounds = asked.bounds()
    scorers = load_scorers(asked.scorers)
    beside = save_recipe or output.with_suffix(".toml")
    kept = output.with_suffix(".search.json")
    check_places(maker.path, asked, samples, (output, beside, kept), inputs)
    check_recipe(beside, force=force)
    journal = None
    if bounds.max_drop is not None:
        journal = Journal(kept, identity(maker, asked, recipe, samples), force=force)
        if journal.went_on:
            err.print(f"{journal.went_on} choices are known from {kept}", markup=False)
        if journal.replaced:
            err.print(f"note: {kept} was of another search, not ended", markup=False)
    try:
        with doing() as say:
            search = Within(
                maker, recipe, bounds, journal, samples.selection,
                scorers=scorers, say=say, told=Lines(),
            )  # fmt: skip
            show.headline(search.job, measured=True)
            require_work(search.job.sites, allow_empty=allowed.get("allow_empty", False))
            feeds = _first(maker, search)
            found = search.run()
    except KeyboardInterrupt:
        if journal is not None and journal.trials:
            show.advice("the same command goes on where this one was")
        raise
    for note in _starts(found, bounds, search.job):
        show.advice(note)
    made = found.candidate
    show.summary(made.plan, made.job, verbose=verbose)
    show.refined(made.quantized.refined)
    written = workflow.write(made.job, made.quantized, output, feeds, force=force, **allowed)
    atomic_write(beside, made.job.recipe.toml().encode(), force=force)
    met = found.inside
    if found.budget is not None and samples.report is not None:
        with doing() as say:
            say("judging it on the samples of the report")
            same = loss_of(search.judge(maker.path, samples.report), found.budget.metric)
            loss = loss_of(search.judge(output, samples.report), found.budget.metric)
        met = _told(found, loss, same.high, len(samples.report)) and met
        if journal is not None:
            journal.write(done=True, report=_report(loss, found.budget, met))
    _sizes(found, asked, written.after)
    show.written(output, written, out)
    tried = "" if journal is None else f", all that was tried in {kept}"
    err.print(f"the recipe is in {beside}{tried}", markup=False)
    if not met and not exit_zero:
        raise typer.Exit(1)


def _first(maker: Maker, search: Within) -> Feeds | None:
    """The first sample, once the transformed model has been checked on it."""
    from qtool import workflow
    from qtool.cli import show

    samples = maker.data or search.selection
    feeds = None if samples is None else next(samples.batches(maker.batch_size))
    for note in workflow.check_preparation(search.job, feeds):
        show.advice(note)
    return feeds


def _starts(found: Found, bounds: Bounds, job: Job) -> Iterator[str]:
    """What to say of where the search began, and so could not go."""
    asked = max((site.scheme.weight.type.bits for site in job.sites.weights), default=0)
    if found.trial is not None and len(found.trials) == 1 and found.inside and asked > 2:
        less = 2 if asked <= 4 else 4
        yield f"what was asked for is inside at once;  --bits {less}  looks for a smaller file"
    if bounds.target_bits is not None and bounds.target_bits > asked:
        wished = f"{bounds.target_bits:g} on average"
        yield f"the recipe asks for {asked} bits, and no more are given: {wished} change nothing"


def _told(found: Found, loss: Loss, doubt: float, count: int) -> bool:
    """Say what the report's samples show; whether they speak for the budget."""
    from qtool.cli.console import complain, err, out

    budget = found.budget
    assert budget is not None
    met = loss.value <= budget.limit
    ends = f"95 % interval {interval(loss, budget)}"
    line = f"{budget.metric} lost {budget.shown(loss.value)} ({ends}) on {count} samples that"
    out.print(f"{line} nothing was chosen on: {'inside' if met else 'over'} the budget of "
              f"{budget.shown(budget.limit)}", markup=False)  # fmt: skip
    more = "give more samples in  --eval,  a higher  --max-drop,  or more  --bits"
    if not found.inside:
        complain(
            "no choice was surely inside the budget on the samples to choose by",
            "this one loses least there",
            f"fix: {more}",
        )
    elif not met:
        complain(
            "the budget is kept on the samples to choose by, and not on the others",
            "it was chosen for what it is on the first, and may owe that to chance",
            f"fix: {more}",
        )
    elif loss.high > budget.limit and doubt > 0:
        err.print(
            f"note: with {count} samples even equal models may differ by {budget.shown(doubt)}: "
            "give more to be sure",
            markup=False,
        )
    return met


def _sizes(found: Found, asked: Asked, size: int) -> None:
    from qtool.cli.console import complain
    from qtool.report.table import size as shown

    if found.fits:
        return
    wanted = [asked.max_size] if asked.max_size else []
    wanted += [f"{asked.target_bits:g} bits"] if asked.target_bits else []
    complain(
        f"{' and '.join(wanted)} cannot be had",
        f"the smallest that was found has {shown(size)}, and that is what was written",
    )


def _report(loss: Loss, budget: Budget, met: bool) -> dict[str, object]:
    return {"metric": budget.metric, "limit": budget.limit, "unit": budget.unit, "met": met,
            "value": loss.value, "low": loss.low, "high": loss.high}  # fmt: skip
