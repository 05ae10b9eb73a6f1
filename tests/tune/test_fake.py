"""Fake quantization: the values of the codes, and gradients by learned step sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from qtool.numeric.affine import QParams, dequantize, quantize
from qtool.numeric.granularity import PerBlock, PerChannel, PerTensor
from qtool.numeric.scheme import parse_scheme
from qtool.numeric.types import UINT8, IntType
from qtool.plan.weights import weight_params
from qtool.tune.fake import FakeQuantizer, on_the_run
from tests.models import normal

WEIGHT = normal(70, 12, seed=3)
GRAINS = [PerTensor(), PerChannel(0), PerChannel(1), PerBlock(0, 32)]


def params_of(scheme: str, grains: object) -> QParams:
    wish = parse_scheme(scheme)
    found = weight_params(WEIGHT, wish.weight, grains, negative=True)  # type: ignore[union-attr, arg-type]
    if isinstance(grains, PerTensor):
        flat = {name: getattr(found, name).reshape(()) for name in ("scale", "zero_point")}
        return replace(found, **flat, granularity=grains)
    return found


@pytest.mark.parametrize("grains", GRAINS, ids=str)
@pytest.mark.parametrize("scheme", ["w8", "w4", "w4u", "w2", "w3", "w4k", "w2k"])
def test_values_are_those_of_the_codes(scheme: str, grains: object) -> None:
    params = params_of(scheme, grains)
    found = FakeQuantizer(params)(torch.from_numpy(WEIGHT)).detach().numpy()
    expected = dequantize(quantize(WEIGHT, params), params)
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()
    assert FakeQuantizer(params).learned().scale.shape == params.scale.shape


def test_gradients_are_those_of_learned_step_sizes() -> None:
    # Esser et al. (2020), equation 3: round(v) - v inside, the end outside; times 1 / sqrt(N high).
    params = QParams(IntType(4, True), np.asarray(np.float32(0.5)), np.asarray(np.int32(0)))
    x = torch.tensor([0.6, -1.3, 9.0, -9.0], requires_grad=True)
    grid = FakeQuantizer(params)
    grid(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0, 0.0, 0.0]
    inside = [round(v) - v for v in (0.6 / 0.5, -1.3 / 0.5)]
    expected = (sum(inside) + 7 - 8) / np.sqrt(4 * 7)
    assert grid.scale.grad is not None
    assert float(grid.scale.grad) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("grains", GRAINS, ids=str)
@pytest.mark.parametrize("scheme", ["w4", "w3u", "w2k"])
def test_of_stored_weights_the_scale_has_the_gradient_of_its_codes(
    scheme: str, grains: object
) -> None:
    # Codes stay when a scale moves: what is restored is linear in it, so a difference is exact.
    params, along = params_of(scheme, grains), torch.from_numpy(normal(70, 12, seed=5))
    x = torch.from_numpy(dequantize(quantize(WEIGHT, params), params))
    grid = FakeQuantizer(params, stored=True)

    def found() -> float:
        return float((grid(x).detach().double() * along).sum())

    (grid(x) * along).sum().backward()
    count, gradient = grid.scale.numel(), grid.scale.grad
    assert gradient is not None
    levels = params.type.maximum if params.book is None else grid.high
    slower = np.sqrt(x.numel() / count * levels)
    size = float(np.abs(params.scale).max())
    for place in (0, count - 1):
        before = found()
        with torch.no_grad():
            grid.scale.reshape(-1)[place] += size
        expected = (found() - before) / size
        with torch.no_grad():
            grid.scale.reshape(-1)[place] -= size
        assert float(gradient.reshape(-1)[place]) * slower == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("scheme", ["w4", "w2k"])
def test_a_scale_that_is_learned_takes_no_code_to_another(scheme: str) -> None:
    params = params_of(scheme, PerChannel(1))
    chosen = quantize(WEIGHT, params)
    x = dequantize(chosen, params)
    grid = FakeQuantizer(params, stored=True)
    with torch.no_grad():
        grid.scale.mul_(1.3)
    np.testing.assert_array_equal(grid.codes(x), chosen)
    expected = dequantize(chosen, grid.learned())
    np.testing.assert_allclose(grid(torch.from_numpy(x)).detach().numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("scheme", ["w4", "w4k"])
def test_values_are_those_that_float16_scales_and_levels_give(scheme: str) -> None:
    grid = FakeQuantizer(params_of(scheme, PerChannel(1)), stored=True, half=True)
    with torch.no_grad():
        for each in grid.parameters():
            each.mul_(1.00037)
    learned = grid.learned()
    kept = [learned.scale, *([] if learned.book is None else [learned.book.levels])]
    for values in kept:
        np.testing.assert_array_equal(values, values.astype(np.float16))
    found = grid(torch.from_numpy(WEIGHT)).detach().numpy()
    np.testing.assert_allclose(found, dequantize(grid.codes(WEIGHT), learned), rtol=1e-6)


@pytest.mark.parametrize("grains", GRAINS, ids=str)
@pytest.mark.parametrize("scheme", ["w8", "w4u", "w2", "w3", "w4k"])
def test_pulled_weights_keep_their_codes(scheme: str, grains: object) -> None:
    params = params_of(scheme, grains)
    grid, x = FakeQuantizer(params, stored=True), torch.from_numpy(WEIGHT.copy())
    codes = quantize(WEIGHT, params)
    middle = torch.from_numpy(dequantize(codes, params))
    grid.pull(x, 0.25)
    torch.testing.assert_close(x, torch.from_numpy(WEIGHT).lerp(middle, 0.25))
    grid.scale.data *= 2  # learned since; codes are those of the first scale
    grid.pull(x, 1.0)
    torch.testing.assert_close(x, middle)
    np.testing.assert_array_equal(grid.codes(x.numpy()), codes)


def test_values_on_the_grid_stay_what_they_are() -> None:
    params = params_of("w4", PerTensor())
    x = dequantize(quantize(WEIGHT, params), params)
    np.testing.assert_array_equal(FakeQuantizer(params)(torch.from_numpy(x)).detach().numpy(), x)


def test_levels_learn_and_stay_in_order() -> None:
    grid = FakeQuantizer(params_of("w2k", PerChannel(1)))
    x = torch.from_numpy(WEIGHT)
    before = float((grid(x) - x).square().mean().detach())
    descent = torch.optim.Adam(grid.parameters(), 0.01)
    for _ in range(60):
        descent.zero_grad()
        (grid(x) - x).square().mean().backward()
        descent.step()
        grid.settle()
    assert float((grid(x) - x).square().mean().detach()) < before
    book = grid.learned().book
    assert book is not None
    assert (np.diff(book.levels, axis=1) >= 0).all()


def test_scales_keep_their_sign_and_some_size() -> None:
    params = replace(params_of("w4", PerChannel(1)))
    grid = FakeQuantizer(params)
    with torch.no_grad():
        grid.scale.mul_(-1e-6)
    grid.settle()
    found = grid.learned().scale
    assert (np.sign(found) == np.sign(params.scale)).all()
    np.testing.assert_allclose(np.abs(found), np.abs(params.scale) / 16)
    shrinking = FakeQuantizer(params, shrinks=True)
    with torch.no_grad():
        shrinking.scale.mul_(2)
    shrinking.settle()
    np.testing.assert_array_equal(shrinking.learned().scale, params.scale)


def test_what_is_measured_on_the_run_is_as_the_operator_does_it() -> None:
    x = normal(5, 7, seed=4)
    low, high = min(0, x.min()), max(0, x.max())
    scale = np.float32((high - low) / 255)
    zero = np.clip(np.rint(-low / scale), 0, 255).astype(np.int32)
    params = QParams(UINT8, np.asarray(scale), np.asarray(zero))
    expected = dequantize(quantize(x, params), params)
    np.testing.assert_allclose(on_the_run(torch.from_numpy(x)).numpy(), expected, atol=1e-6)


def test_levels_of_any_number() -> None:
    scale, zero = np.asarray(np.float32(0.3)), np.asarray(np.int32(2))
    params = QParams(IntType.of_levels(6, False), scale, zero)
    found = FakeQuantizer(params)(torch.from_numpy(WEIGHT)).detach().numpy()
    np.testing.assert_allclose(found, dequantize(quantize(WEIGHT, params), params), atol=1e-6)
