"""A sweep as tables of plain text, and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from qtool.report.markdown import code, prose
from qtool.report.table import Row, Table, number, size
from qtool.sweep.cells import Cell, Failure
from qtool.sweep.result import LATENCY, Outcome, Sweep

MARK = "*"


def tables(sweep: Sweep) -> tuple[Table, ...]:
    """Cells by size, then by score; those that failed, with the reason. Only tables with rows."""
    timed = any(outcome.latency is not None for _, outcome in sweep.worked)
    header: Row = ("cell", "best", "size", "ratio", sweep.metric.name, "loss", "95 % interval")
    others = [name for name in ("sqnr", "agreement") if name != sweep.metric.name]
    others = [n for n in others if any(n in o.metrics for _, o in sweep.worked)]
    header += tuple({"sqnr": "SQNR"}.get(name, name) for name in others)
    header += ("time", "95 % interval") if timed else ()
    best = sweep.best()
    rows = [_row("float", "", sweep.reference, sweep, others, timed=timed)]
    for cell, outcome in sorted(sweep.worked, key=_order):
        mark = MARK if best[cell.name] else ""
        rows.append(_row(cell.name, mark, outcome, sweep, others, timed=timed))
    failed = [(cell.name, _reason(outcome.error)) for cell, outcome in sweep.cells if outcome.error]
    found = (
        Table("cell", header, tuple(rows)),
        Table("no result", ("no result", "because"), tuple(failed), names=2),
    )
    return tuple(table for table in found if table.rows)


def listing(cells: Sequence[Cell]) -> tuple[Table, ...]:
    """The cells of a grid before anything is measured: names, and the values that made them."""
    rows = [
        (cell.name, ", ".join(f"{axis} {value}" for axis, value in cell.values.items()))
        for cell in cells
        if cell.recipe is not None
    ]
    none = [(cell.name, _reason(cell.impossible)) for cell in cells if cell.impossible]
    found = (
        Table("cell", ("cell", "values"), tuple(rows), names=2),
        Table("no such cell", ("no such cell", "because"), tuple(none), names=2),
    )
    return tuple(table for table in found if table.rows)


def markdown(sweep: Sweep) -> str:
    """The tables as GitHub-flavoured Markdown; names stand in code."""
    judged = sweep.run["evaluation"]["samples"]
    lines = [f"### qtool sweep: {code(sweep.model)}, {judged:,} samples"]
    for table in tables(sweep):
        lines += ["", "| " + " | ".join(prose(title) for title in table.header) + " |"]
        lines.append("|" + " :--- |" * table.names + " ---: |" * (len(table.header) - table.names))
        for row in table.rows:
            cells = [code(row[0]), *map(prose, row[1:])]
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", _explained(sweep)]
    return "\n".join(lines) + "\n"


def _explained(sweep: Sweep) -> str:
    return "`*`: nothing is better, neither another cell nor float"


def _order(each: tuple[Cell, Outcome]) -> tuple[int, float, str]:
    return each[1].size, each[1].loss.value, each[0].name


def _row(
    name: str, mark: str, outcome: Outcome, sweep: Sweep, others: list[str], *, timed: bool
) -> Row:
    cells = [name, mark, size(outcome.size), f"{sweep.ratio(outcome):.3f}", _score(sweep, outcome)]
    cells += ["", ""] if outcome is sweep.reference else _loss(sweep, outcome)
    cells += [_other(key, outcome) for key in others]
    if timed:
        ends = outcome.intervals.get(LATENCY)
        time = outcome.latency
        cells += ["" if time is None else f"{time:.3f}"]
        cells += ["" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"]
    return tuple(cells)


def _score(sweep: Sweep, outcome: Outcome) -> str:
    value = sweep.score(outcome)[0]
    times, unit = sweep.metric.scale
    if math.isinf(value):
        return "equal" if outcome.loss.value == 0 or outcome is sweep.reference else "-"
    if unit == "%":
        return f"{times * value:.2f} %"
    return f"{value:.1f} dB" if unit == "dB" else number(value)


def _loss(sweep: Sweep, outcome: Outcome) -> Iterator[str]:
    loss, lost = outcome.loss, sweep.metric.lost
    yield lost(loss.value) if math.isfinite(loss.value) else "-"
    known = math.isfinite(loss.low) and math.isfinite(loss.high)
    yield f"{lost(loss.low).split()[0]} to {lost(loss.high)}" if known else ""


def _other(name: str, outcome: Outcome) -> str:
    value = outcome.metrics.get(name)
    if value is None:
        return ""
    return f"{value:.1f} dB" if name == "sqnr" else f"{100 * value:.2f} %"


def _reason(error: Failure) -> str:
    return f"{error.what}: {error.why}" if error.why else error.what
