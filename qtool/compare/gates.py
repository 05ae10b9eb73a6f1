"""Gates: `METRIC OPERATOR NUMBER[UNIT] [@LEVEL]`, as in `top1.drop <= 0.5pp @warn`.

A metric of several outputs is that of its worst one. A bare number is in the metric's own unit
(bytes, ms, dB, a share of 1); a drop of a share must say pp, since 0.5 would be half of everything.
KB (or kB) and MB are 1,000 and 1,000,000 bytes.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from qtool.compare.result import Comparison, OutputComparison, finite
from qtool.errors import UsageError, did_you_mean
from qtool.numeric.bootstrap import Interval

Measured = tuple[float, Interval | None]
Reader = Callable[[Comparison], Measured | None]


@dataclass(frozen=True)
class Metric:
    """What a gate can name: the units it may be written in, and what it is computed from."""

    units: tuple[str, ...]
    source: str
    read: Reader
    needs: str = ""


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
    value without an interval.
    """

    gate: Gate
    value: float
    passed: bool
    certain: bool | None

    @property
    def failed(self) -> bool:
        """Whether this decides the exit code: not passed, at the level error."""
        return not self.passed and self.gate.level == "error"

    def as_dict(self) -> dict[str, Any]:
        """JSON values; a value that is not finite is null."""
        found: dict[str, Any] = finite(
            {
                "gate": self.gate.text,
                "metric": self.gate.metric,
                "value": self.value,
                "limit": self.gate.limit,
                "passed": self.passed,
                "level": self.gate.level,
                "certain": self.certain,
            }
        )
        return found


def parse(text: str) -> Gate:
    """Read one gate.

    Raises:
        UsageError: not a gate, or an unknown metric, unit or level.
    """
    parts = _GATE.fullmatch(text.strip())
    if parts is None:
        raise UsageError(
            f"not a gate: {text!r}",
            f"a gate is METRIC OPERATOR NUMBER[UNIT] [@LEVEL]\nmetrics: {', '.join(METRICS)}\n"
            f"operators: {' '.join(OPERATORS)}; levels: {', '.join(LEVELS)}",
            'for example  --gate "top1.drop <= 0.5pp"',
        )
    name, compares, number, unit, level = parts.groups(default="")
    if name not in METRICS:
        known = f"known: {', '.join(METRICS)}"
        raise UsageError(
            f"unknown metric {name!r} in gate {text!r}", known, did_you_mean(name.lower(), METRICS)
        )
    units = METRICS[name].units
    if unit not in units:
        wrong = f"unit {unit!r} does not fit" if unit else "a unit is missing"
        known = " or ".join(u or "none" for u in units)
        raise UsageError(f"{wrong} in gate {text!r}", f"units of {name}: {known}")
    if level and level not in LEVELS:
        known = f"levels: {', '.join(LEVELS)}"
        raise UsageError(
            f"unknown level {level!r} in gate {text!r}", known, did_you_mean(level, LEVELS)
        )
    return Gate(text.strip(), name, compares, float(number) * UNITS[unit], unit, level or LEVELS[0])


def require(gates: Iterable[Gate], sources: Collection[str]) -> None:
    """Say before anything runs that a gate will have nothing to read; `sources` are keys of NEEDS.

    Raises:
        UsageError: which gate, and what it needs.
    """
    for gate in gates:
        missing = [s for s in ("data", METRICS[gate.metric].source) if s not in sources]
        if missing and METRICS[gate.metric].source != "size":
            raise _not_computed(gate, missing[0])


def judge(gates: Iterable[Gate], comparison: Comparison) -> tuple[GateResult, ...]:
    """Hold a comparison against the gates.

    Raises:
        UsageError: a gate on something that this run did not compute, and what it needs.
    """
    return tuple(_judge(gate, comparison) for gate in gates)


def _judge(gate: Gate, comparison: Comparison) -> GateResult:
    measured = METRICS[gate.metric].read(comparison)
    if measured is None:
        raise _not_computed(gate, METRICS[gate.metric].source)
    value, interval = measured
    # 0.9 - 0.895 is a bit more than 0.005: equal up to rounding is equal.
    same = math.isclose(value, gate.limit, rel_tol=1e-9)
    passed = "=" in gate.operator if same else OPERATORS[gate.operator](value, gate.limit)
    certain = None if interval is None else gate.limit not in interval
    return GateResult(gate, value, bool(passed), certain)


def _not_computed(gate: Gate, missing: str) -> UsageError:
    why, fix = NEEDS[missing]
    return UsageError(
        f"gate {gate.text!r} has nothing to read: {gate.metric} was not computed",
        f"it needs {METRICS[gate.metric].needs or why}",
        fix,
    )


def _score(name: str, of: str) -> Reader:
    def read(comparison: Comparison) -> Measured | None:
        score = comparison.scores.get(name)
        if score is None:
            return None
        if of == "ratio":
            return None if score.ratio is None else (score.ratio, score.ratio_interval)
        return (score.drop, score.interval) if of == "drop" else (score.candidate, None)

    return read


def _worst(choose: Callable[..., float], of: Callable[[OutputComparison], float | None]) -> Reader:
    """The worst output's: of floats where there are any, since class ids have no useful SQNR."""

    def read(comparison: Comparison) -> Measured | None:
        outputs = [o for o in comparison.outputs if o.kind != "label"]
        floats = [o for o in outputs if o.dtype.startswith("float")]
        values = [of(output) for output in floats or outputs]
        known = [value for value in values if value is not None]
        if any(math.isnan(value) for value in known):
            return math.nan, None
        return (choose(known), None) if known else None

    return read


def _agreement(comparison: Comparison) -> Measured | None:
    rates = [o.agreement for o in comparison.outputs if o.agreement is not None]
    worst = min(rates, key=lambda rate: rate.value, default=None)
    return None if worst is None else (worst.value, worst.interval)


def _latency(of: str) -> Reader:
    def read(comparison: Comparison) -> Measured | None:
        found = comparison.latency
        if found is None:
            return None
        return float(getattr(found, of)), found.interval if of == "ratio" else None

    return read


_GATE = re.compile(
    r"([A-Za-z][\w.]*)\s*(<=|>=|==|<|>)\s*"
    r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z%]*)\s*(?:@\s*(\S+))?"
)

LEVELS = ("error", "warn")
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
    "labels": ("labels", "add class folders, labels.csv or labels.npy to the folder of  --data"),
    "latency": ("a latency measurement", "add  --latency"),
}

_DROP, _RATE, _PLAIN = ("pp",), ("%", ""), ("",)
_CLASSES = "integer labels and an output of class scores or of predicted classes"
_TOP5 = "integer labels and an output of class scores, six classes or more"
_VALUES = "float labels and an output of one number for each sample"
_LOSS = "float labels and an output of their shape"
_DISTANCE = "data and an output of numbers other than predicted classes"

METRICS = {
    "top1": Metric(_RATE, "labels", _score("top1", "candidate"), _CLASSES),
    "top1.drop": Metric(_DROP, "labels", _score("top1", "drop"), _CLASSES),
    "top5": Metric(_RATE, "labels", _score("top5", "candidate"), _TOP5),
    "top5.drop": Metric(_DROP, "labels", _score("top5", "drop"), _TOP5),
    "f1": Metric(_RATE, "labels", _score("f1", "candidate"), _CLASSES),
    "f1.drop": Metric(_DROP, "labels", _score("f1", "drop"), _CLASSES),
    "mse": Metric(_PLAIN, "labels", _score("mse", "candidate"), _LOSS),
    "mse.drop": Metric(_PLAIN, "labels", _score("mse", "drop"), _LOSS),
    "mse.ratio": Metric(_RATE, "labels", _score("mse", "ratio"), _LOSS),
    "r2": Metric(_PLAIN, "labels", _score("r2", "candidate"), _VALUES),
    "r2.drop": Metric(_PLAIN, "labels", _score("r2", "drop"), _VALUES),
    "agreement": Metric(_RATE, "data", _agreement, "data and an output of classes or class scores"),
    "sqnr": Metric(("dB", ""), "data", _worst(min, lambda o: o.sqnr_db), _DISTANCE),
    "cosine": Metric(_PLAIN, "data", _worst(min, lambda o: o.cosine), _DISTANCE),
    "max_abs_error": Metric(_PLAIN, "data", _worst(max, lambda o: o.max_abs_error), _DISTANCE),
    "mean_abs_error": Metric(_PLAIN, "data", _worst(max, lambda o: o.mean_abs_error), _DISTANCE),
    "kl": Metric(
        _PLAIN, "data", _worst(max, lambda o: o.kl), "data and an output of probabilities"
    ),
    "size.bytes": Metric(("MB", "KB", "kB", ""), "size", lambda c: (float(c.size.candidate), None)),
    "size.ratio": Metric(_RATE, "size", lambda c: (c.size.ratio, None)),
    "latency.ratio": Metric(_RATE, "latency", _latency("ratio")),
    "latency.median": Metric(("ms", ""), "latency", _latency("candidate_median_ms")),
    "latency.p90": Metric(("ms", ""), "latency", _latency("candidate_p90_ms")),
}
