"""Targets of an output's own shape, as of a decoder or a generator: one error for each sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qtool.compare.kinds import KINDS, score
from qtool.compare.truth.held import Array, Judged, Outputs, fits, unused
from qtool.numeric.images import image_axes, psnr, ssim
from qtool.numeric.metrics import squared_errors

Range = tuple[float, float]
MOST = 100.0
"""dB that an image counts at most: one that is met exactly would make any mean infinite."""


class Targets:
    """Targets (n, …), for the first output of this shape.

    `span` is the least and the greatest value that they can have, which PSNR and SSIM of images
    refer to; those that they do have where it is not known.
    """

    inputs = alone = False

    def __init__(self, names: Sequence[str], targets: Array, span: Range | None = None) -> None:
        self._targets = targets
        self._seen = 0
        self._names = list(names)
        self._columns: dict[str, list[tuple[Array, ...]]] = {name: [] for name in names}
        self._images = image_axes(targets.shape[1:]) is not None
        self._declared = span is not None
        self._low, self._high = span or (float(targets.min()), float(targets.max()))

    def see(self, feeds: Outputs, reference: Outputs, candidate: Outputs, count: int) -> None:
        """Take in the next samples; an output of another shape than its targets is out."""
        targets = self._targets[self._seen : self._seen + count]
        self._seen += count
        for name in list(self._names):
            values = reference[name], candidate[name]
            if fits(count, *values) and values[0].shape == targets.shape:
                self._columns[name].append(self._errors(targets, *values))
            else:
                self._names.remove(name)
                del self._columns[name]

    def judge(self) -> Judged:
        """The mean squared error, and of images PSNR and SSIM."""
        if not self._names:
            sizes = ", ".join(map(str, self._targets.shape[1:]))
            what = f"labels of type {self._targets.dtype} and shape {self._targets.shape}"
            return unused(what, f"they need a float output of shape (samples, {sizes})")
        name = self._names[0]
        columns = [np.concatenate(each) for each in zip(*self._columns[name], strict=True)]
        kinds = ("mse", "psnr", "ssim") if self._has_span else ("mse",)
        pairs = zip(kinds, columns[::2], columns[1::2], strict=True)
        found = {kind: score(KINDS[kind], (r,), (c,)) for kind, r, c in pairs}
        notes: tuple[str, ...] = ()
        if self._has_span and not self._declared:
            span = f"{self._low:.4g} … {self._high:.4g}"
            notes = (f"psnr and ssim take the targets' own range, {span}; target_range sets it",)
        return Judged(name, found, notes)

    @property
    def _has_span(self) -> bool:
        return self._images and self._high > self._low

    def _errors(self, targets: Array, *values: Array) -> tuple[Array, ...]:
        """A column for each score and model: reference, candidate, reference, …"""
        found = [squared_errors(targets, value) for value in values]
        if self._has_span:
            span = self._high - self._low
            found += [np.minimum(psnr(targets, value, span), MOST) for value in values]
            found += [ssim(targets, value, span) for value in values]
        return tuple(found)
