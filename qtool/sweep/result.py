"""What a sweep found, as plain values; docs/sweep.md explains the file that they make.

    {"schema": 1, "qtool": version, "model": path, "run": what must agree for results to be worth
     something beside each other, "axes": {axis: values}, "metric": {"name", "unit", "better"},
     "reference": {what float has: size, metrics}, "cells": [{"name", "values", "recipe", "size",
     "ratio", "layers", "loss", "metrics", "intervals", "pareto", "error", "found"}, …]}

Cells stand in the order of the grid. `loss` is how much worse than float a cell is in the metric
(see `qtool.search.budget`), null where that is infinite; what is not finite is left out of
`metrics`. `pareto`: no cell, nor float, is better in loss, size or, where all were timed, time, and
as good in the others. Sizes are equal that agree in three digits, times to 0.01; of equal losses
the one with the greater SQNR is less. Nothing tells how, in what order or where cells were judged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from qtool import __version__
from qtool.numeric.pareto import optimal
from qtool.search.budget import Budget, Loss
from qtool.sweep.axes import Values
from qtool.sweep.cells import Cell, Failure

SCHEMA = 1
LATENCY = "latency.ratio"


@dataclass(frozen=True)
class Measure:
    """The metric that losses are in; their unit as `Budget` has it, and which way is better."""

    name: str
    unit: str
    better: str = "high"

    def lost(self, loss: float) -> str:
        """A loss in its unit."""
        return Budget(self.name, 0.0, self.unit).shown(loss)

    @property
    def scale(self) -> tuple[float, str]:
        """What the metric itself is shown times, and in which unit."""
        if self.name == "sqnr" or self.unit == "dB":
            return 1.0, "dB"
        return (100.0, "%") if self.unit == "pp" else (1.0, "")


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: bytes, layers that are quantized, and all that a gate could name.

    Of one that failed only the `error` is there. `found` is the recipe of one with mixed bits.
    """

    size: int = 0
    layers: int = 0
    loss: Loss = field(default_factory=lambda: Loss(math.inf, math.inf, math.inf))
    metrics: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    error: Failure | None = None
    found: str | None = None

    @property
    def latency(self) -> float | None:
        """Time of a run over float's, where it was measured."""
        return self.metrics.get(LATENCY)


@dataclass(frozen=True)
class Sweep:
    """A model under a grid. `run` is what must agree before an outcome is taken over."""

    model: str
    run: Mapping[str, Any]
    axes: Values
    metric: Measure
    reference: Outcome
    cells: Sequence[tuple[Cell, Outcome]]

    @property
    def worked(self) -> list[tuple[Cell, Outcome]]:
        """The cells that something came of."""
        return [each for each in self.cells if each[1].error is None]

    def ratio(self, outcome: Outcome) -> float:
        """Bytes over float's."""
        return outcome.size / self.reference.size

    def score(self, outcome: Outcome) -> tuple[float, float, float]:
        """The metric of a cell, and its interval; infinite where it is broken, or as good as float.

        The interval of a score against labels is that of what it differs by from float's.
        """
        name, worst = self.metric.name, -math.inf if self.metric.better == "high" else math.inf
        if name not in outcome.metrics:
            found = worst if outcome.loss.value else -worst
            return found, found, found
        value, drop = outcome.metrics[name], outcome.intervals.get(f"{name}.drop")
        if drop is None:
            return (value, *outcome.intervals.get(name, (value, value)))
        float_, sign = self.reference.metrics[name], 1 if self.metric.better == "low" else -1
        low, high = sorted(float_ + sign * end for end in drop)
        return value, low, high

    def best(self, by: Sequence[str] = ("size", "time")) -> dict[str, bool]:
        """Name -> whether nothing is better in loss, size and, if all were timed, in time.

        The original counts too, as `float`: what is larger and no better is not optimal.
        """
        timed = all(outcome.latency is not None for _, outcome in self.worked)
        named = [("float", self.reference), *((c.name, o) for c, o in self.worked)]
        costs = []
        for name, outcome in named:
            time = 1.0 if name == "float" else outcome.latency or 0.0
            each = {"size": float(f"{outcome.size:.3g}"), "time": round(time, 2) if timed else 0.0}
            costs.append((self._worth(outcome), *(each[cost] for cost in by)))
        return dict(zip((name for name, _ in named), optimal(costs), strict=True))

    def _worth(self, outcome: Outcome) -> tuple[float, float]:
        """The loss; of two that score alike the one whose outputs are closer is better."""
        if outcome is self.reference:
            return 0.0, -math.inf
        equal = outcome.metrics.get("max_abs_error") == 0  # its SQNR is infinite, and left out
        close = math.inf if equal else round(outcome.metrics.get("sqnr", 0.0), 1)
        return outcome.loss.value, -close

    def as_dict(self) -> dict[str, Any]:
        """The sweep as JSON values."""
        best = self.best()
        return {
            "schema": SCHEMA,
            "qtool": __version__,
            "model": self.model,
            "run": self.run,
            "axes": {name: list(values) for name, values in self.axes.items()},
            "metric": asdict(self.metric),
            "reference": {"size": self.reference.size, "metrics": dict(self.reference.metrics)},
            "cells": [
                {
                    "name": cell.name,
                    "values": dict(cell.values),
                    "recipe": cell.recipe and _choices(cell),
                    "ratio": None if outcome.error else self.ratio(outcome),
                    "pareto": best.get(cell.name, False),
                    **plain(outcome),
                }
                for cell, outcome in self.cells
            ],
        }

    def json(self) -> str:
        """The sweep as text, ASCII, with a newline at its end."""
        return json.dumps(self.as_dict(), indent=2, allow_nan=False) + "\n"


def plain(outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON values."""
    found = asdict(outcome)
    found["loss"] = {k: v if math.isfinite(v) else None for k, v in found["loss"].items()}
    if outcome.error or math.isinf(outcome.loss.value):
        found["loss"] = None
    found["intervals"] = {name: list(ends) for name, ends in outcome.intervals.items()}
    return found


def outcome_of(table: Mapping[str, Any]) -> Outcome:
    """What `plain` made these values of. ValueError where it did not."""
    given = {key: table.get(key) for key in Outcome.__dataclass_fields__}
    loss = given["loss"] or {"value": None, "low": None, "high": None}
    try:
        numbers = {key: math.inf if each is None else each for key, each in loss.items()}
        return _OUTCOME.validate_python({**given, "loss": numbers})
    except (ValidationError, AttributeError) as error:
        raise ValueError(str(error)) from error


def with_latency(outcome: Outcome, timed: Outcome) -> Outcome:
    """An outcome with the times that another of the same candidate has."""
    metrics = {**outcome.metrics, **{k: v for k, v in timed.metrics.items() if _timed(k)}}
    intervals = {**outcome.intervals, **{k: v for k, v in timed.intervals.items() if _timed(k)}}
    return replace(outcome, metrics=metrics, intervals=intervals)


def _timed(metric: str) -> bool:
    return metric.split(".")[0] in ("latency", "load", "memory")


def _choices(cell: Cell) -> dict[str, Any]:
    """The recipe as a table that could be written as TOML."""
    assert cell.recipe is not None
    found = cell.recipe.model_dump(mode="json", exclude={"data"}, exclude_none=True)
    return {**found, "scheme": cell.recipe.scheme_in_full()}


_OUTCOME = TypeAdapter(Outcome)
