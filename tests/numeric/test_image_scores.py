"""PSNR and SSIM against scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from qtool.numeric import images
from qtool.numeric.images import image_axes, psnr, ssim

RNG = np.random.default_rng(8)


def pair(*shape: int) -> tuple[images.Array, images.Array]:
    targets = RNG.random(shape)
    return targets, np.clip(targets + RNG.normal(scale=0.2, size=shape), 0, 1)


@pytest.mark.parametrize("shape", [(3, 9), (2, 3, 9, 12), (2, 9, 12, 3)])
def test_psnr_is_scikit_images(shape: tuple[int, ...]) -> None:
    targets, values = pair(*shape)
    expected = [
        peak_signal_noise_ratio(t, v, data_range=2.5) for t, v in zip(targets, values, strict=True)
    ]
    assert psnr(targets, values, 2.5) == pytest.approx(expected, rel=1e-12)
    assert psnr(targets, targets, 1.0).tolist() == [math.inf] * len(targets)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((7, 7), None), ((28, 28), None), ((20, 33), None), ((3, 16, 19), 0), ((1, 8, 8), 0),
        ((16, 19, 3), -1), ((4, 12, 9), 0), ((12, 9, 1), -1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_ssim_is_scikit_images(shape: tuple[int, ...], axis: int | None, offset: float) -> None:
    targets, values = pair(5, *shape)
    targets, values = targets + offset, values + offset
    expected = [
        structural_similarity(t, v, data_range=1.0, channel_axis=axis)
        for t, v in zip(targets, values, strict=True)
    ]
    # scikit-image loses digits to the offset, not we
    found = ssim(targets, values, 1.0)
    assert found == pytest.approx(expected, abs=1e-9 if offset == 0 else 1e-6)
    layout = {None: "HW", 0: "CHW", -1: "HWC"}[axis]
    assert ssim(targets, values, 1.0, layout).tolist() == found.tolist()
    assert ssim(targets, targets, 1.0) == pytest.approx(np.ones(5), abs=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_ssim_is_computed_in_float64(dtype: str) -> None:
    targets, values = (255 * each.astype(dtype) for each in pair(3, 16, 16))
    expected = [
        structural_similarity(t.astype(np.float64), v.astype(np.float64), data_range=255)
        for t, v in zip(targets, values, strict=True)
    ]
    assert ssim(targets, values, 255) == pytest.approx(expected, abs=1e-9)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, values = pair(7, 9, 9)
    whole = ssim(targets, values, 1.0)
    for chunk in (1, 170):
        monkeypatch.setattr(images, "CHUNK", chunk)
        assert ssim(targets, values, 1.0).tolist() == whole.tolist()
    assert ssim(targets[:0], values[:0], 1.0).shape == (0,)


def test_constants_and_what_is_not_finite() -> None:
    flat = np.full((2, 8, 8), 0.3)
    assert ssim(flat, flat, 1.0) == pytest.approx([1, 1])
    expected = structural_similarity(flat[0], flat[0] + 0.5, data_range=1.0)
    assert ssim(flat, flat + 0.5, 1.0) == pytest.approx([expected] * 2)
    broken = flat.copy()
    broken[1, 2, 2] = np.nan
    assert np.isnan(ssim(flat, broken, 1.0)).tolist() == [False, True]
    assert np.isnan(psnr(flat, broken, 1.0)).tolist() == [False, True]


def test_one_huge_pixel_spoils_its_windows_alone() -> None:
    targets, values = pair(1, 40, 40)
    far = values.copy()
    far[0, 0, 0] = 1e9
    # 34 * 34 windows, and one holds the corner
    assert abs(ssim(targets, far, 1.0) - ssim(targets, values, 1.0)) < 2 / 34**2


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((28, 28), "HW"), ((3, 32, 32), "CHW"), ((32, 32, 3), "HWC"), ((1, 8, 8), "CHW"),
        ((7, 9, 4), "HWC"), ((6, 28), None), ((3, 6, 9), None), ((2, 32, 32), None),
        ((32, 32, 5), None), ((64,), None), ((), None), ((1, 3, 32, 32), None), ((3, 224, 3), None),
        ((3, 8, 8, 8), None),
    ],
)  # fmt: skip
def test_layouts(shape: tuple[int, ...], layout: str | None) -> None:
    assert image_axes(shape) == layout
    if layout is None:
        with pytest.raises(ValueError, match="no images"):
            ssim(np.zeros((2, *shape)), np.zeros((2, *shape)), 1.0)
