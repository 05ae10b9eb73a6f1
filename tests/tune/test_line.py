"""y = w x + b at few bits: what is learned is the optimum of the grid, by trial of all codes."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtool.numeric.affine import lowest
from tests.benchmarks.regression import (
    DECAY,
    FEATURES,
    REACHED,
    Line,
    Problem,
    params_of,
    problem,
)

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def least(problem: Problem, codes: tuple[int, ...], scale: float | None) -> float:
    """The objective of these codes, by least squares over a bias, and a scale where none is given.

    mean (y - s X c - b)^2 / var y + decay |s c|^2 = |rows (s, b) - right|^2
    """
    weight = 1 / np.sqrt(len(problem.x) * problem.spread)
    along = problem.x.astype(np.float64) @ np.array(codes, float) * weight
    size = np.sqrt(DECAY) * float(np.linalg.norm(codes))
    rows = np.stack([np.append(along, size), np.append(np.full(len(along), weight), 0)], axis=1)
    right = np.append(problem.y[:, 0].astype(np.float64) * weight, 0)
    if scale is not None:
        rows, right = rows[:, 1:], right - scale * rows[:, 0]
    found = np.linalg.lstsq(rows, right, rcond=None)[0]
    return float(np.square(rows @ found - right).sum())


@pytest.mark.parametrize(("kind", "bits"), [("scalar", 3), ("vector", 2), ("vector", 3)])
def test_the_optimum_is_the_least_of_all_codes(kind: str, bits: int, tmp_path: Path) -> None:
    line = Line(problem(FEATURES[kind], 3), bits, tmp_path)
    params = params_of(line.nearest)
    codes = range(lowest(params), params.type.maximum + 1)
    scale = float(params.scale) if kind == "scalar" else None
    every = [least(line.problem, c, scale) for c in product(codes, repeat=FEATURES[kind])]
    assert line.optimum == pytest.approx(min(every), rel=1e-6)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("kind", FEATURES)
def test_what_is_learned_is_the_optimum(kind: str, bits: int, tmp_path: Path) -> None:
    line = Line(problem(FEATURES[kind], 0), bits, tmp_path)
    optimum = line.optimum
    assert line.objective(line.nearest) > (1 + REACHED) * optimum, "there is something to learn"
    found = line.objective(line.learned(line.begun))
    assert optimum * (1 - 1e-6) <= found <= optimum * (1 + REACHED)
