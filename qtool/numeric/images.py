"""How close images are to the ones that were wanted: PSNR and SSIM, one number for each sample."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.distances import CHUNK
from qtool.numeric.metrics import squared_errors

Array = NDArray[Any]
Floats = NDArray[np.float64]

WINDOW = 7
"""Pixels of a side of SSIM's window; images must be as large."""

CHANNELS = (1, 3, 4)
K1, K2 = 0.01, 0.03


def image_axes(shape: tuple[int, ...]) -> str | None:
    """ "CHW", "HWC" or "HW" for a sample's shape; None if it is no image, or one under 7 x 7.

    One, three or four channels, looked for in front and then at the end.
    """
    fits = {
        "HW": len(shape) == 2,
        "CHW": len(shape) == 3 and shape[0] in CHANNELS,
        "HWC": len(shape) == 3 and shape[-1] in CHANNELS,
    }
    for layout, possible in fits.items():
        if possible and all(shape[layout.index(side)] >= WINDOW for side in "HW"):
            return layout
    return None


def psnr(targets: Array, values: Array, span: float) -> Floats:
    """The peak signal-to-noise ratio of each sample in dB, (n, …) twice -> (n,); inf where equal.

    `span` is the range that values can have. Huynh-Thu, Q. and Ghanbari, M. (2008), "Scope of
    validity of PSNR in image/video quality assessment".
    """
    # PSNR = 10 log10(span^2 / mean (t - v)^2)
    with np.errstate(divide="ignore"):
        return np.asarray(20 * np.log10(span) - 10 * np.log10(squared_errors(targets, values)))


def ssim(targets: Array, values: Array, span: float, layout: str | None = None) -> Floats:
    """The mean structural similarity of each sample, (n, …) twice -> (n,); 1 where equal.

    Samples are "CHW", "HWC" or "HW"; `layout` None: what `image_axes` says. `span` is the range
    that values can have. ValueError if these are no images.

    Wang, Z. et al. (2004), "Image quality assessment: from error visibility to structural
    similarity", with a uniform window of 7 x 7 inside the image, sample covariances, and the mean
    over the channels, as scikit-image has it.
    """
    layout = image_axes(targets.shape[1:]) if layout is None else layout
    if layout is None:
        raise ValueError(f"samples of shape {targets.shape[1:]} are no images")
    if layout == "HWC":
        targets, values = np.moveaxis(targets, -1, 1), np.moveaxis(values, -1, 1)
    step = max(1, CHUNK // max(1, targets[:1].size))
    parts = [
        _ssim(targets[start : start + step], values[start : start + step], span)
        for start in range(0, len(targets), step)
    ]
    return np.concatenate([np.zeros(0), *parts])


def _ssim(targets: Array, values: Array, span: float) -> Floats:
    """(n, ..., H, W) twice -> (n,)."""
    sides = tuple(range(1, targets.ndim))
    x, y = targets.astype(np.float64), values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        # What all windows have in common is taken away first: variances would drown in its square.
        common = x.mean(axis=sides, keepdims=True)
        x -= common
        y -= common
        pixels = WINDOW * WINDOW
        mean_x, mean_y = _boxes(x) / pixels, _boxes(y) / pixels
        scale = 1 / (pixels - 1)
        both = scale * (_boxes(x * y) - pixels * mean_x * mean_y)
        power = scale * (_boxes(x * x + y * y) - pixels * (mean_x * mean_x + mean_y * mean_y))
        mean_x += common
        mean_y += common
        # SSIM = (2 mx my + C1) (2 vxy + C2) / ((mx^2 + my^2 + C1) (vx + vy + C2))
        c1, c2 = (K1 * span) ** 2, (K2 * span) ** 2
        above = (2 * mean_x * mean_y + c1) * (2 * both + c2)
        below = (mean_x * mean_x + mean_y * mean_y + c1) * (power + c2)
        return np.asarray((above / below).mean(axis=sides))


def _boxes(values: Floats) -> Floats:
    """The sum of each window that lies inside: (..., H, W) -> (..., H - 6, W - 6).

    Only what is in a window is added, so no value, however large, touches the sums beyond it.
    """
    return reduce(_windows, (-1, -2), values)


def _windows(values: Floats, axis: int) -> Floats:
    """The sums of 7 neighbours along an axis, which is shorter by 6 then: as 4 + 2 + 1."""
    moved = np.moveaxis(values, axis, -1)
    two = moved[..., :-1] + moved[..., 1:]
    four = two[..., :-2] + two[..., 2:]
    return np.moveaxis(four[..., :-3] + two[..., 4:-1] + moved[..., 6:], -1, axis)
