"""How wrong the quantized model is: beside the float model, and beside the truth.

distillation   of each output  |y - t|^2 / |t - mean t|^2, and for scores of classes the
               divergence of softmax(y) from softmax(t); of each layer's results the first,
               which counts a part
task           cross entropy of scores and labels; squared error of numbers
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

LAYERS = 0.3  # what all layers together count beside the outputs


def distilled(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], outputs: Sequence[str]
) -> Tensor:
    """The distance of all that is expected; `outputs` are those names that are outputs."""
    ends = [_distance(found[name], expected[name]) for name in outputs]
    ends += [_divergence(found[n], expected[n]) for n in outputs if _scores(expected[n])]
    layers = [_distance(found[n], t) for n, t in expected.items() if n not in outputs]
    total = torch.stack(ends).mean()
    return total + LAYERS * torch.stack(layers).mean() if layers else total


def task(scores: Tensor, labels: Tensor) -> Tensor:
    """Of the output that labels speak of."""
    if labels.is_floating_point():
        return functional.mse_loss(scores.reshape(labels.shape), labels.to(scores.dtype))
    chances = _sums_to_one(scores)
    logits = scores.clamp(min=1e-12).log() if chances else scores
    return functional.cross_entropy(logits.reshape(-1, scores.shape[-1]), labels.reshape(-1))


def _distance(found: Tensor, expected: Tensor) -> Tensor:
    spread = (expected - expected.mean()).square().mean()
    return (found - expected).square().mean() / spread.clamp(min=1e-12)


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
