"""What each quantized tensor alone does to a model's outputs, from two passes for all of them.

    effect(s) = mean over outputs of    |output with s alone quantized - float output|^2 per value
                                        / |float output|^2 per value

The float model runs on every sample, and so does a graph with gates (`gates`), of which each run
opens one: sources take turns (`turns`). The signal is that of all samples, the noise of those that
the source met. Sums are exact, so their order means nothing.

Where an output is a Softmax, its logarithm is meant (LogSoftmax in its place): of the noise of
probabilities the few samples that are in doubt make nearly all, 90 % by 5 % of them, so that nobody
could tell sources apart that met others. What all classes have in common changes no decision, but
leaving it out changes no ranking either, so it is left in.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool import model as models
from qtool.apart import open_model
from qtool.compare.rows import real
from qtool.data.carry import Carry
from qtool.data.dataset import Dataset
from qtool.plan.plan import Plan
from qtool.plan.sites import Sites
from qtool.runtime import Session
from qtool.sensitivity.gates import Key, gated
from qtool.sensitivity.turns import Order, ranked, turns_of

Feeds = Mapping[str, NDArray[Any]]
Results = Mapping[str, Any]
Step = Callable[[int, int], None]


@dataclass(frozen=True)
class Effects:
    """Noise over power of the outputs with one tensor, or a group of one scale, alone quantized.

    `activations` are by source; `weights` as in the plan, `operands` among them. NaN is not known:
    no output is a real number. Of a Softmax it is that of its logarithm. `runs` counts units of
    data with a gate open. `whole` is the noise of the candidate, if there was one; `seconds` is
    what the float model took.
    """

    activations: Mapping[str, float]
    weights: Mapping[Key, float]
    runs: int
    whole: float = math.nan
    seconds: float = field(default=0.0, compare=False)

    @property
    def total(self) -> float:
        """The sum: what all of them do together, were their noises strangers to each other."""
        return math.fsum((*self.activations.values(), *self.weights.values()))


def effects_of(
    model: ir.Model,
    sites: Sites,
    plan: Plan,
    data: Dataset,
    *,
    batch_size: int = 1,
    threads: int = 0,
    step: Step = lambda done, total: None,
    candidate: Path | None = None,
    order: Order | None = None,
) -> Effects:
    """Run the float model and the one with gates over the samples.

    Args:
        model, sites: as the plan was decided for them.
        threads: 0 is one, so that no figure depends on the number of cores.
        step: called with (samples done, samples in all).
        candidate: the quantized model, to be run too.
        order: the units as `ranked` has them, if that is known.

    Raises:
        DataError: a sample cannot be read or fed.
        ModelError: the model does not run on one.
        UsageError: as `Dataset.blocks`.
    """
    made = None if candidate is None else models.load(candidate)
    soft = softened(model, plan, made)
    doors, model = gated(model, sites, plan), model.clone()
    for each in (model, doors.model, *(() if made is None else (made,))):
        take_logarithms(each, soft)
    gates = [*doors.activations.values(), *doors.weights.values()]
    closed = dict.fromkeys(gates, np.array(False))
    opened = [{**closed, name: np.array(True)} for name in gates]
    exact, gate = (open_model(each, threads=threads or 1) for each in (model, doors.model))
    whole = None if made is None else open_model(made, threads=threads or 1)
    order = ranked(data, batch_size) if order is None else order
    turns, noises = turns_of(data, batch_size, len(gates), order), [Noise() for _ in gates]
    power, together, done, seconds = Noise(), Noise(), 0, 0.0
    for block, sources in zip(turns.blocks, turns.sources, strict=True):
        first, last, *others = (Carry(data.declaration.carry) for _ in range(2 + len(sources)))
        for feeds in turns.batches(block):
            begin = time.perf_counter()
            expected = _run(exact, first, feeds)
            seconds += time.perf_counter() - begin
            power.add(expected, expected)
            if whole is not None:
                together.add(expected, _run(whole, last, feeds))
            for source, carry in zip(sources, others, strict=True):
                found = _run(gate, carry, {**feeds, **opened[source]})
                noises[source].add(expected, found)
        done += len(block)
        step(done, len(data))
    shares, count = [noise.over(power) for noise in noises], len(doors.activations)
    return Effects(
        dict(zip(doors.activations, shares[:count], strict=True)),
        dict(zip(doors.weights, shares[count:], strict=True)),
        turns.runs,
        together.over(power),
        seconds,
    )


def softened(model: ir.Model, plan: Plan, *others: ir.Model | None) -> frozenset[str]:
    """The outputs that a Softmax makes, in float and for nobody else, in all of these models."""
    found = [_softmaxes(each) for each in (model, *others) if each is not None]
    return frozenset.intersection(*map(frozenset, found)) - plan.activations.keys()


def _softmaxes(model: ir.Model) -> dict[str, ir.Node]:
    makers = {v.name or "": v.producer() for v in model.graph.outputs if not v.uses()}
    return {
        name: node
        for name, node in makers.items()
        if node is not None and (node.domain, node.op_type) == ("", "Softmax")
    }


def take_logarithms(model: ir.Model, names: frozenset[str]) -> None:
    """Let these outputs be the logarithms of what they are."""
    for name, node in _softmaxes(model).items():
        if name in names:
            node.op_type = "LogSoftmax"


def _run(session: Session, carry: Carry, feeds: Feeds) -> Results:
    results = session.run(carry.fill(feeds))
    carry.keep(results)
    return results


_SIGNAL, _ERROR, _COUNT = 0, 1, 2


@dataclass
class Noise:
    """What runs leave of each output of real numbers: squares of signal and error, and counts."""

    _runs: dict[str, list[tuple[float, float, int]]] = field(default_factory=dict)

    def add(self, expected: Results, found: Results) -> None:
        """Take in one run."""
        for name, output in expected.items():
            if (value := real(output)) is not None:
                self._runs.setdefault(name, []).append(_squares(value, real(found[name])))

    def over(self, power: Noise) -> float:
        """The error over a signal, the mean of all outputs that have one; NaN where none has."""
        heard = {name: power._mean(name, _SIGNAL) for name in power._runs}
        shares = [self._mean(name, _ERROR) / loud for name, loud in heard.items() if loud]
        return math.fsum(shares) / len(shares) if shares and self._runs else math.nan

    def _mean(self, name: str, column: int) -> float:
        runs = self._runs.get(name, [])
        return math.fsum(run[column] for run in runs) / max(1, sum(run[_COUNT] for run in runs))


def _squares(expected: NDArray[Any], found: NDArray[Any] | None) -> tuple[float, float, int]:
    """Of an output that has another shape, as the number of boxes found may be, all is lost. What
    is not finite counts as 0."""
    found = np.empty(0) if found is None else found
    x, y = (
        np.nan_to_num(each.astype(np.float64), nan=0, posinf=0, neginf=0)
        for each in (expected, found)
    )
    error = y - x if x.shape == y.shape else x
    return float(np.vdot(x, x)), float(np.vdot(error, error)), x.size
