"""Where the result of a comparison goes: tables on stdout, and files in other forms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from qtool.compare.gates import GateResult
    from qtool.compare.result import Comparison
    from qtool.report.table import Table as Layout

Json = Annotated[
    str | None, typer.Option(metavar="FILE", help="Write the run as JSON; - is stdout.")
]
Markdown = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Write it for a pull request's comment; - is stdout."),
]
Junit = Annotated[
    str | None, typer.Option(metavar="FILE", help="Write the gates as JUnit XML; - is stdout.")
]


@dataclass(frozen=True)
class Outputs:
    """Form -> the file of it, or "-", which stdout is then for in place of the tables."""

    places: Mapping[str, str]
    force: bool


def outputs(
    json: str | None,
    markdown: str | None,
    junit: str | None,
    *,
    force: bool,
    inputs: Iterable[Path],
) -> Outputs:
    """What was asked for, refused before anything runs if it cannot be written.

    Raises:
        UsageError: two go to one place, or a file is there, or is one of `inputs`.
        MachineError: no such folder, or no permission to write there.
    """
    from qtool.errors import UsageError
    from qtool.files import check_output

    asked = {"json": json, "markdown": markdown, "junit": junit}
    places = {form: place for form, place in asked.items() if place is not None}
    taken: dict[str, str] = {}
    for form, place in places.items():
        key = place if place == "-" else str(Path(place).parent.resolve() / Path(place).name)
        if key in taken:
            where = "stdout" if place == "-" else place
            raise UsageError(
                f"--{taken[key]} and --{form} both write to {where}", fix="give one another name"
            )
        taken[key] = form
    given = list(inputs)
    for place in places.values():
        if place != "-":
            check_output(Path(place), force=force, inputs=given)
    return Outputs(places, force)


def give(
    to: Outputs,
    found: Comparison,
    results: Sequence[GateResult],
    baseline: Comparison | None,
    notes: Sequence[str] = (),
) -> None:
    """Print and write a comparison; `notes` are about the baseline, and not part of the run."""
    from qtool.files import atomic_write

    shown = replace(found, notes=(*found.notes, *notes))
    if "-" not in to.places.values():
        _show(found, results, baseline)
    for form, place in to.places.items():
        text = _text(form, found if form == "json" else shown, results, baseline)
        if place == "-":
            typer.echo(text, nl=False)
        else:
            atomic_write(Path(place), text.encode(), force=to.force)


def annotate(
    found: Comparison,
    results: Sequence[GateResult],
    baseline: Comparison | None,
    notes: Sequence[str],
) -> None:
    """What GitHub Actions shows of it, where this runs there."""
    import os

    from qtool.report import github

    shown = replace(found, notes=(*found.notes, *notes))
    for line in github.report(shown, results, os.environ, baseline):
        typer.echo(line, err=True)


def _text(
    form: str, found: Comparison, results: Sequence[GateResult], baseline: Comparison | None
) -> str:
    if form == "json":
        from qtool.report.json import dumps

        return dumps(found, results, baseline)
    if form == "junit":
        from qtool.report.junit import junit

        return junit(found, results)
    from qtool.report.markdown import markdown

    return markdown(found, results, baseline)


def _show(found: Comparison, results: Sequence[GateResult], baseline: Comparison | None) -> None:
    from qtool.report.table import tables

    show_tables(tables(found, results, baseline))


def show_tables(tables: Iterable[Layout]) -> None:
    """Tables of plain text in the one style we have."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from qtool.cli.boundary import printable
    from qtool.cli.console import out

    for each in tables:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for i, name in enumerate(each.header):
            # Numbers stay whole; a long name in front of them gives way.
            numbers = i >= each.names
            justify: Literal["left", "right"] = "right" if numbers else "left"
            table.add_column(name or each.title, justify=justify, overflow="fold", no_wrap=numbers)
        for row in each.rows:
            table.add_row(*(Text(printable(cell)) for cell in row))  # Text: no markup in names
        if not out.is_terminal:  # a file or a pipe has no width to fit into
            wide = out.options.update(width=10_000)
            table.width = out.measure(table, options=wide).maximum
        out.print(table)
