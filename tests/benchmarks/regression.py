"""y = w x + b with squared error and weight decay: what is learned beside the optimum of the grid.

    python -m tests.benchmarks.regression [--bits B ...] [--seeds N ...] [--epochs N] [--rate R]
        [--starts N] [--only scalar | vector]

    objective = mean (y - w' x - b)^2 / var y + decay |w'|^2        w' = codes x scale, b is a float

scalar    one feature, a range that is given: the grid is fixed, and one code is to be found
vector    three correlated features, one scale for all, which is learned too

The optimum is that of every code, or every three codes; for each the best bias, and the best scale
where it is free, in closed form. `nearest` rounds the float weights, `begun` is where `qtool tune`
begins (GPTQ, biases corrected). Both are learned from, by labels alone, all samples in a batch;
what counts is what the written file computes in onnxruntime. `--starts` learns from so many other
scales too, and takes the best by the objective. `gap` is how far above the optimum's it is.
"""

from __future__ import annotations

import argparse
import logging
import math
import tempfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qtool import workflow
from qtool.data import open_dataset
from qtool.numeric.affine import QParams, dequantize, lowest, quantize
from qtool.plan.plan import WeightPlan
from qtool.recipe import Recipe
from qtool.refine import refine
from qtool.refine.samples import drawn
from qtool.refine.state import State
from qtool.target import load_target
from qtool.tune.course import Course, Verdict
from tests.models import run, save

Reals = NDArray[np.float64]
ROWS, NOISE, DECAY = 64, 0.2, 0.01
RANGE = 2.0  # of the scalar's weight
REACHED = 1e-4
COURSE = Course(epochs=150, batch_size=ROWS, rate=0.01, patience=150)
BITS = (2, 3, 4, 5, 6, 7, 8)
FEATURES = {"scalar": 1, "vector": 3}


@dataclass(frozen=True)
class Problem:
    """Samples, the moments that the objective is made of, and its minimum over floats."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]

    @cached_property
    def spread(self) -> float:
        return float(self.y.var(dtype=np.float64))

    @cached_property
    def moments(self) -> tuple[Reals, Reals]:
        """For the best bias: objective = 1 + (w' A w - 2 w' g) / var y."""
        x, y = (each - each.mean(axis=0, dtype=np.float64) for each in (self.x, self.y))
        ridge = DECAY * self.spread * np.eye(x.shape[1])
        return x.T @ x / len(x) + ridge, x.T @ y[:, 0] / len(x)

    @property
    def floats(self) -> tuple[Reals, float]:
        """Weights and bias."""
        w = np.linalg.solve(*self.moments).astype(np.float64)
        x, y = (each.mean(axis=0, dtype=np.float64) for each in (self.x, self.y))
        return w, float(y[0] - x @ w)

    def objective(self, found: NDArray[np.float32], weights: NDArray[np.float32]) -> float:
        error = np.square(found - self.y.astype(np.float64)).mean() / self.spread
        return float(error + DECAY * np.square(weights.astype(np.float64)).sum())

    def optimum(self, params: QParams, *, free: bool) -> float:
        """The least over all codes; with a free scale over all of it too, which gives
        1 - (c' g)^2 / (c' A c  var y)."""
        (a, g), best = self.moments, math.inf
        codes = np.arange(lowest(params), params.type.maximum + 1, dtype=np.float64)
        for first in codes:
            rest = np.meshgrid(*[codes] * (len(g) - 1), indexing="ij")
            c = np.stack([np.full(codes.size ** len(rest), first), *map(np.ravel, rest)], axis=1)
            square, along = np.einsum("ij,jk,ik->i", c, a, c), c @ g
            if free:
                less = np.square(along) / np.where(square > 0, square, 1)
            else:
                scale = float(params.scale)
                less = 2 * scale * along - scale**2 * square
            best = min(best, 1 - float(less.max()) / self.spread)
        return best


def problem(features: int, seed: int) -> Problem:
    """Features that are not centred, and correlated where there are more than one."""
    rng = np.random.default_rng(seed)
    mixed = np.eye(features) + 0.5 * rng.normal(size=(features, features))
    x = rng.normal(size=(ROWS, features)) @ mixed + 1
    w = rng.uniform(0.5, 1.7, features) * rng.choice([-1, 1], features)
    y = x @ w + 0.5 + NOISE * rng.normal(size=ROWS)
    return Problem(x.astype(np.float32), y.astype(np.float32)[:, None])


class Line:
    """The model of a problem, made and learned as `qtool tune` does it; the scale is given for one
    feature, and free for more."""

    def __init__(self, problem: Problem, bits: int, folder: Path) -> None:
        self.problem, features = problem, problem.x.shape[1]
        w, b = problem.floats
        graph = (f"g (float[N,{features}] x) => (float[N,1] y) {{"
                 " m = MatMul(x, w) y = Add(m, b) }")  # fmt: skip
        path = save(folder / "line.onnx", graph,
                    w=w.astype(np.float32)[:, None], b=np.array([b], np.float32))  # fmt: skip
        np.save(folder / "x.npy", problem.x)
        self._free, self._target = features > 1, load_target("cpu")
        given = None if self._free else (-RANGE, RANGE)
        recipe = Recipe(scheme=f"w{bits}t", range=given, placement="all")
        self._job = workflow.open_job(path, recipe, self._target, threads=1)
        self._data = open_dataset(folder / "x.npy", self._job.signature)
        self.nearest = workflow.start(self._job, None, drawn(self._data))
        self.begun, _ = refine(self.nearest, ("gptq<9", "bias"))

    @property
    def optimum(self) -> float:
        """Of all codes that the plan may store."""
        return self.problem.optimum(params_of(self.nearest), free=self._free)

    def objective(self, state: State) -> float:
        """Of the file as onnxruntime runs it."""
        (weight,) = state.plan.weights.values()
        weights = dequantize(weight.codes(_values(state, weight)), params_of(state))
        return self.problem.objective(run(state.quantized(), x=self.problem.x)["y"], weights)

    def starts(self, count: int) -> list[State]:
        """The nearest codes at coarser and coarser scales, up to twice as coarse: codes further on
        are those of a finer one, halved."""
        states, ((key, weight),) = list[State](), self.nearest.plan.weights.items()
        values = _values(self.nearest, weight)
        for times in np.linspace(1, 2, count + 1)[1:]:
            scale = np.asarray(weight.params.scale * np.float32(times))
            params = replace(weight.params, scale=scale)
            chosen = {key: quantize(values, params)}
            states.append(self.nearest.with_codes(chosen, "start", {key: params}))
        return states

    def learned(self, start: State, course: Course = COURSE) -> State:
        """Judged by the objective itself: it is an optimum that is looked for."""
        import torch

        from qtool.tune.carry import carried, held
        from qtool.tune.fit import fit
        from qtool.tune.learn import Learner
        from qtool.tune.lessons import Lessons
        from qtool.tune.losses import Loss
        from qtool.tune.net import Net

        torch.set_num_threads(1)
        net = Net(start.model, start.plan, held(self._job.model, self._job.sites, self._target))
        names = list(dict.fromkeys((*net.part.given, *net.part.ends)))
        lessons = Lessons(start.model, self._data, names, self.problem.y)
        (end,) = net.part.ends
        loss = Loss((end,), distils=False, labelled=end, spread=self.problem.spread, decay=DECAY)

        def judge(net: Net, least: float) -> Verdict:
            (lesson,) = lessons.batches(ROWS)
            with torch.no_grad():
                return Verdict(float(loss.of(net, lesson)))

        best = Learner(net, lessons, loss, judge, course).run()
        other = Net(start.model, start.plan, held(self._job.model, self._job.sites, self._target))
        for each in (net, other):  # as the stage `scales` does, from what is learned and from codes
            fit(each, lessons, loss, ROWS)
        found = min((net, other), key=lambda each: judge(each, best.distance).distance)
        return carried(start, found, self._target)


def params_of(state: State) -> QParams:
    """How the weight is stored."""
    (weight,) = state.plan.weights.values()
    return weight.params if weight.rounded is None else weight.rounded.params


def _values(state: State, weight: WeightPlan) -> NDArray[np.float32]:
    value = state.model.graph.initializers[weight.tensor].const_value
    assert value is not None
    return value.numpy().astype(np.float32)


def report(kind: str, bits: int, seed: int, options: argparse.Namespace) -> None:
    course = replace(COURSE, epochs=options.epochs, patience=options.epochs, rate=options.rate)
    with tempfile.TemporaryDirectory() as folder:
        line = Line(problem(FEATURES[kind], seed), bits, Path(folder))
        others = line.starts(options.starts) if kind == "vector" else []
        states = {"nearest": line.nearest, "begun": line.begun}
        states |= {f"from {name}": line.learned(state, course) for name, state in states.items()}
        found = {name: line.objective(state) for name, state in states.items()}
        best = min([found["from begun"], found["from nearest"],
                    *(line.objective(line.learned(each, course)) for each in others)])  # fmt: skip
        least = line.optimum
    gaps = "".join(f"{found[name] / least - 1:14.1e}" for name in states)
    reached = "reached" if best / least - 1 < REACHED else "missed"
    print(f"{kind:8}{bits:5}{seed:6}{least:12.6f}{gaps}{best / least - 1:14.1e}  {reached}",
          flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bits", type=int, nargs="+", default=BITS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=COURSE.epochs)
    parser.add_argument("--rate", type=float, default=COURSE.rate)
    parser.add_argument("--starts", type=int, default=0, help="other scales to learn from")
    parser.add_argument("--only", choices=FEATURES)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    heads = ("nearest", "begun", "from nearest", "from begun", "best")
    print(f"{'':8}{'bits':>5}{'seed':>6}{'optimum':>12}" + "".join(f"{h:>14}" for h in heads))
    for kind in FEATURES if options.only is None else [options.only]:
        for bits in options.bits:
            for seed in options.seeds:
                report(kind, bits, seed, options)


if __name__ == "__main__":
    main()
