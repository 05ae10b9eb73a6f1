"""Budgets: how much worse a candidate may be, as it is asked for and as it is measured.

    score in shares   drop, in pp              agreement   1 - agreement, in pp
    score in dB       drop, in dB              sqnr        noise over signal, in % (1 % is 20 dB)
    a loss            what it grew by, in %    any other   drop, a plain number

A budget of noise may be written as the SQNR: 40dB is 0.01 %.

The number of samples alone makes an interval wide: a model against itself has one of +-1.1 pp on
270 samples. That is the `doubt`. A candidate is inside a budget if

    loss <= budget    and    upper end of its interval <= max(budget, doubt)

so the whole interval has to lie inside, but few samples are no reason to refuse what is as good as
float on all of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from qtool.compare.kinds import KINDS
from qtool.compare.metrics import METRICS
from qtool.compare.result import Comparison
from qtool.errors import UsageError, did_you_mean
from qtool.numeric.bootstrap import Interval

_FACTORS = {"pp": 0.01, "%": 0.01, "dB": 1.0, "": 1.0}


@dataclass(frozen=True)
class Loss:
    """How much worse than float, and the 95 % interval of that; in shares, dB or plain numbers."""

    value: float
    low: float
    high: float


Reader: TypeAlias = Callable[[Comparison], Loss | None]


@dataclass(frozen=True)
class Budget:
    """A metric, and the greatest loss in it; `unit` is how it is written."""

    metric: str
    limit: float
    unit: str

    def holds(self, loss: Loss, doubt: float) -> bool:
        """Whether a candidate is inside, given the upper end that a model against itself has."""
        return loss.value <= self.limit and loss.high <= max(self.limit, doubt)

    def shown(self, value: float) -> str:
        """A loss in the budget's unit."""
        number = value / _FACTORS[self.unit]
        return f"{number:.3g}{'' if self.unit in ('', '%') else ' '}{self.unit}"


def parse_amount(text: str, option: str = "--max-drop") -> tuple[float, str]:
    """`0.5pp` -> (0.5, "pp"); `option` is what gave it.

    Raises:
        UsageError: not a number of 0 or more, or an unknown unit.
    """
    found = re.fullmatch(r"\s*([0-9.eE+-]+)\s*(pp|%|dB)?\s*", text)
    try:
        number = float(found[1]) if found else math.nan
    except ValueError:
        number = math.nan
    if found is None or not 0 <= number < math.inf:
        raise UsageError(
            f"{option} {text!r} is no budget",
            "it is a number of 0 or more and a unit: pp, % or dB, or none",
            f"try  {option} 0.5pp",
        )
    return number, found[2] or ""


def budget_for(
    text: str, metric: str, comparison: Comparison, option: str = "--max-drop"
) -> Budget:
    """The budget in a metric; without a name (`""`) in the best that the comparison has.

    Raises:
        UsageError: the comparison does not have the metric, or it has another unit.
    """
    known = {*comparison.scores, *(name for name in _OTHERS if _OTHERS[name][1](comparison))}
    name = metric or _best(comparison)
    if name not in known:
        spelt = did_you_mean(name, {*KINDS, *_OTHERS, *known})
        needs = METRICS[name].needs if name in METRICS else ""
        raise UsageError(
            f"--metric {name!r} cannot be had here",
            f"it needs {needs}" if needs else f"there are {', '.join(sorted(known))}",
            spelt if needs == "" else METRICS[name].fix,
        )
    unit = _unit(name, comparison)
    number, given = parse_amount(text, option)
    if name == "sqnr" and given == "dB":
        number, given = 100 * _noise(number), "%"
    if given != unit and not (given == "" and number == 0):
        raise UsageError(
            f"{option} {text} is not in the unit of {name}",
            f"a loss in {name} is counted in {_WORDS[unit]}",
            f"write  {option} {number:g}{unit}",
        )
    return Budget(name, number * _FACTORS[unit], unit)


def loss_of(comparison: Comparison, metric: str) -> Loss:
    """How much worse the candidate is. What cannot be computed, or is not finite, is infinite."""
    reader = _OTHERS[metric][1] if metric in _OTHERS else _score(metric)
    found = reader(comparison)
    if found is None or math.isnan(found.value):
        return Loss(math.inf, math.inf, math.inf)
    return found


def _best(comparison: Comparison) -> str:
    """A scorer of the user's own, else the first score there is, else agreement, else SQNR."""
    own = [name for name in comparison.scores if name not in KINDS]
    listed = [name for name in KINDS if name in comparison.scores]
    others = [name for name, (_, read) in _OTHERS.items() if read(comparison)]
    return next(iter((*own, *listed, *others)), "sqnr")


def _unit(name: str, comparison: Comparison) -> str:
    if name in _OTHERS:
        return _OTHERS[name][0]
    score = comparison.scores[name]
    return {"share": "pp", "dB": "dB"}.get(score.unit, "%" if score.better == "low" else "")


def _score(name: str) -> Reader:
    def read(comparison: Comparison) -> Loss | None:
        score = comparison.scores.get(name)
        if score is None:
            return None
        if score.better == "low" and score.unit == "":
            return _less(score.ratio, score.ratio_interval, lambda ratio: ratio - 1)
        return Loss(score.drop, score.interval.low, score.interval.high)

    return read


def _other(name: str, change: Callable[[float], float]) -> Reader:
    """Of a metric of which more is better."""

    def read(comparison: Comparison) -> Loss | None:
        found = METRICS[name].read(comparison)
        if found is None:
            return None
        value, interval = found
        turned = interval and Interval(interval.high, interval.low)
        return _less(value, turned, change)

    return read


def _less(
    value: float | None, interval: Interval | None, change: Callable[[float], float]
) -> Loss | None:
    if value is None:
        return None
    ends = (interval.low, interval.high) if interval else (value, value)
    return Loss(change(value), change(ends[0]), change(ends[1]))


def _noise(db: float) -> float:
    return math.inf if db == -math.inf else 10 ** (-db / 10)


_OTHERS: dict[str, tuple[str, Reader]] = {
    "agreement": ("pp", _other("agreement", lambda share: 1 - share)),
    "sqnr": ("%", _other("sqnr", _noise)),
}
_WORDS = {"pp": "percentage points (pp)", "%": "percent (%)", "dB": "dB", "": "its own unit"}
