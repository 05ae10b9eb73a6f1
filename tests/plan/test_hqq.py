"""HQQ: the paper's updates, and never worse than where it starts on its own objective."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qtool.numeric.affine import QParams, dequantize, quantize
from qtool.numeric.granularity import Granularity, PerBlock, PerChannel, PerTensor, reduce
from qtool.numeric.scheme import parse_scheme
from qtool.plan.hqq import POWER, fitted, hqq, shrunk, split
from qtool.plan.weights import weight_params
from qtool.recipe import Recipe
from tests.models import Array

GRAINS: dict[str, Granularity] = {
    "channels": PerChannel(1), "blocks": PerBlock(0, 32), "cut blocks": PerBlock(1, 32),
    "one": PerTensor(),
}  # fmt: skip


def weight(kind: str = "heavy", shape: tuple[int, ...] = (72, 40), seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    if kind == "heavy":
        return (rng.standard_t(3, shape) * 0.02).astype(np.float32)
    if kind == "skewed":
        return (rng.gamma(2, 0.02, shape) - 0.01).astype(np.float32)
    found = rng.normal(0, 0.02, shape).astype(np.float32)
    found[:, ::3] = 0
    return found


def start(w: Array, scheme: str, grains: Granularity) -> QParams:
    parsed: Any = parse_scheme(scheme)
    found = weight_params(w, parsed.weight, grains)
    if isinstance(grains, PerTensor):
        scale, zero = found.scale.reshape(()), found.zero_point.reshape(())
        return QParams(found.type, scale, zero, grains)
    return found


def error(w: Array, params: QParams, grains: Granularity) -> Array:
    lost = np.abs(w - dequantize(quantize(w, params), params)).astype(np.float64)
    return reduce(lost**POWER, grains, np.sum)


@pytest.mark.parametrize("grains", GRAINS)
@pytest.mark.parametrize(
    ("scheme", "kind"),
    [
        ("w4", "heavy"),
        ("w4u", "skewed"),
        ("w3", "sparse"),
        ("w2u", "heavy"),
        ("wl3", "skewed"),
        ("w8u", "heavy"),
    ],
)
def test_no_block_is_worse_than_before_and_all_are_better(
    scheme: str, kind: str, grains: str
) -> None:
    w, by = weight(kind), GRAINS[grains]
    before = start(w, scheme, by)
    after = hqq(w, before)
    assert (after.type, after.granularity) == (before.type, before.granularity)
    assert after.scale.shape == before.scale.shape and after.scale.dtype == np.float32
    assert after.zero_point.shape == before.zero_point.shape
    assert np.isfinite(after.scale).all() and (after.scale * before.scale > 0).all()
    if before.symmetric:
        np.testing.assert_array_equal(after.zero_point, before.zero_point)
    first, last = error(w, before, by), error(w, after, by)
    assert (last <= first * (1 + 1e-6)).all()
    assert last.sum() < first.sum()


def test_large_values_are_left_to_err() -> None:
    """The p-norm forgives one of them more than all others; squares do not."""
    w = np.random.default_rng(0).normal(0, 0.02, (256, 8)).astype(np.float32)
    w[0] = 0.2
    before = start(w, "w3u", PerChannel(1))
    after = hqq(w, before)
    assert (np.abs(after.scale) < 0.9 * before.scale).all()


def test_the_threshold_is_that_of_the_paper() -> None:
    """sign(x) relu(|x| - |x|^(p-1) / beta), written out."""
    x = np.array([-2.0, -0.5, -0.1, 0.0, 0.1, 0.5, 2.0], np.float32)
    expected = [
        np.sign(v) * max(abs(v) - abs(v) ** (0.7 - 1) / 10, 0) if v else 0.0 for v in x.tolist()
    ]
    np.testing.assert_allclose(shrunk(x, 10.0), expected, rtol=1e-6)


def test_the_threshold_is_near_the_least_of_what_is_to_be_minimised() -> None:
    """|E|^p + beta / 2 (E - x)^2, beside the best of a fine grid: E near 0 is where it errs."""
    x, grid, beta = np.array([0.8, 1.5, 3.0], np.float32), np.linspace(0, 4, 40_001), 10.0
    best = [grid[np.argmin(grid**POWER + beta / 2 * (grid - each) ** 2)] for each in x]
    # the paper's formula leaves out the factor p of the derivative
    np.testing.assert_allclose(shrunk(x, beta), best, atol=0.05)


def test_a_turn_is_that_of_the_paper() -> None:
    """A real zero point, one value after the other: E = shrink(lost), z = mean(q - (W / s - E))."""
    w, s, z, beta = np.array([-0.9, -0.31, -0.12, 0.05, 0.2, 0.44, 0.71, 2.6]), 0.25, 3.6, 10.0
    codes, zeros = list[int](), list[float]()
    for value in w.tolist():
        q = min(max(round(value / s + z), 0), 7)
        lost = value / s - (q - z)
        e = np.sign(lost) * max(abs(lost) - abs(lost) ** (POWER - 1) / beta, 0) if lost else 0.0
        codes.append(q)
        zeros.append(q - (value / s - e))
    found, at = split((w[:, None] / s).astype(np.float32), np.float32(z), beta, 0, 7)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found[:, 0], codes)
    np.testing.assert_allclose((found - at).mean(), np.mean(zeros), rtol=1e-6)
    assert abs((w / s - at[:, 0])[-1]) > 3  # the large one errs, and pulls at nothing


def test_scales_are_those_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    steps = rng.integers(-7, 8, (30, 5)).astype(np.float32)
    scale = rng.uniform(0.5, 2, (1, 5)).astype(np.float32)
    at = steps * 1.1 + rng.normal(0, 0.2, (30, 5)).astype(np.float32)
    best = [np.linalg.lstsq(steps[:, [i]], (at * scale)[:, i])[0][0] for i in range(5)]
    np.testing.assert_allclose(fitted(steps, at, scale)[0], best, rtol=1e-5)


def test_a_recipe_that_lists_it_has_it_for_weights_of_few_bits() -> None:
    def method(scheme: str, *listed: str) -> str:
        wish: Any = Recipe(scheme=scheme, algorithms=listed)._wish(scheme)
        return str(wish.weight.method)

    assert method("w4") == "mse"
    limited = [method(scheme, "hqq<8") for scheme in ("w4", "w7", "w8", "w4b32a8")]
    assert limited == ["hqq", "hqq", "mse", "hqq"]
    assert method("w8", "hqq") == "hqq"
