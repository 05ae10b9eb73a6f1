"""What a search has tried so far, in a file: it goes on from there, and the table stays.

{"format": 1, "search": what tells one search from another, "done": false,
 "effects": …, "trials": [{"recipe": TOML, "size": bytes, "share": …, "loss": …, …}, …]}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qtool.files import atomic_write, check_output
from qtool.numeric.pareto import optimal
from qtool.search.bounded import Trial
from qtool.search.budget import Loss
from qtool.sensitivity.effects import Effects

FORMAT = 1


class Journal:
    """Trials by recipe. `search` holds all that must agree for them to be worth something.

    Raises:
        UsageError: there is another file of that name, and `force` is not given.
    """

    def __init__(self, path: Path, search: Mapping[str, Any], *, force: bool) -> None:
        self.path, self.search = path, dict(search)
        self.trials: dict[str, Trial] = {}
        self.effects: Effects | None = None
        self.went_on = 0
        self.replaced = False  # an unfinished one of another search
        known = _read(path)
        unfinished = known is not None and not known["done"]
        if known is not None and known["search"] == self.search:
            self.trials = {trial.recipe: trial for trial in known["trials"]}
            self.effects, self.went_on = known["effects"], len(self.trials)
            check_output(path, force=True)
        else:
            self.replaced = unfinished
            check_output(path, force=force or unfinished)

    def add(self, trial: Trial) -> None:
        """Keep a trial, in the file too."""
        self.trials[trial.recipe] = trial
        self.write()

    def write(self, *, done: bool = False, **more: Any) -> None:
        """Write the file, whole or not at all; `more` is said in it besides."""
        table = {
            "format": FORMAT,
            "search": self.search,
            "done": done,
            **more,
            "effects": self.effects and _plain(self.effects),
            "trials": self._table(),
        }
        text = json.dumps(_finite(table), indent=1, allow_nan=False, ensure_ascii=False)
        atomic_write(self.path, f"{text}\n".encode(), force=True)

    def _table(self) -> list[dict[str, Any]]:
        """The trials, and whether nothing tried is better in loss, size or integers, and as good in
        the others."""
        trials = list(self.trials.values())
        best = optimal([(t.loss.value, t.size, -t.share) for t in trials])
        return [{**asdict(trial), "pareto": flag} for trial, flag in zip(trials, best, strict=True)]


def _read(path: Path) -> dict[str, Any] | None:
    """The file with its trials, if it is one of ours and whole."""
    try:
        found = json.loads(path.read_bytes())
        if found["format"] != FORMAT or not {"search", "done", "effects"} <= found.keys():
            return None
        effects = found["effects"] and _effects(found["effects"])
        return {**found, "effects": effects, "trials": [_trial(t) for t in found["trials"]]}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _trial(table: Mapping[str, Any]) -> Trial:
    loss = {key: math.inf if v is None else v for key, v in table["loss"].items()}
    expected = math.nan if table["expected"] is None else table["expected"]
    known = {key: value for key, value in table.items() if key != "pareto"}
    return Trial(**{**known, "loss": Loss(**loss), "expected": expected})


def _plain(effects: Effects) -> dict[str, Any]:
    """JSON has no keys but text."""
    weights = [[node, position, p] for (node, position), p in effects.weights.items()]
    return {**asdict(effects), "weights": weights}


def _effects(table: Mapping[str, Any]) -> Effects:
    known = {name: math.nan if p is None else p for name, p in table["activations"].items()}
    weights = {(n, at): math.nan if p is None else p for n, at, p in table["weights"]}
    return Effects(**{**table, "activations": known, "weights": weights})


def _finite(value: Any) -> Any:
    """JSON has no other numbers: null stands for the others."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
