"""Scales that suit the moments: exact where that can be written down, and never a worse row."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from qtool.rounding import ROUNDINGS
from qtool.rounding.problem import Problem
from qtool.rounding.scales import Grid, clipped, fitted, refitted
from tests.models import Array
from tests.rounding.test_algorithms import moments

ZERO = np.zeros((1, 1, 1))
SHARED = {"all": (1, 1, 1), "rows": (2, 6, 1), "blocks": (2, 6, 5)}


def held(scale: Array) -> Array:
    """As float16 holds them."""
    return scale.astype(np.float16).astype(np.float64)


def case(
    shared: str = "rows", bits: int = 4, *, signed: bool = True, kind: str = "correlated",
    seed: int = 0, columns: int = 40,
) -> tuple[Problem, Grid]:  # fmt: skip
    """Two groups of six rows, and a grid that clips nothing."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(2, 6, columns))
    low, high = (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    shape, block = SHARED[shared], {"blocks": -(-columns // 5)}.get(shared, columns)
    grid = Grid(np.ones(shape), np.zeros(shape, np.int32), block, moves=not signed)
    if shape[2] > 1:
        largest = np.maximum.reduceat(np.abs(weight), np.arange(0, columns, block), axis=2)
    else:
        largest = np.abs(weight).max((2,) if shape[0] > 1 else None, keepdims=True)
    scale = held(largest / 2 ** (bits - 1))
    zero = np.full(shape, 0 if signed else 2 ** (bits - 1), np.int32)
    asked = Problem(weight, np.ones(()), np.zeros((), np.int32), low, high, moments(
        kind, 2, columns, seed))  # fmt: skip
    return asked, replace(grid, scale=scale, zero_point=zero)


@pytest.mark.parametrize("shared", SHARED)
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("name", ["nearest", "gptq"])
def test_no_row_costs_more_and_all_together_less(name: str, signed: bool, shared: str) -> None:
    asked, grid = case(shared, 3, signed=signed)
    algorithm = ROUNDINGS[name]
    before = grid.over(asked).costs(algorithm(grid.over(asked)))
    found, codes = fitted(asked, grid, algorithm, held, ZERO)
    after = found.over(asked).costs(codes)
    if shared != "all":
        assert (after <= before).all()
    assert after.sum() < 0.97 * before.sum()
    assert codes.dtype == np.int32 and found.zero_point.dtype == np.int32
    assert codes.min() >= asked.lowest and codes.max() <= asked.highest
    assert found.scale.shape == found.zero_point.shape == grid.scale.shape
    np.testing.assert_array_equal(found.scale, held(found.scale))
    if signed:
        np.testing.assert_array_equal(found.zero_point, grid.zero_point)


def test_a_last_block_may_be_short_and_what_is_learned_gains_too() -> None:
    asked, grid = case("blocks", columns=42)
    assert grid.block * 5 > 42
    algorithm = ROUNDINGS["adaround"]
    before = grid.over(asked).costs(algorithm(grid.over(asked)))
    found, codes = fitted(asked, grid, algorithm, held, ZERO)
    assert (found.over(asked).costs(codes) <= before).all()
    assert found.over(asked).costs(codes).sum() < 0.97 * before.sum()


@pytest.mark.parametrize("kind", ["zero", "dead columns", "one direction", "of many sizes"])
def test_odd_moments_do_no_harm(kind: str) -> None:
    asked, grid = case("blocks", signed=False, kind=kind)
    before = grid.over(asked).costs(ROUNDINGS["gptq"](grid.over(asked)))
    found, codes = fitted(asked, grid, ROUNDINGS["gptq"], held, ZERO)
    assert (found.over(asked).costs(codes) <= before).all()
    assert (np.isfinite(found.scale) & (found.scale > 0)).all()


@pytest.mark.parametrize("signed", [True, False])
def test_a_scale_for_a_row_is_that_of_least_squares(signed: bool) -> None:
    """s = q H w / q H q, for the codes that there are."""
    asked, grid = case("rows", signed=signed)
    grid = replace(grid, moves=False)
    codes = grid.over(asked).nearest()
    found = refitted(asked, grid, codes, lambda scale: scale, ZERO)
    for group, row in product(range(2), range(6)):
        q, h = codes[group, row] - grid.zero_point[group, row, 0], asked.moments[group]
        best = q @ h @ asked.weight[group, row] / (q @ h @ q)
        np.testing.assert_allclose(found.scale[group, row, 0], best)


def test_scales_of_blocks_taken_in_turns_reach_those_of_all_together() -> None:
    asked, grid = case("blocks")
    codes = grid.over(asked).nearest()
    for _ in range(200):
        grid = refitted(asked, grid, codes, lambda scale: scale, ZERO)
    h, starts = asked.moments[0], range(0, 40, 8)
    for row in range(6):
        parts = np.stack([np.where((np.arange(40) // 8) == i // 8, codes[0, row], 0)
                          for i in starts])  # fmt: skip
        best = np.linalg.solve(parts @ h @ parts.T, parts @ h @ asked.weight[0, row])
        np.testing.assert_allclose(grid.scale[0, row], best, rtol=1e-5)


def test_a_zero_point_moves_where_that_costs_less() -> None:
    asked, grid = case("rows", signed=False)
    codes = grid.over(asked).nearest()
    off = replace(grid, zero_point=grid.zero_point + 1)
    assert (off.over(asked).costs(codes) > grid.over(asked).costs(codes)).all()
    found = refitted(asked, off, codes, lambda scale: off.scale[:, :, :1], ZERO)
    np.testing.assert_array_equal(found.zero_point, grid.zero_point)


def test_clipping_takes_the_least_error_that_the_diagonal_tells() -> None:
    asked, grid = case("rows", 2)
    found = clipped(asked, grid, lambda scale: scale, ZERO)
    counts = np.diagonal(asked.moments, axis1=1, axis2=2)[:, None]

    def error(trial: Grid) -> Array:
        over = trial.over(asked)
        return (counts * ((over.nearest() - over.exact) * over.steps) ** 2).sum(2)

    least = error(found)
    for share in np.linspace(0.6, 1.3, 15):
        assert (error(replace(grid, scale=grid.scale * share)) >= least * (1 - 1e-9)).all()
    assert (least < error(grid)).any()


@pytest.mark.parametrize("sign", [1, -1])
def test_no_scale_falls_below_what_a_bias_needs_and_signs_stay(sign: int) -> None:
    asked, grid = case("rows", 2)
    grid = replace(grid, scale=sign * grid.scale)
    least = np.where(np.arange(6) % 2, 1.5, 0.0).reshape(1, 6, 1) * grid.scale.max() * sign
    grid = replace(grid, scale=np.copysign(np.maximum(np.abs(grid.scale), least), sign))
    found, _ = fitted(asked, grid, ROUNDINGS["gptq"], lambda scale: scale, least)
    assert (sign * found.scale >= least).all() and (sign * found.scale > 0).all()
    assert (np.abs(found.scale) < np.abs(grid.scale)).any()


@pytest.mark.parametrize("shared", ["rows", "blocks"])
def test_gptq_costs_a_quarter_less_at_four_bits_on_inputs_that_share(shared: str) -> None:
    """As tests/benchmarks/matrices.py shows it, on a small case."""
    asked, grid = case(shared, kind="correlated", columns=96)
    nearest = grid.over(asked).costs(grid.over(asked).nearest()).sum()
    codes = ROUNDINGS["gptq"](grid.over(asked))
    found, best = fitted(asked, grid, ROUNDINGS["gptq"], held, ZERO)
    assert grid.over(asked).costs(codes).sum() < 0.75 * nearest
    assert found.over(asked).costs(best).sum() < 0.7 * nearest
