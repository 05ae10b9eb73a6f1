"""A comparison as tables of plain text: whoever prints them chooses borders and colours.

Cells hold ASCII and the names from the model, unescaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from qtool.compare.gates import UNITS, GateResult
from qtool.compare.result import Comparison, OutputComparison, Score
from qtool.numeric.bootstrap import Interval

Row = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A title, column names and rows of as many cells; the first column is of names."""

    title: str
    header: Row
    rows: tuple[Row, ...]


def tables(comparison: Comparison, gates: Sequence[GateResult] = ()) -> tuple[Table, ...]:
    """The tables that have rows: cost, accuracy, outputs, gates."""
    found = (
        Table(
            "cost",
            ("", "reference", "candidate", "ratio", "95 % interval", "verdict"),
            _cost(comparison),
        ),
        Table(
            "accuracy",
            ("", "reference", "candidate", "drop", "95 % interval", "samples"),
            _accuracy(comparison),
        ),
        Table(
            "outputs",
            ("", "SQNR", "cosine", "max error", "mean error", "KL"),
            tuple(_output(output) for output in comparison.outputs if output.kind != "label"),
        ),
        Table("gates", ("", "value", "result"), tuple(_gate(result) for result in gates)),
    )
    return tuple(table for table in found if table.rows)


def in_unit(value: float, unit: str) -> str:
    """A gate's value in the unit that the gate was written in: 0.0125 and "pp" -> "1.25 pp"."""
    return f"{number(value / UNITS[unit])} {unit}".strip()


def number(value: float | None) -> str:
    """Four digits, or that there is no number."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.4g}"


def size(count: int) -> str:
    """Bytes as a person reads them: 512 B, 12.3 kB, 4.56 MB (of 1,000)."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e3:,.1f} kB" if count < 1e6 else f"{count / 1e6:,.2f} MB"


def _cost(comparison: Comparison) -> tuple[Row, ...]:
    sizes, found = comparison.size, comparison.latency
    row = ("size", size(sizes.reference), size(sizes.candidate), f"{sizes.ratio:.3f}", "", "")
    if found is None:
        return (row,)
    medians = _ms(found.reference_median_ms), _ms(found.candidate_median_ms)
    p90s = _ms(found.reference_p90_ms), _ms(found.candidate_p90_ms)
    sure = _interval(found.interval)
    return (
        row,
        ("latency", *medians, f"{found.ratio:.3f}", sure, found.verdict),
        ("latency p90", *p90s, "", "", ""),
    )


def _ms(value: float) -> str:
    return f"{value:.3g} ms"


def _accuracy(comparison: Comparison) -> tuple[Row, ...]:
    rows = []
    for name, score in comparison.scores.items():
        rows.append(_score(name, score))
        if score.ratio is not None and score.ratio_interval is not None:
            sure = _interval(score.ratio_interval, digits=4)  # 1.003 is not 1
            rows.append((f"{name}.ratio", "", number(score.ratio), "", sure, str(score.n)))
    for output in comparison.outputs:
        rate = output.agreement
        if rate is not None:
            sure = _interval(rate.interval, 100, " %")
            rows.append(
                (f"agreement {output.name}", "", _percent(rate.value), "", sure, str(rate.n))
            )
    return tuple(rows)


def _score(name: str, score: Score) -> Row:
    if name in ("mse", "r2"):
        numbers = number(score.reference), number(score.candidate), number(score.drop)
        return (name, *numbers, _interval(score.interval), str(score.n))
    drop = f"{100 * score.drop:.2f} pp"
    sure = _interval(score.interval, 100, " pp")
    return (name, _percent(score.reference), _percent(score.candidate), drop, sure, str(score.n))


def _output(output: OutputComparison) -> Row:
    if output.identical:
        return (output.name, "equal", "1", "0", "0", number(output.kl))
    return (
        output.name,
        f"{output.sqnr_db:.1f} dB",
        f"{output.cosine:.6f}" if math.isfinite(output.cosine) else "-",
        number(output.max_abs_error),
        number(output.mean_abs_error),
        number(output.kl),
    )


def _gate(result: GateResult) -> Row:
    verdict = "passed" if result.passed else "FAILED" if result.failed else "failed, a warning"
    unsure = ", not certain" if result.certain is False else ""
    return (result.gate.text, in_unit(result.value, result.gate.unit), verdict + unsure)


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _interval(interval: Interval, factor: float = 1, unit: str = "", digits: int = 3) -> str:
    if not math.isfinite(interval.low) or not math.isfinite(interval.high):
        return "not known"
    return f"{factor * interval.low:.{digits}g} to {factor * interval.high:.{digits}g}{unit}"
