"""`qtool quantize` with a budget: the search, what it found, and what other samples say of it."""

from __future__ import annotations

from collections.abc import Iterator
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
    from qtool.search.within import Found, Within
    from qtool.target import Target
    from qtool.verify import Feeds


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
        err.print(f"{cells}{value}  {'inside' if trial.inside else 'over'}", markup=False)


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
    samples = parts(data, asked, model, recipe, on_bad_file)
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
    from qtool.compare.truth.custom import load_scorers
    from qtool.files import atomic_write, check_output
    from qtool.search.budget import loss_of
    from qtool.search.journal import Journal
    from qtool.search.within import Within

    bounds = asked.bounds()
    inputs = [maker.path]
    beside = save_recipe or output.with_suffix(".toml")
    check_output(beside, force=force, inputs=inputs)
    journal = Journal(
        output.with_suffix(".search.json"),
        _identity(maker, asked, recipe, samples),
        force=force,
    )
    if journal.went_on:
        err.print(f"going on: {journal.went_on} choices were tried before an interruption")
    scorers = load_scorers(asked.scorers)
    with doing() as say:
        search = Within(
            maker, recipe, bounds, journal, samples.selection,
            scorers=scorers, say=say, told=Lines(),
        )  # fmt: skip
        show.headline(search.job, measured=True)
        feeds = _first(maker, search)
        found = search.run()
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
        journal.write(done=True, report=_report(loss, found.budget, met))
    else:
        journal.write(done=True)
    _sizes(found, asked, written.after)
    show.written(output, written, out)
    err.print(f"the recipe is in {beside}, all that was tried in {journal.path}", markup=False)
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


def _told(found: Found, loss: Loss, doubt: float, count: int) -> bool:
    """Say what the report's samples show; whether they speak for the budget."""
    from qtool.cli.console import err

    budget = found.budget
    assert budget is not None
    met = loss.value <= budget.limit
    ends = f"95 % interval {interval(loss, budget)}"
    line = f"{budget.metric} lost {budget.shown(loss.value)} ({ends}) on {count} samples that"
    err.print(f"{line} nothing was chosen on: {'inside' if met else 'over'} the budget of "
              f"{budget.shown(budget.limit)}", markup=False)  # fmt: skip
    if not found.inside:
        err.print("error: no choice was inside the budget where it was chosen; this is the closest")
    elif not met:
        err.print("error: the budget was kept where it was chosen, and not here")
    elif loss.high > budget.limit and doubt > 0:
        err.print(
            f"note: {count} samples cannot tell less than {budget.shown(doubt)}: even of equal "
            "models; more samples make it sure",
            markup=False,
        )
    return met


def _sizes(found: Found, asked: Asked, size: int) -> None:
    from qtool.cli.console import err
    from qtool.report.table import size as shown

    if found.fits:
        return
    wanted = [asked.max_size] if asked.max_size else []
    wanted += [f"{asked.target_bits:g} bits"] if asked.target_bits else []
    err.print(
        f"error: {' and '.join(wanted)} cannot be had: with 2 bits wherever there are weights it "
        f"has {shown(size)}",
        markup=False,
    )


def _report(loss: Loss, budget: Budget, met: bool) -> dict[str, object]:
    return {"metric": budget.metric, "limit": budget.limit, "unit": budget.unit, "met": met,
            "value": loss.value, "low": loss.low, "high": loss.high}  # fmt: skip


def _identity(
    maker: Maker, asked: Asked, recipe: Recipe, samples: Parts
) -> dict[str, str | float | None]:
    """All that must be the same for what was tried to be worth something."""
    import qtool
    from qtool import model as models
    from qtool.runtime import VERSION

    used = {name: getattr(samples, name) for name in ("calibration", "selection", "report")}
    return {
        "qtool": qtool.__version__,
        "onnxruntime": VERSION,
        "model": models.digest(models.load(maker.path)),
        "recipe": recipe.toml(),
        "target": maker.target.name,
        "batch_size": maker.batch_size,
        "max_drop": asked.max_drop,
        "metric": asked.metric,
        "max_size": asked.max_size,
        "target_bits": asked.target_bits,
        **{name: None if data is None else data.fingerprint for name, data in used.items()},
    }
