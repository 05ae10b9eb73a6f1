"""Gates: `METRIC OPERATOR NUMBER[UNIT] [@LEVEL]`, as in `top1.drop <= 0.5pp @warn`.

A metric of several outputs is that of its worst one. A bare number is in the metric's own unit
(bytes, ms, dB, a share of 1); a drop of a share must say pp, since 0.5 would be half of everything.
KB (or kB) and MB are 1,000 and 1,000,000 bytes. `METRIC.regression` is how much worse the metric is
than in an earlier run, in its own unit; 1 % of a share is a pp there.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from qtool.compare.metrics import METRICS, Measured, Metric
from qtool.compare.result import Comparison
from qtool.errors import UsageError, did_you_mean
from qtool.numeric.bootstrap import Interval

REGRESSION = ".regression"


@dataclass(frozen=True)
class Gate:
    """One parsed gate; `limit` is in the metric's own unit, `unit` as it was written."""

    text: str
    metric: str
    operator: str
    limit: float
    unit: str
    level: str


@dataclass(frozen=True)
class GateResult:
    """A gate and what was measured.

    `certain` is False when the limit lies inside the 95 % interval of the value, and None for a
    value without an interval. `why` are lines on what is to blame and what to try, of a gate that
    is not met.
    """

    gate: Gate
    value: float
    passed: bool
    certain: bool | None
    interval: Interval | None = None
    why: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether this decides the exit code: not passed, at the level error."""
        return not self.passed and self.gate.level == "error"


def parse(text: str, metrics: Mapping[str, Metric] = METRICS) -> Gate:
    """Read one gate on one of `metrics`, or on its regression.

    Raises:
        UsageError: not a gate, or an unknown metric, unit or level.
    """
    parts = _GATE.fullmatch(text.strip())
    if parts is None or not math.isfinite(float(parts[3])):
        raise UsageError(
            f"not a gate: {text!r}",
            f"a gate is METRIC OPERATOR NUMBER[UNIT] [@LEVEL]\nmetrics: {', '.join(metrics)}\n"
            f"operators: {' '.join(OPERATORS)}; levels: {', '.join(LEVELS)}",
            _meant(text) or 'for example  --gate "top1.drop <= 0.5pp"',
        )
    name, compares, number, unit, level = parts.groups(default="")
    known = _units(metrics)
    if name not in known:
        why = f"known: {', '.join(metrics)}; each with {REGRESSION} if there is a baseline"
        close = {each.lower(): each for each in known} | SYNONYMS
        hint = did_you_mean(close.get(name.lower(), name), known)
        raise UsageError(f"unknown metric {name!r} in gate {text!r}", why, hint)
    if unit not in known[name]:
        wrong = f"unit {unit!r} does not fit" if unit else "a unit is missing"
        units = " or ".join(u or "none" for u in known[name])
        meant = next((u for u in known[name] if u.lower() == unit.lower() and u), "")
        meant = "pp" if unit == "%" and "pp" in known[name] else meant
        hint = f"did you mean {number}{meant}?" if meant else ""
        raise UsageError(f"{wrong} in gate {text!r}", f"units of {name}: {units}", hint)
    if not unit and "%" in known[name] and _most(name) < abs(float(number)) < 1000:
        raise UsageError(
            f"the limit of gate {text!r} is out of range",
            f"without a unit it is {'a ratio' if _most(name) > 1 else 'a share of 1'}",
            f"did you mean {number}%?",
        )
    if level and level not in LEVELS:
        levels = f"levels: {', '.join(LEVELS)}"
        raise UsageError(
            f"unknown level {level!r} in gate {text!r}", levels, did_you_mean(level, LEVELS)
        )
    return Gate(text.strip(), name, compares, float(number) * UNITS[unit], unit, level or LEVELS[0])


def require(
    gates: Iterable[Gate],
    sources: Collection[str],
    metrics: Mapping[str, Metric] = METRICS,
    baseline: Comparison | None = None,
) -> None:
    """Say before anything runs that a gate will have nothing to read; `sources` are keys of NEEDS.

    Raises:
        UsageError: which gate, and what it needs.
    """
    for gate in gates:
        metric = metrics[_plain(gate.metric)]
        wanted = ["size"] if metric.source == "size" else ["data", metric.source]
        for each in wanted:
            if each not in sources:
                raise _not_computed(gate, each, metrics)
        if gate.metric.endswith(REGRESSION) and (baseline is None or not metric.read(baseline)):
            raise _not_computed(gate, "baseline", metrics)


def judge(
    gates: Iterable[Gate],
    comparison: Comparison,
    metrics: Mapping[str, Metric] = METRICS,
    baseline: Comparison | None = None,
) -> tuple[GateResult, ...]:
    """Hold a comparison, and how it differs from an earlier one, against the gates.

    Raises:
        UsageError: a gate on something that a run did not compute, and what it needs.
    """
    return tuple(_judge(gate, comparison, metrics, baseline) for gate in gates)


def regression(
    metric: Metric, comparison: Comparison, baseline: Comparison | None
) -> Measured | None:
    """How much worse than in the baseline; None where either lacks the metric.

    The interval is that of this run: the baseline's number is taken as it is.
    """
    now = metric.read(comparison)
    before = None if baseline is None else metric.read(baseline)
    if now is None or before is None:
        return None
    (value, interval), (earlier, _) = now, before
    sign = 1.0 if metric.better == "low" else -1.0
    if value == earlier:  # two infinities too: equal outputs then and now
        return 0.0, interval and _moved(interval, earlier, sign)
    return sign * (value - earlier), interval and _moved(interval, earlier, sign)


def _moved(interval: Interval, by: float, sign: float) -> Interval | None:
    if not math.isfinite(by):
        return None
    ends = sorted((sign * (interval.low - by), sign * (interval.high - by)))
    return Interval(ends[0], ends[1])


def _judge(
    gate: Gate,
    comparison: Comparison,
    metrics: Mapping[str, Metric],
    baseline: Comparison | None,
) -> GateResult:
    metric = metrics[_plain(gate.metric)]
    if gate.metric.endswith(REGRESSION):
        measured = regression(metric, comparison, baseline)
        missing = "baseline" if metric.read(comparison) else metric.source
    else:
        measured, missing = metric.read(comparison), metric.source
    if measured is None:
        raise _not_computed(gate, missing, metrics, comparison.notes)
    value, interval = measured
    certain = None if interval is None else gate.limit not in interval
    return GateResult(gate, value, holds(gate, value), certain, interval)


def holds(gate: Gate, value: float) -> bool:
    """Whether a value meets the gate."""
    # 0.9 - 0.895 is a bit more than 0.005: equal up to rounding is equal.
    shares = 1e-12 if gate.unit in ("pp", "%") else 0.0
    same = math.isclose(value, gate.limit, rel_tol=1e-9, abs_tol=shares)
    return bool("=" in gate.operator if same else OPERATORS[gate.operator](value, gate.limit))


def _meant(text: str) -> str:
    """A slip of the pen: => for >=, a comma for the point."""
    mended = text.strip().replace("=>", ">=").replace("=<", "<=").replace(",", ".")
    return f"did you mean {mended!r}?" if mended != text and _GATE.fullmatch(mended) else ""


def _most(name: str) -> float:
    """The largest limit that makes sense without a unit; below 1,000 it is taken for percent."""
    return 10.0 if _plain(name).endswith(".ratio") else 1.0


def _plain(name: str) -> str:
    return name.removesuffix(REGRESSION)


def _units(metrics: Mapping[str, Metric]) -> dict[str, tuple[str, ...]]:
    """The units of every name that a gate may use; a change of a share is written in pp."""
    units = {name: metric.units for name, metric in metrics.items()}
    return units | {
        f"{name}{REGRESSION}": ("pp",) if "%" in each else each for name, each in units.items()
    }


def _not_computed(
    gate: Gate, missing: str, metrics: Mapping[str, Metric], notes: Sequence[str] = ()
) -> UsageError:
    metric, (why, fix) = metrics[_plain(gate.metric)], NEEDS[missing]
    if missing == metric.source:
        why, fix = metric.needs or why, metric.fix or fix
    # A note tells why what is there could not be used.
    told = "".join(f"\n{note}" for note in notes if "not used" in note)
    return UsageError(
        f"gate {gate.text!r} has nothing to read: {gate.metric} was not computed",
        f"it needs {why}{told}",
        fix,
    )


_GATE = re.compile(
    r"([A-Za-z_][\w.]*)\s*(<=|>=|==|<|>)\s*"
    r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z%]*)\s*(?:@\s*(\S+))?"
)

LEVELS = ("error", "warn")
# what others call it -> what it is called here
SYNONYMS = {
    "accuracy": "top1", "acc": "top1", "map50": "mAP", "latency": "latency.ratio",
    "speed": "latency.ratio", "size": "size.ratio", "memory": "memory.ratio", "snr": "sqnr",
}  # fmt: skip
UNITS = {"": 1.0, "pp": 0.01, "%": 0.01, "dB": 1.0, "KB": 1e3, "kB": 1e3, "MB": 1e6, "ms": 1.0}
OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}

# source -> what a metric of it needs, and how to give it
NEEDS = {
    "size": ("two models", ""),
    "data": ("samples to run on", "add  --data DIR"),
    "labels": (
        "something to hold the outputs against",
        "add class folders, labels.csv or labels.npy to the folder of  --data,  or  --scorer",
    ),
    "latency": ("a latency measurement", "add  --latency"),
    "layers": ("the errors of the layers", "add  --layers"),
    "baseline": ("an earlier run that has it", "add  --baseline RUN.json"),
}
