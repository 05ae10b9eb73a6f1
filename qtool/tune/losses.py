"""How wrong the quantized model is: beside the float model, and beside the truth.

float     of each end  |y - t|^2 / |t - mean t|^2, and where classes are judged the divergence of
          softmax(y) from softmax(t); of each layer's results the first, which count a part
labels    cross entropy of scores and classes; squared error of numbers over their variance
decay     decay |w|^2 of weights as they are stored, beside labels
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from qtool.tune.lessons import Lesson
from qtool.tune.net import Net

LAYERS = 0.3  # what all layers together count beside the ends


@dataclass(frozen=True)
class Loss:
    """What is to be made small.

    `layers` are values inside that the float model's are held against, none of them ends; without
    `distils` those and the ends count nothing. `classes`: rows of scores are of classes, and to be
    right about these is what is wanted. `labelled` is the end that labels speak of, if they are
    learned from, and `spread` the variance of labels that are numbers.
    """

    ends: tuple[str, ...]
    layers: tuple[str, ...] = ()
    distils: bool = True
    classes: bool = True
    labelled: str = ""
    spread: float = 1.0
    decay: float = 0.0

    def of(self, net: Net, lesson: Lesson) -> Tensor:
        """For one batch, a scalar."""
        found, total = net(lesson.values), torch.zeros(())
        if self.distils:
            total = total + self._distance(found, lesson.values)
        if self.labelled and lesson.labels is not None and lesson.plain.any():
            shares = _sums_to_one(lesson.values[self.labelled])
            scores, labels = found[self.labelled][lesson.plain], lesson.labels[lesson.plain]
            total = total + task(scores, labels, shares=shares) / self.spread
        if self.labelled and self.decay:
            total = total + self.decay * sum(w.square().sum() for w in net.stored())
        return total

    def _distance(self, found: dict[str, Tensor], expected: dict[str, Tensor]) -> Tensor:
        ends = [_distance(found[name], expected[name]) for name in self.ends]
        if self.classes:
            ends += [_divergence(found[n], t) for n in self.ends if _scores(t := expected[n])]
        total = torch.stack(ends).mean()
        layers = [_distance(found[name], expected[name]) for name in self.layers]
        return total + LAYERS * torch.stack(layers).mean() if layers else total


def labelled(ends: Sequence[str], values: dict[str, Tensor], labels: Tensor) -> str:
    """The end that labels, which may be those of more samples, can be about: scores with a column
    for each class, or numbers of their shape; "" for none."""
    for name in ends:
        x = values[name]
        if labels.is_floating_point():
            if x.dim() and x.numel() * len(labels) == labels.numel() * len(x):
                return name
        elif x.dim() == 2 and labels.dim() == 1:
            least, most = int(labels.min()), int(labels.max())
            if 0 <= least <= most < x.shape[1] > 1:
                return name
    return ""


def spread(labels: NDArray[Any]) -> float:
    """The variance of labels that are numbers; 1 for classes, and where there is none."""
    found = float(np.var(labels)) if labels.dtype.kind == "f" else 1.0
    return found if found > 0 else 1.0


def task(scores: Tensor, labels: Tensor, *, shares: bool = False) -> Tensor:
    """Of the end that labels speak of; `shares`: the float model gives probabilities there, whose
    sum is 1 no longer where they are quantized."""
    if labels.is_floating_point():
        return functional.mse_loss(scores.reshape(labels.shape), labels.to(scores.dtype))
    logits = scores.clamp(min=1e-12).log() if shares else scores
    return functional.cross_entropy(logits, labels)


def _distance(found: Tensor, expected: Tensor) -> Tensor:
    return functional.mse_loss(found, expected) / expected.var(correction=0).clamp(min=1e-12)


def _scores(expected: Tensor) -> bool:
    """Whether it may be scores of classes: a row of them for each sample."""
    return expected.dim() == 2 and expected.shape[1] > 1


def _divergence(found: Tensor, expected: Tensor) -> Tensor:
    if _sums_to_one(expected):
        found, expected = found.clamp(min=1e-12).log(), expected.clamp(min=1e-12).log()
    y, t = (functional.log_softmax(each, dim=-1) for each in (found, expected))
    return functional.kl_div(y, t, log_target=True, reduction="batchmean")


def _sums_to_one(scores: Tensor) -> bool:
    sums = scores.detach().sum(dim=-1)
    return bool((scores >= 0).all() and (sums - 1).abs().max() < 1e-3)
