"""Codebooks: levels as their papers say, codes as the nearest, and never worse than even levels."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtool.numeric.affine import QParams, dequantize, quantize
from qtool.numeric.codebook import Codebook
from qtool.numeric.granularity import Granularity, PerBlock, PerChannel, PerTensor
from qtool.numeric.levels import MAKERS, Points, kmeans, log2, quantile
from qtool.numeric.scheme import Scheme, parse_scheme
from qtool.numeric.types import IntType
from qtool.plan.books import booked, weighed
from qtool.plan.weights import weight_params
from tests.models import Array, normal


def points(values: list[float], mass: list[float] | None = None) -> Points:
    x = np.array(sorted(v for v in values if v), float)
    return Points(x, np.ones(len(x)) if mass is None else np.array(mass, float), 0.0 in values)


def params_of(
    weight: Array, scheme: str, granularity: Granularity, *, negative: bool = False
) -> QParams:
    wish = parse_scheme(scheme)
    assert isinstance(wish, Scheme)
    return weight_params(weight, wish.weight, granularity, negative=negative)


def lost(weight: Array, params: QParams, cost: Array = 1.0) -> float:
    restored = dequantize(quantize(weight, params), params)
    return float((cost * (weight.astype(np.float64) - restored) ** 2).sum())


def test_log2_of_16_levels_are_those_of_the_docstring() -> None:
    expected = [0.0, *(2.0**-k for k in range(8)), *(-(2.0**-k) for k in range(7))]
    np.testing.assert_array_equal(log2(points([1.0]), 16), np.sort(expected))


def test_quantile_levels_hold_as_many_values_each() -> None:
    values = np.sort(normal(1600)).astype(float)
    book = Codebook(quantile(Points(values, np.ones(1600), False), 16)[None].astype(np.float32))
    counts = np.bincount(book.nearest(values.astype(np.float32)), minlength=16)
    assert counts[4:12].min() > 70 and counts[4:12].max() < 130  # 100 each where density is even
    evenly = np.arange(1.0, 17)
    np.testing.assert_array_equal(quantile(Points(evenly, np.ones(16), False), 16), evenly)


def test_few_distinct_values_are_levels_themselves() -> None:
    values = [-3.0, -0.5, 0.0, 0.25, 8.0] * 4
    found = kmeans(points(values), 8)
    assert sorted(set(found)) == [-3.0, -0.5, 0.0, 0.25, 8.0] and len(found) == 8


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("count", [2, 3, 4])
def test_kmeans_of_few_values_is_the_best_of_all_partitions(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    x, mass = np.sort(rng.normal(size=12) * 3), rng.uniform(0.1, 3, 12)

    def cost(levels: Array) -> float:
        return float((mass * ((x[:, None] - levels) ** 2).min(1)).sum())

    cuts = combinations(range(1, 12), count - 1)
    least = min(
        cost(np.array([np.average(p, weights=m) for p, m in zip(
            np.split(x, c), np.split(mass, c), strict=True)]))
        for c in cuts
    )  # fmt: skip
    found = cost(kmeans(Points(x, mass, False), count))
    assert found == pytest.approx(least, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from(["k", "kt", "kb16", "kg2"]), st.integers(2, 5),
    st.sampled_from([0.0, 0.3]), st.sampled_from([1.0, 1e-3]), st.booleans(),
)  # fmt: skip
def test_kmeans_is_never_worse_than_even_levels(
    seed: int, form: str, bits: int, pruned: float, size: float, negative: bool
) -> None:
    rng = np.random.default_rng(seed)
    weight = (rng.standard_t(3, (6, 48)) * rng.uniform(0.1, 2, (6, 1)) * size).astype(np.float32)
    weight[rng.random(weight.shape) < pruned] = 0
    views: dict[str, Granularity] = {"kt": PerTensor(), "kb16": PerBlock(1, 16)}
    view = views.get(form, PerChannel(0))
    scheme = f"w{bits}{form.replace('k', 's').replace('g2', '')}"
    even = params_of(weight, scheme, view, negative=negative)
    book = params_of(weight, f"w{bits}{form}", view)
    # the scales of a book are rounded to float16 where that holds them
    assert lost(weight, book) <= lost(weight, even) * 1.002
    assert (dequantize(quantize(weight, book), book)[weight == 0] == 0).all()


def test_books_start_from_scales_that_use_every_even_code() -> None:
    weight = np.random.default_rng(0).laplace(size=(32, 9)).astype(np.float32)
    even = params_of(weight, "w2s", PerChannel(0), negative=True)
    book = params_of(weight, "w2k", PerChannel(0))
    assert lost(weight, book) <= lost(weight, even) * 1.002 and (book.scale < 0).any()


def test_two_levels_of_log2_are_of_the_sign_of_each_channel() -> None:
    weight = np.full((4, 64), 0.3, np.float32)
    weight[::2] *= -1
    params = params_of(weight, "wl2p", PerChannel(0))
    np.testing.assert_allclose(dequantize(quantize(weight, params), params), weight, rtol=1e-3)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("codes", [2, 3, 4, 10, 16, 100, 256])
def test_every_book_has_as_many_levels_in_order_and_codes_are_the_nearest(
    name: str, codes: int
) -> None:
    weight = normal(8, 64)
    letter = {"kmeans": "k", "log2": "p", "quantile": "q"}[name]
    params = params_of(weight, f"wl{codes}{letter}", PerChannel(0))
    book = params.book
    assert book is not None and book.maker == name and book.levels.shape == (1, codes)
    assert params.type == IntType.of_levels(codes, False) and not params.zero_point.any()
    levels = book.levels[0]
    assert (np.diff(levels) >= 0).all()
    np.testing.assert_array_equal(levels, levels.astype(np.float16))
    far = np.abs((weight / params.scale)[..., None] - levels)
    found = np.take_along_axis(far, quantize(weight, params)[..., None], -1)[..., 0]
    np.testing.assert_allclose(found, far.min(-1), atol=1e-6)


def test_what_costs_more_is_held_better() -> None:
    weight = normal(16, 64)
    cost = np.where(np.arange(64) < 8, 100.0, 0.1)[None]
    plain = params_of(weight, "w2k", PerChannel(0))
    fitted = weighed(weight, plain, cost, free=True)
    assert lost(weight, fitted, cost) < 0.9 * lost(weight, plain, cost)
    assert lost(weight, plain) < lost(weight, fitted)


def test_groups_have_books_of_their_own() -> None:
    weight = np.concatenate([normal(4, 200), np.sign(normal(3, 200)) * 5])
    params = params_of(weight, "w2kg4", PerChannel(0))
    assert params.book is not None and params.book.levels.shape == (2, 4)
    restored = dequantize(quantize(weight, params), params)
    np.testing.assert_allclose(restored[4:], weight[4:], rtol=2e-3)
    assert lost(weight, params) < lost(weight, params_of(weight, "w2k", PerChannel(0)))


def test_a_channel_of_zeros_stays_and_spoils_nothing() -> None:
    weight = normal(6, 64) / np.float32(1000)
    weight[2] = 0
    params = params_of(weight, "w4k", PerChannel(0))
    restored = dequantize(quantize(weight, params), params)
    assert (restored[2] == 0).all() and (params.scale != 0).all()
    others = np.delete(weight, 2, 0)
    assert lost(weight, params) < 0.02 * float((others.astype(float) ** 2).sum())


def test_many_values_are_binned_with_little_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    import qtool.plan.books as books

    weight = normal(64, 512)
    exact = params_of(weight, "w4k", PerChannel(0))
    monkeypatch.setattr(books, "_EXACT", 100)
    monkeypatch.setattr(books, "_CHUNK", 5000)
    binned = params_of(weight, "w4k", PerChannel(0))
    assert lost(weight, binned) == pytest.approx(lost(weight, exact), rel=0.01)


def test_powers_of_two_of_scales_stay_so() -> None:
    wish = parse_scheme("w4p")
    assert isinstance(wish, Scheme)
    even = params_of(normal(8, 64), "w4", PerChannel(0))
    scale = (2.0 ** np.rint(np.log2(np.abs(even.scale)))).astype(np.float32)
    start = replace(even, scale=scale)
    found = booked(normal(8, 64), start, "log2", wish.weight.type, free=False)
    assert (np.frexp(np.abs(found.scale))[0] == 0.5).all()


def test_equal_weights_have_equal_books() -> None:
    one, two = (params_of(normal(16, 100), "w4k", PerChannel(0)) for _ in range(2))
    np.testing.assert_array_equal(one.scale, two.scale)
    assert one.book is not None and one.book.same(two.book)
