"""A comparison as tables of plain text: whoever prints them chooses borders and colours.

Cells hold ASCII and the names from the model, unescaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from qtool.compare.baseline import changes
from qtool.compare.gates import UNITS, GateResult
from qtool.compare.result import Comparison, LayerError, OutputComparison, Score
from qtool.numeric.bootstrap import Interval

Row = tuple[str, ...]
LAYERS = 10
"""Rows of layers, the worst ones."""


@dataclass(frozen=True)
class Table:
    """A title, column names and rows of as many cells; the first `names` columns are of names."""

    title: str
    header: Row
    rows: tuple[Row, ...]
    names: int = 1


def tables(
    comparison: Comparison,
    gates: Sequence[GateResult] = (),
    baseline: Comparison | None = None,
) -> tuple[Table, ...]:
    """The tables that have rows: cost, accuracy, outputs, layers, since the baseline, gates."""
    found = (
        Table(
            "cost",
            ("", "reference", "candidate", "ratio", "95 % interval", "verdict"),
            tuple(_cost(comparison)),
        ),
        Table(
            "accuracy",
            ("", "reference", "candidate", "drop", "95 % interval", "samples"),
            tuple(_accuracy(comparison)),
        ),
        _outputs(comparison),
        Table(
            "layers",
            ("", "operator", "tensor", "own", "inherited", "SQNR", "clipped"),
            tuple(_layers(comparison.layers)),
            names=3,
        ),
        Table(
            "since the baseline",
            ("", "baseline", "now", "change"),
            () if baseline is None else tuple(_changes(comparison, baseline)),
        ),
        Table("gates", ("", "value", "result"), tuple(_gate(result) for result in gates)),
    )
    return tuple(table for table in found if table.rows)


def in_unit(value: float, unit: str) -> str:
    """A gate's value in the unit that the gate was written in: 0.0125 and "pp" -> "1.25 pp"."""
    return f"{number(value / UNITS[unit])} {unit}".strip()


def interval_in(interval: Interval, unit: str) -> str:
    """An interval in a gate's unit: "-0.5 to 2 pp"."""
    return _interval(interval, 1 / UNITS[unit], f" {unit}".rstrip(), digits=4)


def number(value: float | None) -> str:
    """Four digits, or that there is no number."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.4g}"


def size(count: float) -> str:
    """Bytes as a person reads them: 512 B, 12.3 kB, 4.56 MB (of 1,000)."""
    if count < 1000:
        return f"{count:.0f} B"
    return f"{count / 1e3:,.1f} kB" if count < 1e6 else f"{count / 1e6:,.2f} MB"


def decibels(value: float) -> str:
    """The SQNR of a tensor: "31.2 dB", and "equal" where nothing differs."""
    return "equal" if value == math.inf else "-" if math.isnan(value) else f"{value:.1f} dB"


def _cost(comparison: Comparison) -> Iterator[Row]:
    sizes, found, used = comparison.size, comparison.latency, comparison.footprint
    yield "size", size(sizes.reference), size(sizes.candidate), f"{sizes.ratio:.3f}", "", ""
    if found is not None:
        medians = _ms(found.reference_median_ms), _ms(found.candidate_median_ms)
        p90s = _ms(found.reference_p90_ms), _ms(found.candidate_p90_ms)
        sure = _interval(found.interval)
        yield "latency", *medians, f"{found.ratio:.3f}", sure, found.verdict
        yield "latency p90", *p90s, "", "", ""
    if used is not None:
        loads = used.reference_load_ms, used.candidate_load_ms
        held = used.reference_memory, used.candidate_memory
        yield "load", *(_known(_ms, each) for each in loads), _ratio(used.load_ratio), "", ""
        yield "memory", *(_known(size, each) for each in held), _ratio(used.memory_ratio), "", ""


def _known(shown: Callable[[float], str], value: float | None) -> str:
    return "-" if value is None else shown(value)


def _ratio(value: float | None) -> str:
    return _known(lambda ratio: f"{ratio:.3f}", value)


def _ms(value: float) -> str:
    return f"{value:.3g} ms" if value < 1000 else f"{value:,.0f} ms"


def _accuracy(comparison: Comparison) -> Iterator[Row]:
    for name, score in comparison.scores.items():
        yield _score(name, score)
        if score.mcnemar is not None:
            counts = f"{score.mcnemar.lost} lost", f"{score.mcnemar.gained} gained"
            yield f"{name} changed", *counts, f"p {score.mcnemar.p:.2g}", "", str(score.n)
        if score.ratio is not None and score.ratio_interval is not None:
            sure = _interval(score.ratio_interval, digits=4)  # 1.003 is not 1
            yield f"{name}.ratio", "", number(score.ratio), "", sure, str(score.n)
    for output in comparison.outputs:
        rate = output.agreement
        if rate is not None:
            sure = _interval(rate.interval, 100, " %")
            yield f"agreement {output.name}", "", _in(rate.value, "share"), "", sure, str(rate.n)


def _score(name: str, score: Score) -> Row:
    """A score in its unit; shares differ by percentage points."""
    values = _in(score.reference, score.unit), _in(score.candidate, score.unit)
    if score.unit == "share":
        # Rounded first: -0.0004 is 0.00, and not -0.00.
        drop = f"{round(100 * score.drop, 2) + 0.0:.2f} pp"
        sure = _interval(score.interval, 100, " pp")
    else:
        drop = _in(score.drop, score.unit)
        sure = _interval(score.interval, unit=f" {score.unit}".rstrip())
    return (name, *values, drop, sure, str(score.n))


def _in(value: float, unit: str) -> str:
    if math.isnan(value):
        return "-"
    if unit == "share":
        return f"{100 * value:.2f} %"
    return f"{value:.2f} dB" if unit == "dB" else number(value)


def _outputs(comparison: Comparison) -> Table:
    """Distances; KL where an output has one, so that what there is stays narrow."""
    shown = [output for output in comparison.outputs if output.kind != "label"]
    divergent = any(output.kl is not None for output in shown)
    header: Row = ("", "SQNR", "95 % interval", "cosine", "max err", "mean err", "KL", "samples")
    lines = [header, *map(_output, shown)]
    if not divergent:
        lines = [(*line[:6], *line[7:]) for line in lines]
    return Table("outputs", lines[0], tuple(lines[1:]))


def _output(output: OutputComparison) -> Row:
    count = str(output.n) if output.n else ""
    if output.identical:
        return (output.name, "equal", "", "1", "0", "0", _short(output.kl), count)
    sure = output.intervals.get("sqnr_db")
    return (
        output.name,
        f"{output.sqnr_db:.1f} dB",
        "" if sure is None else _interval(sure),
        f"{output.cosine:.6f}" if math.isfinite(output.cosine) else "-",
        _short(output.max_abs_error),
        _short(output.mean_abs_error),
        _short(output.kl),
        count,
    )


def _short(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3g}"


def _layers(layers: Sequence[LayerError]) -> Iterator[Row]:
    """The worst by their own error; what is exactly equal is left out."""
    differ = [layer for layer in layers if layer.sqnr_db != math.inf]
    for each in differ[:LAYERS]:
        clipped = "" if each.clipped is None else f"{100 * each.clipped:.2f} %"
        errors = (decibels(db) for db in (each.own_db, each.inherited_db, each.sqnr_db))
        yield each.node or "(an input)", each.op_type, each.tensor, *errors, clipped
    if len(differ) > LAYERS:
        yield f"and {len(differ) - LAYERS} more", "", "", "", "", "", ""


def _changes(comparison: Comparison, baseline: Comparison) -> Iterator[Row]:
    for name, (metric, then, now) in changes(comparison, baseline).items():
        units = metric.units
        if "MB" in units:
            cells = size(int(then)), size(int(now))
            change = f"{'-' if now < then else '+'}{size(int(abs(now - then)))}"
        elif "%" in units and not name.endswith(".ratio"):
            cells = _in(then, "share"), _in(now, "share")
            change = f"{100 * (now - then):+.2f} pp"
        else:
            unit = "dB" if "dB" in units else ""
            cells = _long(then, unit), _long(now, unit)
            change = f"{now - then:+.3g} {unit}".rstrip()
        # of two infinities nothing is known but that they are equal
        yield name, *cells, "0" if then == now and math.isinf(then) else change


def _long(value: float, unit: str) -> str:
    """Digits enough to see what changed: a cosine of 0.999958 is not 1."""
    return _in(value, unit) if unit or math.isnan(value) else f"{value:.6g}"


def _gate(result: GateResult) -> Row:
    verdict = "passed" if result.passed else "FAILED" if result.failed else "failed, a warning"
    unsure = ", not certain" if result.certain is False else ""
    return (result.gate.text, in_unit(result.value, result.gate.unit), verdict + unsure)


def _interval(interval: Interval, factor: float = 1, unit: str = "", digits: int = 3) -> str:
    if not math.isfinite(interval.low) or not math.isfinite(interval.high):
        return "not known"
    return f"{factor * interval.low:.{digits}g} to {factor * interval.high:.{digits}g}{unit}"
