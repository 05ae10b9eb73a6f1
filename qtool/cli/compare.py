"""`qtool compare`: accuracy, size and speed of a candidate against its reference, and gates."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from qtool.cli import options as o

if TYPE_CHECKING:
    from qtool.compare.gates import Gate, GateResult
    from qtool.compare.result import Comparison
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
    batch_size: o.BatchSize = 1,
    output: Annotated[
        str | None, typer.Option(metavar="NAME", help="Compare, and score, this output alone.")
    ] = None,
    latency: Annotated[bool, typer.Option("--latency", help="Also time both, in turns.")] = False,
    json: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the run as JSON; - is stdout.")
    ] = None,
    gate: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help='Such as "top1.drop <= 0.5pp"; more than one is fine.'),
    ] = None,
    exit_zero: Annotated[
        bool, typer.Option("--exit-zero", help="A failed gate exits with 0, not 1.")
    ] = False,
    recipe: o.RecipeFile = None,
    on_bad_file: o.OnBadFile = o.BadFile.ERROR,
    threads: o.Threads = 0,
    force: o.Force = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """qtool compare model.onnx model.int8.onnx --data eval --gate "top1.drop <= 0.5pp"

    Accuracy, size and speed of a candidate against its reference. Exits with 1 when a gate failed.
    """
    from qtool.cli.console import err, progress
    from qtool.compare import gates
    from qtool.compare import judge as comparing
    from qtool.files import atomic_write, check_output
    from qtool.report.json import dumps

    err.quiet = quiet
    wanted = [gates.parse(text) for text in gate or ()]
    file = None if json in (None, "-") else Path(str(json))
    if file is not None:
        check_output(file, force=force, inputs=(reference, candidate))
    opened = (
        None
        if data is None
        else _opened(data, reference, o.recipe_from(recipe, seed=seed), samples, on_bad_file)
    )
    gates.require(wanted, _sources(opened, latency))
    with progress("comparing") as step:
        found = comparing.compare(
            reference,
            candidate,
            opened,
            batch_size=batch_size,
            output=output,
            latency=latency,
            threads=threads,
            progress=step,
        )
    results = gates.judge(wanted, found)
    if json == "-":
        typer.echo(dumps(found, results), nl=False)
    else:
        _show(found, results)
    if file is not None:
        atomic_write(file, dumps(found, results).encode(), force=force)
    _explain(found, results, opened)
    if any(result.failed for result in results) and not exit_zero:
        raise typer.Exit(1)


def _opened(
    data: str, reference: Path, recipe: Recipe, samples: int | None, on_bad_file: o.BadFile
) -> Dataset:
    from qtool import model
    from qtool.cli.boundary import printable
    from qtool.cli.console import err

    signature = model.signature(model.load(reference))
    # To measure ranges a few samples do; to judge, all there are.
    chosen = o.open_chosen(data, signature, recipe, on_bad_file, samples or _ALL)
    more = (
        ""
        if len(chosen) + len(chosen.skipped) == chosen.total
        else f"; --samples {chosen.total} uses all"
    )
    err.print(printable(chosen.describe({}) + more), markup=False)
    return chosen


_ALL = sys.maxsize


def _sources(data: Dataset | None, latency: bool) -> set[str]:
    """What gates can read of this run."""
    present = {
        "size": True,
        "data": data is not None,
        "labels": data is not None and data.labels is not None,
        "latency": latency,
    }
    return {name for name, there in present.items() if there}


def _show(found: Comparison, results: Sequence[GateResult]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from qtool.cli.boundary import printable
    from qtool.cli.console import out
    from qtool.report.table import tables

    for each in tables(found, results):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for i, name in enumerate(each.header):
            # Numbers stay whole; a long name in front of them gives way.
            justify: Literal["left", "right"] = "right" if i else "left"
            table.add_column(name or each.title, justify=justify, overflow="fold", no_wrap=i > 0)
        for row in each.rows:
            table.add_row(*(Text(printable(cell)) for cell in row))  # Text: no markup in names
        if not out.is_terminal:  # a file or a pipe has no width to fit into
            wide = out.options.update(width=10_000)
            table.width = out.measure(table, options=wide).maximum
        out.print(table)


def _explain(found: Comparison, results: Sequence[GateResult], data: Dataset | None) -> None:
    """What a person needs besides the numbers: notes, failed gates and what to try."""
    from qtool.cli.boundary import printable
    from qtool.cli.console import err
    from qtool.report.table import in_unit

    notes = list(found.notes)
    if data is None:
        notes.append("sizes and signatures only: accuracy needs samples, add  --data DIR")
    unused = data is not None and len(data) + len(data.skipped) < data.total
    more = f"; --samples {data.total} may settle it" if data and unused else ""
    notes += [
        f'gate "{result.gate.text}" is not certain: {_UNCERTAIN}{more}'
        for result in results
        if result.certain is False
    ]
    for note in notes:
        err.print(f"note: {printable(note)}", markup=False)
    for result in results:
        if not result.passed:
            gate = result.gate
            limit = in_unit(gate.limit, gate.unit)
            typer.echo(
                f'{gate.level}: gate "{gate.text}" failed\n'
                f"  {gate.metric} is {in_unit(result.value, gate.unit)}, the limit is {limit}\n"
                f"  try: {printable(_advice(gate, found, data))}",
                err=True,
            )


def _advice(gate: Gate, found: Comparison, data: Dataset | None) -> str:
    from qtool.compare.gates import METRICS
    from qtool.data.files import printable as named

    folder = "DIR" if data is None else shlex.quote(named(data.path))
    template = _TRY[METRICS[gate.metric].source]
    return template.format(model=shlex.quote(str(found.reference)), data=folder)


_UNCERTAIN = "its limit lies inside the 95 % interval"

# source of a metric -> a command that may mend it
_TRY = {
    "size": "qtool quantize {model} --bits 4",
    "data": "qtool quantize {model} --scheme w8",  # activations stay float
    "labels": "qtool quantize {model} --scheme w8",
    "latency": "qtool quantize {model} --data {data} --bits 8",  # integer kernels
}
