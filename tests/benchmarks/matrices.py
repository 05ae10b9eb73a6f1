"""What choosing codes and scales is worth on single matrices: |X W - X W'|^2 over nearest's.

    python -m tests.benchmarks.matrices [--bench DIR] [--models NAME ...] [--bits 4 3 2]
    python -m tests.benchmarks.matrices --time [--sizes 512 1024 2048]

Inputs are synthetic (independent; an AR(1) process of 0.9; 16 factors and noise; a few channels
thirty times as large) or those of layers of the sample models and, with `--bench`, of DIR's, all
layers of a model in float before it. Learned on some samples, judged on others; of a model the
geometric mean over its layers. `nearest` has the scales of least squared error; `gptq` keeps them,
`gptq+scales` and `adaround` choose theirs, as `qtool quantize` does.

`--time`: CPU seconds per million weights, one thread, and the peak of what is allocated, over the
matrix in float32, its moments not counted.
"""

from __future__ import annotations

import argparse
import logging
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qtool import workflow
from qtool.numeric.affine import dequantize, quantize
from qtool.numeric.granularity import Granularity, PerBlock, PerChannel
from qtool.numeric.scheme import Scheme, parse_scheme
from qtool.plan.hqq import hqq
from qtool.plan.weights import weight_params
from qtool.recipe import Recipe
from qtool.refine.awq import POWERS
from qtool.refine.layers import find_layers
from qtool.refine.moments import moments_of
from qtool.refine.samples import Samples, drawn
from qtool.refine.state import State
from qtool.rounding import ROUNDINGS
from qtool.rounding.problem import Problem
from qtool.rounding.scales import Grid, fitted
from qtool.target import load_target
from tests.benchmarks.methods import subjects
from tests.models import Array

ROWS, COLUMNS, PLACES = 128, 384, 2048
DAMPING = 0.1


@dataclass(frozen=True)
class Matrix:
    """(rows, columns), its inputs' moments to learn on and others to be judged by, and the mean
    size of each input; groups are matrices of their own."""

    weight: Array
    seen: Array
    other: Array
    sizes: Array


@dataclass(frozen=True)
class Start:
    """What all begin with."""

    matrix: Matrix
    problem: Problem
    grid: Grid
    scheme: Scheme
    granularity: Granularity


def started(matrix: Matrix, text: str) -> Start:
    scheme = parse_scheme(text)
    assert isinstance(scheme, Scheme)
    block, columns = scheme.weight.block, matrix.weight.shape[1]
    granularity: Granularity = PerBlock(1, block) if block else PerChannel(0)
    params = weight_params(matrix.weight, scheme.weight, granularity)
    damping = DAMPING * np.diagonal(matrix.seen).mean() * np.eye(columns)
    problem = Problem(
        matrix.weight[None].astype(float), np.ones(()), np.zeros((), np.int32),
        params.type.minimum, params.type.maximum, (matrix.seen + damping)[None],
    )  # fmt: skip
    grid = Grid(
        params.scale[None].astype(float), params.zero_point[None],
        min(block or columns, columns), not params.symmetric,
    )  # fmt: skip
    return Start(matrix, problem, grid, scheme, granularity)


def as_nearest(start: Start) -> Array:
    params = weight_params(start.matrix.weight, start.scheme.weight, start.granularity)
    return dequantize(quantize(start.matrix.weight, params), params)


def as_hqq(start: Start) -> Array:
    weight = start.matrix.weight
    params = hqq(weight, weight_params(weight, start.scheme.weight, start.granularity))
    return dequantize(quantize(weight, params), params)


def as_awq(start: Start) -> Array:
    """The power of least error on what was seen."""
    matrix, best = start.matrix, as_nearest(start)
    for power in POWERS:
        by = np.maximum(matrix.sizes, 1e-6 * matrix.sizes.max()) ** power
        factors = (by / np.exp(np.log(by).mean())).astype(np.float32)
        scaled = matrix.weight * factors
        params = weight_params(scaled, start.scheme.weight, start.granularity)
        found = dequantize(quantize(scaled, params), params) / factors
        if error(matrix.weight, found, matrix.seen) < error(matrix.weight, best, matrix.seen):
            best = found
    return best


def restored(start: Start, grid: Grid, codes: Array) -> Array:
    over = grid.over(start.problem)
    return ((codes - over.zero_point) * over.steps)[0]


def as_gptq(start: Start) -> Array:
    codes = ROUNDINGS["gptq"](start.grid.over(start.problem))
    return restored(start, start.grid, codes)


def with_scales(name: str) -> Callable[[Start], Array]:
    def found(start: Start) -> Array:
        zero = np.zeros((1, 1, 1))
        made = fitted(start.problem, start.grid, ROUNDINGS[name], lambda scale: scale, zero)
        return restored(start, *made)

    return found


METHODS: dict[str, Callable[[Start], Array]] = {
    "nearest": as_nearest, "hqq": as_hqq, "awq": as_awq, "gptq": as_gptq,
    "gptq+scales": with_scales("gptq"), "adaround": with_scales("adaround"),
}  # fmt: skip
SCHEMES = "w{0}", "w{0}b32", "w{0}ub32"


def error(weight: Array, found: Array, moments: Array) -> float:
    lost = (found - weight).astype(np.float64)
    return float(np.einsum("rc,rc->", lost @ moments, lost))


def synthetic(kind: str, rows: int = ROWS, columns: int = COLUMNS, seed: int = 0) -> Matrix:
    """A normal matrix, and inputs of a kind."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(columns, 2 * PLACES))
    if kind == "AR(0.9)":
        for i in range(1, columns):
            x[i] = 0.9 * x[i - 1] + np.sqrt(1 - 0.9**2) * x[i]
    if kind == "16 factors":
        x = rng.normal(size=(columns, 16)) @ rng.normal(size=(16, 2 * PLACES)) / 4 + 0.5 * x
    if kind == "loud channels":
        x[rng.choice(columns, columns // 64, replace=False)] *= 30
    seen, other = x[:, :PLACES], x[:, PLACES:]
    weight = rng.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)
    return Matrix(weight, seen @ seen.T / PLACES, other @ other.T / PLACES, np.abs(seen).mean(1))


SYNTHETIC = "independent", "AR(0.9)", "16 factors", "loud channels"


def of_models(bench: Path | None, chosen: list[str]) -> Iterator[tuple[str, list[Matrix]]]:
    """Name -> the layers of a model with one matrix of 32 columns and more."""
    for subject in subjects(bench, chosen, 256):
        recipe = Recipe(scheme="w4", algorithms=())
        job = workflow.open_job(subject.model, recipe, load_target("cpu"), threads=1)
        decide, plan = workflow._decided(job, {})
        samples = drawn(subject.calib)
        layers = [
            layer
            for layer in find_layers(job.model, plan)
            if layer.groups == 1 and layer.width >= 32
        ]
        parts = []
        for feeds in (samples.fit, samples.check):
            part = State(job.model, plan, Samples(feeds, feeds), 1, decide)
            parts.append([m.second(0)[0] for m in moments_of(part, job.model, layers)])
        weights = [layer.matrices(layer.weight)[0] for layer in layers]
        # Of inputs only moments are kept: their root stands for the mean size.
        yield (
            subject.name,
            [
                Matrix(np.ascontiguousarray(w), seen, other, np.sqrt(np.diagonal(seen)))
                for w, seen, other in zip(weights, *parts, strict=True)
            ],
        )


def report(name: str, matrices: list[Matrix], bits: list[int]) -> None:
    for scheme in (form.format(number) for number in bits for form in SCHEMES):
        starts = [started(matrix, scheme) for matrix in matrices]
        logs: dict[str, list[float]] = {method: [] for method in METHODS}
        for start in starts:
            weight, other = start.matrix.weight, start.matrix.other
            lost = {m: error(weight, make(start), other) for m, make in METHODS.items()}
            for method in METHODS if lost["nearest"] > 0 else ():
                logs[method].append(np.log(lost[method] / lost["nearest"]))
        cells = "".join(f"{np.exp(np.mean(each)):13.3f}" for each in logs.values())
        print(f"{name:24}{len(matrices):4}  {scheme:8}{cells}", flush=True)


def timed(sizes: list[int]) -> None:
    print(f"{'matrix':14}{'scheme':8}" + "".join(f"{name:>16}" for name in METHODS))
    for size in sizes:
        matrix = synthetic("AR(0.9)", size, size)
        for scheme in ("w4", "w4b32"):
            start, cells = started(matrix, scheme), ""
            for make in METHODS.values():
                before = time.process_time()
                make(start)
                seconds = (time.process_time() - before) / (size * size / 1e6)
                tracemalloc.start()
                make(start)
                peak = tracemalloc.get_traced_memory()[1] / (4 * size * size)
                tracemalloc.stop()
                cells += f"{seconds:8.2f}s{peak:6.0f}x"
            print(f"{f'{size} x {size}':14}{scheme:8}{cells}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path)
    parser.add_argument("--models", nargs="+", default=[])
    parser.add_argument("--bits", nargs="+", type=int, default=[4, 3, 2])
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--sizes", nargs="+", type=int, default=[512, 1024])
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    if options.time:
        timed(options.sizes)
        return
    print(f"{'inputs':24}{'':4}  {'scheme':8}" + "".join(f"{name:>13}" for name in METHODS))
    for kind in () if options.models else SYNTHETIC:
        report(kind, [synthetic(kind)], options.bits)
    for name, matrices in of_models(options.bench and options.bench.resolve(), options.models):
        if matrices:
            report(name, matrices, options.bits)


if __name__ == "__main__":
    main()
