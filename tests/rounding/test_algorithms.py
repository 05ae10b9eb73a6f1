"""Every rounding algorithm: never worse than nearest, near the best that there is, and exact about
what codes there are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from qtool.rounding import ROUNDINGS, Problem
from qtool.rounding.descent import descend
from tests.models import Array

each = pytest.mark.parametrize("name", ROUNDINGS)
clever = pytest.mark.parametrize("name", [name for name in ROUNDINGS if name != "nearest"])


def moments(kind: str, groups: int, columns: int, seed: int) -> Array:
    """(groups, columns, columns) of one kind."""
    rng = np.random.default_rng(seed)
    if kind == "zero":
        return np.zeros((groups, columns, columns))
    x = rng.normal(size=(groups, columns, 4 * columns))
    if kind == "one direction":
        x = x[:, :, :1] * np.ones_like(x) + 1e-3 * x
    if kind == "few samples":
        x = x[:, :, : max(1, columns // 3)]
    if kind == "correlated":
        x = rng.normal(size=(groups, columns, columns)) @ x
    if kind == "of many sizes":
        x *= 10 ** rng.uniform(-6, 6, size=(groups, columns, 1))
    if kind == "dead columns":
        x[:, ::3] = 0
    if kind == "positive":
        x = np.abs(x)
    return x @ x.swapaxes(1, 2) / x.shape[2]


KINDS = ("plain", "correlated", "positive", "one direction", "few samples", "of many sizes",
         "dead columns", "zero")  # fmt: skip


def problem(
    kind: str = "correlated", *, groups: int = 1, rows: int = 6, columns: int = 40, bits: int = 4,
    scale: str = "rows", signed: bool = True, seed: int = 0,
) -> Problem:  # fmt: skip
    weight = np.random.default_rng(seed).normal(size=(groups, rows, columns))
    low, high = (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    sizes = np.abs(weight)
    shared = {"all": (0, 1, 2), "rows": (2,), "blocks": (3,)}[scale]
    step = sizes.reshape(groups, rows, -1, 8) if scale == "blocks" else sizes
    step = step.max(shared, keepdims=scale == "rows") / 2 ** (bits - 1)
    step = np.repeat(step, 8, axis=2) if scale == "blocks" else np.asarray(step)
    zero = np.full(step.shape, 0 if signed else 2 ** (bits - 1), np.int32)
    h = moments(kind, groups, columns, seed)
    return Problem(weight, step.astype(np.float32), zero, low, high, h)


def check(asked: Problem, codes: Array) -> None:
    """Codes that there are, and no row that costs more than rounded to nearest."""
    assert codes.dtype == np.int32 and codes.shape == asked.weight.shape
    assert codes.min() >= asked.lowest and codes.max() <= asked.highest
    assert (asked.costs(codes) <= asked.costs(asked.nearest())).all()


@each
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_no_row_costs_more_than_rounded_to_nearest(name: str, kind: str, seed: int) -> None:
    asked = problem(kind, seed=seed)
    check(asked, ROUNDINGS[name](asked))


@each
@pytest.mark.parametrize("scale", ["all", "rows", "blocks"])
@pytest.mark.parametrize(("bits", "signed"), [(8, True), (8, False), (4, False), (2, True)])
def test_every_grid_is_kept_to(name: str, scale: str, bits: int, signed: bool) -> None:
    asked = problem(scale=scale, bits=bits, signed=signed)
    check(asked, ROUNDINGS[name](asked))


@clever
@pytest.mark.parametrize("kind", ["correlated", "positive", "few samples"])
def test_what_inputs_share_makes_it_far_better(name: str, kind: str) -> None:
    asked = problem(kind, columns=200)
    gained = asked.costs(asked.nearest()).sum() / asked.costs(ROUNDINGS[name](asked)).sum()
    assert gained > 2


@each
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["plain", "correlated"])
def test_it_is_near_the_best_of_all_codes_and_never_below(name: str, kind: str, seed: int) -> None:
    asked = problem(kind, rows=3, columns=6, bits=2, seed=seed)
    every = np.array(list(product(range(asked.lowest, asked.highest + 1), repeat=6)))
    lost = (every - asked.exact[0][:, None]) * asked.steps[0][:, None]  # (rows, choices, columns)
    least = np.einsum("rkc,cd,rkd->rk", lost, asked.moments[0], lost).min(1)
    found = asked.costs(ROUNDINGS[name](asked))[0]
    assert (found >= least * (1 - 1e-9)).all()
    if name != "nearest":
        assert found.sum() <= 1.25 * least.sum()


@each
def test_groups_are_problems_of_their_own(name: str) -> None:
    asked = problem(groups=5, columns=9, rows=2)
    apart = [
        ROUNDINGS[name](
            Problem(
                asked.weight[i : i + 1], asked.scale[i : i + 1], asked.zero_point[i : i + 1],
                asked.lowest, asked.highest, asked.moments[i : i + 1],
            )
        )
        for i in range(5)
    ]  # fmt: skip
    together = ROUNDINGS[name](asked)
    check(asked, together)
    if name != "adaround":  # whose rate is one for all groups
        np.testing.assert_array_equal(together, np.concatenate(apart))


@each
def test_a_weight_that_codes_hold_exactly_stays(name: str) -> None:
    asked = problem()
    held = (asked.nearest() - asked.zero_point) * asked.steps
    exact = Problem(held, asked.scale, asked.zero_point, asked.lowest, asked.highest, asked.moments)
    np.testing.assert_array_equal(ROUNDINGS[name](exact), asked.nearest())


@each
def test_moments_that_are_no_numbers_count_for_nothing(name: str) -> None:
    asked = problem()
    asked.moments[0, 3, 3] = np.nan
    np.testing.assert_array_equal(ROUNDINGS[name](asked), asked.nearest())


def test_learning_is_better_than_taking_columns_in_turn() -> None:
    asked = [problem("positive", rows=16, columns=96, bits=8, seed=seed) for seed in range(3)]
    cost = {name: sum(p.costs(ROUNDINGS[name](p)).sum() for p in asked) for name in ROUNDINGS}
    assert cost["adaround"] < cost["gptq"] < cost["nearest"]


def test_a_matrix_too_wide_to_learn_is_taken_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    asked = problem()
    monkeypatch.setattr(sys.modules["qtool.rounding.adaround"], "_WORK", 1)
    expected = ROUNDINGS["gptq"](asked)
    np.testing.assert_array_equal(ROUNDINGS["adaround"](asked), expected)


@pytest.mark.parametrize("columns", [5, 64, 150])
def test_descent_ends_where_no_single_code_can_do_better(columns: int) -> None:
    asked = problem("positive", columns=columns)
    codes = descend(asked, asked.nearest(), sweeps=1000)
    cost = asked.costs(codes)
    for column in range(columns):
        for move in (-1, 1):
            other = codes.copy()
            other[:, :, column] = asked.clip(other[:, :, column] + move)
            assert (asked.costs(other) >= cost * (1 - 1e-4)).all()


def on_levels(kind: str, books: int, seed: int = 0) -> Problem:
    """The same with codebooks of 16 levels, that are not evenly spaced."""
    asked = problem(kind, seed=seed)
    levels = np.sort(np.random.default_rng(seed).normal(size=(books, 16)) * 3, axis=1)
    levels = levels.astype(np.float16).astype(np.float32)
    book = np.arange(6)[None] % books
    zero = np.zeros_like(asked.zero_point)
    return Problem(asked.weight, asked.scale, zero, 0, 15, asked.moments, levels, book)


@each
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("books", [1, 3])
def test_levels_of_a_codebook_are_kept_to(name: str, kind: str, books: int) -> None:
    asked = on_levels(kind, books)
    codes = ROUNDINGS[name](asked)
    check(asked, codes)
    assert asked.levels is not None and asked.book is not None
    far = np.abs(asked.exact[..., None] - asked.levels[asked.book][:, :, None])
    near = np.take_along_axis(far, asked.nearest()[..., None], -1)[..., 0]
    np.testing.assert_allclose(near, far.min(-1))
    if name != "nearest" and kind == "correlated":
        assert asked.costs(codes).sum() < 0.8 * asked.costs(asked.nearest()).sum()


@each
def test_even_levels_in_a_codebook_are_the_integers_that_they_are(name: str) -> None:
    asked = problem(bits=4)
    even = np.arange(asked.lowest, asked.highest + 1, dtype=np.float32)[None]
    book = np.zeros((1, 6), np.int64)
    zero = np.zeros_like(asked.zero_point)
    same = Problem(asked.weight, asked.scale, zero, 0, len(even[0]) - 1, asked.moments, even, book)
    expected = ROUNDINGS["gptq" if name == "adaround" else name](asked)
    np.testing.assert_array_equal(ROUNDINGS[name](same) + asked.lowest, expected)
