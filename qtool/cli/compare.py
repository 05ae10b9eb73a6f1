"""`qtool compare`: accuracy, size and speed of a candidate against its reference, and gates."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qtool.cli import gates as g
from qtool.cli import options as o
from qtool.cli import outputs as out

if TYPE_CHECKING:
    from qtool.compare.truth.custom import Scorer
    from qtool.data import Dataset
    from qtool.recipe import Recipe


def compare(
    reference: Annotated[Path, typer.Argument(help="The model to be measured against.")],
    candidate: Annotated[Path, typer.Argument(help="The model that is to take its place.")],
    data: Annotated[
        str | None,
        typer.Option(metavar=o.DIR, help="Samples, with or without labels; without: sizes only."),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Use at most this many (all).")
    ] = None,
    seed: o.Seed = None,
    labels: o.LabelsFile = None,
    batch_size: o.BatchSize = 1,
    output: Annotated[
        str | None, typer.Option(metavar="NAME", help="Compare, and score, this output alone.")
    ] = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE:FUNCTION", help="A score of your own; see docs/compare.md."),
    ] = None,
    latency: Annotated[
        bool, typer.Option("--latency", help="Also time both, in turns, and weigh them.")
    ] = False,
    layers: Annotated[
        bool, typer.Option("--layers", help="Also look at each tensor, worst first.")
    ] = False,
    gate: g.Gates = None,
    baseline: g.Baseline = None,
    json: out.Json = None,
    markdown: out.Markdown = None,
    junit: out.Junit = None,
    exit_zero: g.ExitZero = False,
    recipe: o.RecipeFile = None,
    on_bad_file: o.OnBadFile = o.BadFile.ERROR,
    custom_ops: o.CustomOps = None,
    threads: o.Threads = 0,
    force: o.Force = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """qtool compare model.onnx model.int8.onnx --data eval --gate "top1.drop <= 0.5pp"

    Accuracy, size and speed of a candidate against its reference. Exits with 1 when a gate failed.
    """
    from qtool.cli.blame import with_layers
    from qtool.cli.console import configure, err, progress
    from qtool.compare import gates, run_file
    from qtool.compare import judge as comparing
    from qtool.compare.metrics import METRICS, of_scores
    from qtool.compare.truth.custom import load_scorers

    configure(quiet=quiet, more=verbose)
    o.use_custom_ops(custom_ops)
    scorers = load_scorers(scorer or ())
    metrics = {**METRICS, **of_scores({each.name: each.kind for each in scorers})}
    before = None if baseline is None else run_file.read(baseline)
    asked = g.asked(gate or (), metrics, before)
    inputs = [reference, candidate, *([] if baseline is None else [baseline])]
    places = out.outputs(json, markdown, junit, force=force, inputs=inputs)
    opened = (
        None
        if data is None
        else _opened(
            data, reference, o.recipe_from(recipe, seed=seed), samples, on_bad_file, labels
        )
    )
    sources = _sources(opened, scorers, latency=latency, layers=layers)
    gates.require(asked.gates, sources, metrics, before)
    with progress("comparing") as step:
        found = comparing.compare(
            reference,
            candidate,
            opened,
            batch_size=batch_size,
            output=output,
            scorers=scorers,
            latency=latency,
            layers=layers,
            threads=threads,
            progress=step,
        )
    results = asked.judge(found)
    failed = {asked.source(result) for result in results if not result.passed}
    found = with_layers(found, failed, opened, batch_size=batch_size, threads=threads)
    results = g.blamed(asked, found, results, here=True)
    notes = asked.notes(found)
    out.give(places, found, results, before, notes)
    if data is None:
        err.print("note: sizes and signatures only: accuracy needs samples, add  --data DIR")
    g.explain(found, results, notes, here=True)
    out.annotate(found, results, before, notes)
    g.verdict(results, exit_zero=exit_zero)


def _opened(
    data: str,
    reference: Path,
    recipe: Recipe,
    samples: int | None,
    on_bad_file: o.BadFile,
    labels: Path | None,
) -> Dataset:
    from qtool import model
    from qtool.cli.boundary import printable
    from qtool.cli.console import err

    signature = model.signature(model.load(reference))
    # To measure ranges a few samples do; to judge, all there are.
    chosen = o.open_chosen(data, signature, recipe, on_bad_file, samples or _ALL, labels)
    more = (
        ""
        if len(chosen) + len(chosen.skipped) == chosen.total
        else f"; --samples {chosen.total} uses all"
    )
    err.print(printable(chosen.describe({}) + more), markup=False)
    return chosen


_ALL = sys.maxsize


def _sources(
    data: Dataset | None, scorers: Sequence[Scorer], *, latency: bool, layers: bool
) -> set[str]:
    """What gates can read of this run."""
    from qtool.compare.truth import any_truth

    present = {
        "size": True,
        "data": data is not None,
        "labels": bool(scorers) or (data is not None and any_truth(data)),
        "latency": latency,
        "layers": layers,
    }
    return {name for name, there in present.items() if there}
