"""Scores of the user's own: a function in a Python file, called for each sample.

    def edit_distance(outputs, label):
        return distance(decode(outputs["logits"]), label)

    edit_distance.better = "low"

The arguments are known by their names: `outputs` (name -> array of the sample), `label` (as the
data has it, or None), `inputs` (name -> array) and `name` (of the sample). It gives one finite
number; the score is the mean. More is better unless the function's `better` is "low".
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from qtool.compare.kinds import Kind, score
from qtool.compare.metrics import METRICS
from qtool.compare.truth.held import Array, Judged, Outputs
from qtool.errors import DataError, UsageError, did_you_mean
from qtool.numeric.metrics import mean

ARGUMENTS = ("outputs", "label", "inputs", "name")


def digest_of(text: str) -> str:
    """The name of a FILE:FUNCTION, and a digest of the file that it stands in."""
    file, _, name = text.rpartition(":")
    return f"{name} {hashlib.sha256(Path(file).read_bytes()).hexdigest()}"


@dataclass(frozen=True)
class Scorer:
    """A function of one sample, its name, and which of ARGUMENTS it takes."""

    name: str
    kind: Kind
    function: Callable[..., Any]
    takes: tuple[str, ...]


def load_scorers(texts: Sequence[str]) -> tuple[Scorer, ...]:
    """The functions that `file.py:function` names.

    Raises:
        UsageError: no such file or function, or one that cannot be called as a scorer.
    """
    found = tuple(_load(text) for text in texts)
    names = [scorer.name for scorer in found]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two scorers are called {name!r}", fix="rename one of the functions")
    return found


def _load(text: str) -> Scorer:
    file, colon, name = text.rpartition(":")
    if not colon or not name.isidentifier():
        raise UsageError(f"--scorer {text!r} names no function", fix="give  file.py:function")
    if not Path(file).is_file():
        raise UsageError(f"--scorer {text!r}: there is no file {file}")
    if name in {metric.split(".")[0] for metric in METRICS}:
        raise UsageError(
            f"--scorer {text!r}: {name} is a metric already", fix="give the function another name"
        )
    made = ModuleType("qtool_scorer")
    made.__file__ = file
    try:
        exec(compile(Path(file).read_bytes(), file, "exec"), made.__dict__)
    except (Exception, SystemExit) as error:  # it is the user's code
        why = f"{type(error).__name__}: {error}"
        raise UsageError(f"--scorer {text!r}: {file} does not run", why) from error
    functions = [key for key, value in vars(made).items() if inspect.isroutine(value)]
    if name not in functions:
        why = f"it has {', '.join(functions) or 'none'}"
        hint = did_you_mean(name, functions)
        raise UsageError(f"--scorer {text!r}: {file} has no function {name!r}", why, hint)
    function = getattr(made, name)
    better = getattr(function, "better", "high")
    if better not in ("high", "low"):
        raise UsageError(f"--scorer {text!r}: {name}.better is {better!r}", 'it is "high" or "low"')
    return Scorer(name, Kind(mean, "", better), function, _arguments(text, function))


def _arguments(text: str, function: Callable[..., Any]) -> tuple[str, ...]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError as error:
        raise UsageError(f"--scorer {text!r}: its arguments are not known", str(error)) from error
    for each in parameters:
        wanted = each.default is each.empty and each.kind not in (each.VAR_KEYWORD,)
        if each.name not in ARGUMENTS and wanted:
            raise UsageError(
                f"--scorer {text!r}: nothing is known to give for its argument {each.name!r}",
                f"arguments are known by their names: {', '.join(ARGUMENTS)}",
                did_you_mean(each.name, ARGUMENTS),
            )
    return tuple(each.name for each in parameters if each.name in ARGUMENTS)


class Custom:
    """One such score, of both models. `labels` are of all samples, or None; so are `names`."""

    def __init__(self, scorer: Scorer, labels: Array | None, names: Sequence[str]) -> None:
        self.inputs = "inputs" in scorer.takes
        self.alone = True
        self._scorer = scorer
        self._labels = labels
        self._names = names
        self._found: list[tuple[float, float]] = []

    def see(self, feeds: Outputs, reference: Outputs, candidate: Outputs, count: int) -> None:
        """Call the function on each of the next samples.

        Raises:
            UsageError: it fails, or gives no number.
            DataError: the outputs cannot be told apart by sample.
        """
        for row in range(count):
            index = len(self._found)
            given = {
                "label": None if self._labels is None else self._labels[index],
                "name": self._names[index],
                "inputs": _sample(feeds, row, count) if self.inputs else {},
            }
            left = self._call(given | {"outputs": _sample(reference, row, count)})
            right = self._call(given | {"outputs": _sample(candidate, row, count)})
            self._found.append((left, right))

    def judge(self) -> Judged:
        """The mean over all samples."""
        kind, found = self._scorer.kind, np.asarray(self._found)
        if np.isin(found, (0, 1)).all():  # hits and misses
            kind, found = replace(kind, rate=True), found > 0
        reference, candidate = found.T
        return Judged(scores={self._scorer.name: score(kind, (reference,), (candidate,))})

    def _call(self, given: Mapping[str, Any]) -> float:
        what = f"the scorer {self._scorer.name!r}"
        try:
            found = self._scorer.function(**{key: given[key] for key in self._scorer.takes})
            value = float(found)
        except (Exception, SystemExit) as error:  # it is the user's code
            why = f"{type(error).__name__}: {error}; the outputs are {', '.join(given['outputs'])}"
            raise UsageError(
                f"{what} fails on sample {given['name']}", why, "-v shows where"
            ) from error
        if not math.isfinite(value):
            raise UsageError(
                f"{what} gives {value} for sample {given['name']}", fix="give a finite number"
            )
        return value


def _sample(values: Outputs, row: int, count: int) -> dict[str, Any]:
    """One sample's part of each array; of a single sample all of what has no axis of samples."""
    found = {}
    for name in values:
        value = values[name]
        size = len(value) if isinstance(value, list) else np.shape(value)[:1]
        if size in ((count,), count) and (count > 1 or size == (1,)):
            part = value[row]
        elif count == 1:
            part = value
        else:
            raise DataError(
                f"output {name!r} cannot be split into {count} samples",
                f"its shape is {size}",
                "use  --batch-size 1",
            )
        if isinstance(part, np.ndarray) and part.ndim:
            part = part.view()
            part.flags.writeable = False  # another scorer, and the comparison, read it too
        found[name] = part
    return found
