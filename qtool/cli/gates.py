"""Gates on the command line: judged, explained, and turned into the exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from qtool.compare.gates import Gate, GateResult
    from qtool.compare.metrics import Metric
    from qtool.compare.result import Comparison

Gates = Annotated[
    list[str] | None,
    typer.Option(metavar="TEXT", help='Such as "top1.drop <= 0.5pp"; more than one is fine.'),
]
Baseline = Annotated[
    Path | None,
    typer.Option(metavar="RUN.json", help="An earlier run: nothing may have become worse."),
]
ExitZero = Annotated[bool, typer.Option("--exit-zero", help="A failed gate exits with 0, not 1.")]


@dataclass(frozen=True)
class Asked:
    """The gates that were given, the metrics that they may name, and the run before this one."""

    gates: tuple[Gate, ...]
    metrics: Mapping[str, Metric]
    baseline: Comparison | None = None

    def judge(self, found: Comparison) -> tuple[GateResult, ...]:
        """The gates that were given, then what must not be worse than in the baseline."""
        from qtool.compare import baseline, gates

        results = gates.judge(self.gates, found, self.metrics, self.baseline)
        if self.baseline is None:
            return results
        return results + baseline.check(found, self.baseline, self.gates)

    def notes(self, found: Comparison) -> tuple[str, ...]:
        """Why a baseline may not be one for this run."""
        from qtool.compare import baseline

        return () if self.baseline is None else baseline.notes(found, self.baseline)

    def source(self, result: GateResult) -> str:
        """Where the number of a gate comes from, a key of NEEDS."""
        from qtool.compare.gates import REGRESSION

        return self.metrics[result.gate.metric.removesuffix(REGRESSION)].source


def asked(
    texts: Sequence[str], metrics: Mapping[str, Metric], baseline: Comparison | None
) -> Asked:
    """What `--gate` and `--baseline` say. UsageError for what is no gate."""
    from qtool.compare import gates

    return Asked(tuple(gates.parse(text, metrics) for text in texts), metrics, baseline)


def blamed(
    asked: Asked, found: Comparison, results: Sequence[GateResult], *, here: bool
) -> tuple[GateResult, ...]:
    """The results with what is to blame and what to try, where a gate is not met.

    `here`: the models were compared just now, so they may be looked at.
    """
    from qtool.cli.blame import blame
    from qtool.compare.gates import holds
    from qtool.report.table import in_unit

    @cache  # two gates often fail for one reason, and to find it models are read
    def lines(source: str) -> tuple[str, ...]:
        return blame(source, found, here=here)

    def why(result: GateResult) -> tuple[str, ...]:
        score = found.scores.get(result.gate.metric)
        if score is not None and not holds(result.gate, score.reference):
            itself = in_unit(score.reference, result.gate.unit)
            return (f"the reference has {itself} itself: no way of quantizing will meet this",)
        return lines(asked.source(result))

    return tuple(r if r.passed else replace(r, why=why(r)) for r in results)


def explain(
    found: Comparison, results: Sequence[GateResult], notes: Sequence[str], *, here: bool
) -> None:
    """What a person needs besides the numbers: notes, failed gates, why, and what to try.

    `here`: the models were compared just now, so another try is possible.
    """
    from qtool.cli.boundary import printable
    from qtool.cli.console import err
    from qtool.report.plain import sentence

    used = found.data
    more = ""
    if here and used is not None and used.seed is not None and used.samples < used.total:
        more = f"; --samples {used.total} may settle it"
    unsure = (
        f'gate "{result.gate.text}" is not certain: {_UNCERTAIN}{more}'
        for result in results
        if result.certain is False
    )
    for note in (*found.notes, *notes, *unsure):
        err.print(f"note: {printable(note)}", markup=False)
    said = set[tuple[str, ...]]()
    for result in results:
        if not result.passed:
            why = () if result.why in said else result.why  # two gates often fail for one reason
            said.add(result.why)
            head = f'{result.gate.level}: gate "{result.gate.text}" failed'
            text = "\n  ".join([head, sentence(result), *map(printable, why)])
            typer.echo(text, err=True)


def verdict(results: Sequence[GateResult], *, exit_zero: bool) -> None:
    """Exit with 1 if a gate failed; nothing else does."""
    if any(result.failed for result in results) and not exit_zero:
        raise typer.Exit(1)


_UNCERTAIN = "its limit lies inside the 95 % interval"
