"""What a gate can name: every number of a comparison, a row each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from qtool.compare.kinds import KINDS, Kind
from qtool.compare.result import Comparison, OutputComparison
from qtool.numeric.bootstrap import Interval
from qtool.numeric.metrics import mean

Measured = tuple[float, Interval | None]
Reader = Callable[[Comparison], Measured | None]


@dataclass(frozen=True)
class Metric:
    """The units it may be written in, where it comes from (a key of NEEDS), which way is better.

    `read` gives the value and its interval, or None where a run did not compute it.
    """

    units: tuple[str, ...]
    source: str
    read: Reader
    needs: str = ""
    better: str = "low"
    fix: str = ""


def of_scores(kinds: Mapping[str, Kind]) -> dict[str, Metric]:
    """For each score the candidate's value, its drop and, for a loss, its ratio."""
    found = {}
    for name, kind in kinds.items():
        values, drops = _UNITS[kind.unit]
        said = {"needs": kind.needs, "fix": kind.fix}
        value, drop = _score(name, "value"), _score(name, "drop")
        found[name] = Metric(values, "labels", value, better=kind.better, **said)
        found[f"{name}.drop"] = Metric(drops, "labels", drop, **said)
        if kind.better == "low":
            read = _score(name, "ratio")
            found[f"{name}.ratio"] = Metric(_RATE, "labels", read, **said)
    return found


def values(comparison: Comparison, metrics: Mapping[str, Metric]) -> dict[str, Measured]:
    """Every metric that the comparison has."""
    found = {name: metric.read(comparison) for name, metric in metrics.items()}
    return {name: measured for name, measured in found.items() if measured is not None}


def metrics_of(comparison: Comparison) -> dict[str, Metric]:
    """All metrics, those of a scorer of the user's included."""
    own = {
        name: Kind(mean, "", score.better, score.unit)
        for name, score in comparison.scores.items()
        if name not in KINDS
    }
    return {**METRICS, **of_scores(own)}


def _score(name: str, of: str) -> Reader:
    def read(comparison: Comparison) -> Measured | None:
        score = comparison.scores.get(name)
        if score is None:
            return None
        if of == "ratio":
            return None if score.ratio is None else (score.ratio, score.ratio_interval)
        if of == "drop":
            return score.drop, score.interval
        return score.candidate, score.candidate_interval

    return read


def _worst(choose: Callable[..., Measured], of: str) -> Reader:
    """The worst output's: of floats where there are any, since class ids have no useful SQNR."""

    def read(comparison: Comparison) -> Measured | None:
        outputs = [o for o in comparison.outputs if o.kind != "label"]
        floats = [o for o in outputs if o.dtype.startswith("float")]
        known = [m for o in floats or outputs if (m := _distance(o, of)) is not None]
        if any(math.isnan(value) for value, _ in known):
            return math.nan, None
        return choose(known, key=lambda measured: measured[0]) if known else None

    return read


def _distance(output: OutputComparison, of: str) -> Measured | None:
    value = getattr(output, of)
    return None if value is None else (value, output.intervals.get(of))


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


def _footprint(of: str) -> Reader:
    def read(comparison: Comparison) -> Measured | None:
        value = getattr(comparison.footprint, of, None)
        return None if value is None else (float(value), None)

    return read


def _own(comparison: Comparison) -> Measured | None:
    found = [layer.own_db for layer in comparison.layers]
    return (min(found), None) if found else None


def _clipped(comparison: Comparison) -> Measured | None:
    found = [layer.clipped for layer in comparison.layers if layer.clipped is not None]
    return (max(found), None) if found else None


_DROP, _RATE, _PLAIN, _DB = ("pp",), ("%", ""), ("",), ("dB", "")
_BYTES, _MS = ("MB", "KB", "kB", ""), ("ms", "")
# unit of a score -> units of its value, and of its drop: 0.5 of a share would be half of everything
_UNITS = {"share": (_RATE, _DROP), "dB": (_DB, _DB), "": (_PLAIN, _PLAIN)}
_DISTANCE = "data and an output of numbers other than predicted classes"
_CLASSES = "data and an output of classes or class scores"
_PROBABLE = "data and an output of probabilities"

METRICS: Mapping[str, Metric] = {
    **of_scores(KINDS),
    "agreement": Metric(_RATE, "data", _agreement, _CLASSES, "high"),
    "sqnr": Metric(_DB, "data", _worst(min, "sqnr_db"), _DISTANCE, "high"),
    "cosine": Metric(_PLAIN, "data", _worst(min, "cosine"), _DISTANCE, "high"),
    "max_abs_error": Metric(_PLAIN, "data", _worst(max, "max_abs_error"), _DISTANCE),
    "mean_abs_error": Metric(_PLAIN, "data", _worst(max, "mean_abs_error"), _DISTANCE),
    "kl": Metric(_PLAIN, "data", _worst(max, "kl"), _PROBABLE),
    "size.bytes": Metric(_BYTES, "size", lambda c: (float(c.size.candidate), None)),
    "size.ratio": Metric(_RATE, "size", lambda c: (c.size.ratio, None)),
    "latency.ratio": Metric(_RATE, "latency", _latency("ratio")),
    "latency.median": Metric(_MS, "latency", _latency("candidate_median_ms")),
    "latency.p90": Metric(_MS, "latency", _latency("candidate_p90_ms")),
    "load.ratio": Metric(_RATE, "latency", _footprint("load_ratio")),
    "load.time": Metric(_MS, "latency", _footprint("candidate_load_ms")),
    "memory.ratio": Metric(_RATE, "latency", _footprint("memory_ratio")),
    "memory.bytes": Metric(_BYTES, "latency", _footprint("candidate_memory")),
    "layers.own": Metric(_DB, "layers", _own, "", "high"),
    "layers.clipped": Metric(_RATE, "layers", _clipped),
}
