"""What `qtool sweep` is given, where its results go, and what it says meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qtool.cli import options as o

if TYPE_CHECKING:
    from qtool.recipe import Recipe, Rule
    from qtool.sweep.cells import Cell
    from qtool.sweep.kept import Kept
    from qtool.sweep.result import Sweep
    from qtool.sweep.run import Sweeping, Workers


@dataclass(frozen=True)
class Places:
    """The files that a sweep writes; `keep` is a folder."""

    output: Path
    plots: tuple[Path, ...]
    markdown: Path | None
    keep: Path | None
    force: bool

    @property
    def files(self) -> list[Path]:
        """All but those that are kept."""
        return [self.output, *self.plots, *([self.markdown] if self.markdown else [])]

    def check(self, job: Sweeping) -> None:
        """Refuse before anything is measured what cannot be written.

        Raises:
            UsageError: a file is there, two are one, or one is an input.
            MachineError: no such folder, or no permission to write there.
        """
        from qtool.errors import UsageError
        from qtool.files import check_output

        whole = [path.absolute() for path in self.files]
        for path, each in zip(self.files, whole, strict=True):
            if whole.count(each) > 1:
                raise UsageError(f"two results go to {path}", fix="give one another name")
            check_output(path, force=self.force, inputs=[job.model])
        if self.keep is not None:
            if self.keep.exists() and not self.keep.is_dir():
                raise UsageError(f"--keep {self.keep} is not a folder")
            if not self.keep.exists():
                check_output(self.keep, force=True)
                self.keep.mkdir(exist_ok=True)
            going_on = job.kept.has_models_in(self.keep)
            for cell in job.cells:
                file = job.file_of(cell)
                if file is not None and cell.recipe is not None:
                    check_output(file, force=self.force or going_on, inputs=[job.model])

    def give(self, found: Sweep, kept: Kept) -> None:
        """Write and print all of it.

        Raises:
            QtoolError: nothing came of any cell; what is known of them is written all the same.
        """
        from qtool.cli.console import out
        from qtool.cli.outputs import show_tables
        from qtool.errors import ModelError
        from qtool.files import atomic_write
        from qtool.sweep.plot import draw
        from qtool.sweep.table import markdown, tables

        for path in self.plots:
            form = path.suffix.lower().removeprefix(".")
            atomic_write(path, draw(found, form), force=self.force)
        if self.markdown is not None:
            atomic_write(self.markdown, markdown(found).encode(), force=self.force)
        atomic_write(self.output, found.json().encode(), force=self.force)
        kept.remove()
        show_tables(tables(found))
        out.print(f"Wrote {', '.join(map(str, self.files))}", markup=False)
        if not found.worked:
            reasons = {outcome.error for _, outcome in found.cells if outcome.error}
            first = next(outcome.error for _, outcome in found.cells if outcome.error)
            why = first.what if len(reasons) == 1 else f"for {len(reasons)} reasons: see above"
            raise ModelError("nothing came of any cell", why, first.fix)


def choices(
    recipe: Path | None,
    *,
    samples: int | None,
    seed: int | None,
    placement: o.Placement | None,
    include: list[str] | None,
    exclude: list[str] | None,
    tensor: list[str] | None,
) -> tuple[Recipe, Sequence[Rule], Sequence[int]]:
    """The recipe that cells start from; the rules that come last; which have the cell's scheme."""
    given = {"samples": samples, "seed": seed, "placement": placement}
    base = o.recipe_from(recipe, **given)  # type: ignore[arg-type]
    ruled = o.recipe_from(
        recipe, include=include, exclude=exclude, tensor=tensor, **given,  # type: ignore[arg-type]
    )  # fmt: skip
    # `* float` comes first, then what is included.
    following = range(1, 1 + len(include)) if include else ()
    return base, ruled.rules[len(base.rules) :], tuple(following)


def crowd(workers: int | None, cluster: str | None) -> Workers | None:
    """Who judges, where it is not this process.

    Raises:
        UsageError: both are given.
    """
    from qtool.sweep.run import Workers

    o.check_workers(workers, cluster)
    return Workers(workers or 0, cluster) if workers or cluster else None


def listed(cells: Sequence[Cell]) -> None:
    """The cells, before anything is measured."""
    from qtool.cli.console import err
    from qtool.cli.outputs import show_tables
    from qtool.sweep.table import listing

    show_tables(listing(cells))
    there = sum(cell.recipe is not None for cell in cells)
    of = "" if there == len(cells) else f" of {len(cells)}"
    err.print(f"{there}{of} cell{'' if (of or there) == 1 else 's'}")


def run(job: Sweeping, places: Places) -> Sweep:
    """The sweep, with what there is to say of it."""
    from qtool.cli.boundary import printable
    from qtool.cli.console import err
    from qtool.cli.show import advice
    from qtool.files import check_output

    calibration, judged = job.parts
    inputs = [job.model, *calibration.paths(), *judged.paths()]
    for path in places.files:
        check_output(path, force=places.force, inputs=inputs)
    job.kept.check(inputs)
    apart = "" if job.setup.evaluation else "; no sample is in both"
    seed = job.setup.recipe.seed
    err.print(
        f"{len(job.cells)} cells: {len(calibration)} samples to calibrate on, {len(judged)} to "
        f"judge on (seed {seed}){apart}"
    )
    for data in (calibration, judged):
        for name in data.skipped if data is calibration or job.setup.evaluation else ():
            err.print(printable(f"note: left out {name}, which is bad"), markup=False)
    o.note_few(calibration)
    try:
        with telling() as tell:
            found = replace(job, tell=tell).run()
    except KeyboardInterrupt:
        if job.kept.path.exists():
            advice("the same command goes on where this one was")
        raise
    if count := job.kept.went_on:
        advice(f"{count} cell{'' if count == 1 else 's'} had been judged before an interruption")
    return found


@contextmanager
def telling() -> Iterator[Callable[[int, int, str], None]]:
    """Yield `tell(done, total, name)`: a bar with the name of what is tried, or lines of both."""
    from qtool.cli.boundary import printable
    from qtool.cli.console import err, progress

    if err.quiet:
        yield lambda done, total, name: None
        return
    if not sys.stderr.isatty():
        with progress("sweeping", unit="cells") as step:
            yield lambda done, total, name: step(done, total)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("sweeping"), BarColumn(), MofNCompleteColumn(), TextColumn("cells"),
        TimeRemainingColumn(), TextColumn("{task.description}", markup=False),
    )  # fmt: skip
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, name: bar.update(
            task, completed=done, total=total, description=printable(name, lines=False)
        )
