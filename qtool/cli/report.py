"""`qtool report`: a saved run again, without running anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qtool.cli import gates as g
from qtool.cli import options as o
from qtool.cli import outputs as out

if TYPE_CHECKING:
    from qtool.compare.gates import GateResult
    from qtool.compare.result import Comparison
    from qtool.compare.run_file import Run


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN.json", help="From  qtool compare --json.")],
    gate: g.Gates = None,
    baseline: g.Baseline = None,
    json: out.Json = None,
    markdown: out.Markdown = None,
    junit: out.Junit = None,
    exit_zero: g.ExitZero = False,
    force: o.Force = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """qtool report run.json --gate "top1.drop <= 0.5pp"

    Show a saved run and judge it again, by its own gates and baseline unless others are given.
    Exits with 1 when a gate failed.
    """
    from qtool.cli.console import configure
    from qtool.compare import run_file

    configure(quiet=quiet, more=verbose)
    saved = run_file.read_run(run)
    before = saved.baseline if baseline is None else run_file.read(baseline)
    inputs = [run, *([] if baseline is None else [baseline])]
    places = out.outputs(json, markdown, junit, force=force, inputs=inputs)
    found = saved.comparison
    asked, results = _judged(saved, before, gate, run)
    results = tuple(
        replace(result, why=saved.why.get(result.gate.text, result.why))
        for result in g.blamed(asked, found, results, here=False)
    )
    notes = asked.notes(found)
    out.give(places, found, results, before, notes)
    g.explain(found, results, notes, here=False)
    out.annotate(found, results, before, notes)
    g.verdict(results, exit_zero=exit_zero)


def _judged(
    saved: Run, before: Comparison | None, given: list[str] | None, path: Path
) -> tuple[g.Asked, tuple[GateResult, ...]]:
    """The run's gates, or those that are given in their place, and how it stands with them.

    Raises:
        UsageError: what is given is no gate, or is on something that the run has not.
        DataError: so is what the file holds.
    """
    from qtool.compare import baseline
    from qtool.compare.metrics import metrics_of
    from qtool.errors import DataError, UsageError

    texts = given or [text for text in saved.gates if not baseline.is_ours(text)]
    try:
        asked = g.asked(texts, metrics_of(saved.comparison), before)
        return asked, asked.judge(saved.comparison)
    except UsageError as error:
        if not given:
            raise DataError(f"{path} has a gate that cannot be judged", error.what) from error
        fix = f"compare again, and {error.fix}" if error.fix.startswith("add ") else error.fix
        raise UsageError(error.what, error.why, fix) from error
