"""A run against an earlier one: what must not become worse where no gate says so.

Scores (by their drop), agreement and SQNR must not be certainly worse: worse, and the earlier
number outside of the 95 % interval of the new one. What is no longer finite is certain. The file
may be 1 % larger. Latency, which is another one on another machine, gives a warning where the ratio
is certainly worse, and by more than 5 %. All else says the same once more, or differs from run to
run, and is only shown. A gate on `METRIC.regression` takes the place of what is said here about
that score, size or latency.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from qtool.compare.gates import NEEDS, REGRESSION, Gate, GateResult, regression
from qtool.compare.metrics import Metric, metrics_of
from qtool.compare.result import Comparison
from qtool.errors import UsageError

SUFFIX = " no worse than baseline"
"""What the text of each such gate ends with: it is no gate that could be given."""


@dataclass(frozen=True)
class Rule:
    """How much worse, as a share of the earlier number, is too much; and at which level."""

    beyond: float = 0.0
    level: str = "error"
    certain: bool = True  # an interval must say so


def check(
    comparison: Comparison, baseline: Comparison, gates: Iterable[Gate] = ()
) -> tuple[GateResult, ...]:
    """Whether anything is worse that none of `gates` is about.

    Raises:
        UsageError: the baseline has a score or a distance that this run has not: it may be worse.
    """
    for name, metric in metrics_of(baseline).items():
        rule = _rule(name, metric)
        strict = rule is not None and rule.level == "error"
        if strict and metric.read(baseline) and not metric.read(comparison):
            raise UsageError(
                f"{_about(name)} of the baseline cannot be judged: this run has none",
                f"it needs {metric.needs or NEEDS[metric.source][0]}",
                "run on the baseline's data, or take a baseline without it",
            )
    given = {_about(g.metric) for g in gates if g.metric.endswith(REGRESSION)}
    found = (
        _check(name, metric, rule, comparison, baseline)
        for name, metric in metrics_of(comparison).items()
        if (rule := _rule(name, metric)) is not None and _about(name) not in given
    )
    return tuple(result for result in found if result is not None)


def notes(comparison: Comparison, baseline: Comparison) -> tuple[str, ...]:
    """Why the two runs may differ for another reason than the candidate."""
    found = []
    then, now = baseline.data, comparison.data
    if then and now and (then.samples, then.total) != (now.samples, now.total):
        found.append(f"the baseline was measured on {then.samples} samples, this on {now.samples}")
    elif then and now and then.fingerprint != now.fingerprint:
        found.append("the baseline was measured on other data: its samples are not these")
    if _name_and_size(baseline) != _name_and_size(comparison):
        found.append(
            f"the baseline is of another reference, {baseline.reference} of "
            f"{baseline.size.reference} bytes: its drops and distances are from that one"
        )
    return tuple(found)


def changes(
    comparison: Comparison, baseline: Comparison
) -> Mapping[str, tuple[Metric, float, float]]:
    """Then and now of what both runs have, once for each score, size and so on."""
    found = {}
    for name, metric in metrics_of(comparison).items():
        then, now = metric.read(baseline), metric.read(comparison)
        if then and now and ("." not in name or name in _SHOWN):
            found[name] = (metric, then[0], now[0])
    return found


def _check(
    name: str, metric: Metric, rule: Rule, comparison: Comparison, baseline: Comparison
) -> GateResult | None:
    change = regression(metric, comparison, baseline)
    then, now = metric.read(baseline), metric.read(comparison)
    if change is None or then is None or now is None:
        return None
    (before, _), (value, interval) = then, now
    if rule.certain and interval is None and math.isfinite(value):
        return None
    limit = rule.beyond * abs(before) if math.isfinite(before) else 0.0
    sure = not rule.certain or not math.isfinite(value)
    sure = sure or (interval is not None and before not in interval)
    passed = not (sure and _worse(change[0], value, before, limit))
    unit = next((_UNITS[unit] for unit in metric.units if unit in _UNITS), metric.units[0])
    gate = Gate(f"{name}{SUFFIX}", name + REGRESSION, "<=", limit, unit, rule.level)
    return GateResult(gate, change[0], passed, None, change[1])


def _worse(change: float, value: float, before: float, limit: float) -> bool:
    if math.isnan(value) or math.isnan(before):
        return math.isnan(value) and not math.isnan(before)
    # The last digits of a float come from the order of additions, so from the CPU.
    return change > limit and not math.isclose(value, before, rel_tol=1e-9, abs_tol=1e-12)


def _rule(name: str, metric: Metric) -> Rule | None:
    """The ratio of a loss says what its drop does, and cosine, errors and KL what SQNR does."""
    return Rule() if metric.source == "labels" and name.endswith(".drop") else RULES.get(name)


def _about(name: str) -> str:
    """What a metric is a number of: "top1.drop.regression" -> "top1"."""
    return name.split(".")[0]


def _name_and_size(comparison: Comparison) -> tuple[str, int]:
    return comparison.reference.name, comparison.size.reference


def is_ours(text: str) -> bool:
    """Whether the text of a gate in a saved run was made here."""
    return text.endswith(SUFFIX)


RULES: Mapping[str, Rule] = {
    "agreement": Rule(),
    "sqnr": Rule(),
    "size.bytes": Rule(0.01, certain=False),
    "latency.ratio": Rule(0.05, "warn"),
}
_UNITS = {"%": "pp", "kB": "kB"}
_SHOWN: Collection[str] = {
    "size.bytes", "latency.ratio", "load.ratio", "memory.ratio", "layers.own", "layers.clipped",
}  # fmt: skip
