"""SmoothQuant for streams: the channels of activations made even, as far as weights can bear it.

    s_c = max|X_c|^a / max|W_c|^(1 - a)          X what a stream carries, W what reads it

moves the difficulty from activations, which have one scale for all channels, to weights, which
have one for each output. How far, a, is chosen for each stream by the error that is measured on
samples (see `loss`), among the factors that weights alone suggest too; and only what helps on other
samples by a clear margin is kept. If the outputs of the quantized model do not come nearer to
float's by as much, nothing is: a model without outliers stays as it is.

Through a Clip, such as Relu6, a channel that reaches the bound keeps its factor; one that stays
below may be amplified up to it.

Source: Xiao et al. 2022, SmoothQuant: Accurate and Efficient Post-Training Quantization for Large
Language Models, section 4; streams, residual and clipped, are ours.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from qtool.passes.channels import bounds
from qtool.passes.equalize import DEAD, even
from qtool.passes.streams import Factors, Stream, apply, largest, streams
from qtool.plan.sites import find_sites
from qtool.recipe import Recipe
from qtool.refine.cases import Case, batches, better, chosen, measure
from qtool.refine.loss import gains
from qtool.refine.observed import Tensor, readers_of, tensors_of
from qtool.refine.samples import Samples
from qtool.target import Target

ALPHAS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_POWERS = (0.5, 1.0)  # of max|X_c| alone
# dB by which a stream's error must fall on samples that were not used to choose, and that of the
# outputs in the end. Less is luck: resnet8 gained 0.5 dB on 80 samples and lost 0.7 dB on 2,000.
WORTHWHILE = 1.0
# Samples that nobody saw may reach further than those that were measured.
MARGIN = 1.25


def smooth(
    model: ir.Model, samples: Samples, recipe: Recipe, target: Target, threads: int
) -> ir.Model:
    """A model of the same function whose streams are easier to quantize; the same model where
    nothing helps.

    Raises:
        ModelError: the model cannot be run.
    """
    if not samples.fit or not samples.check:
        return model
    found = model.clone()
    sites = find_sites(found, recipe, target)
    every = streams(found.graph, bounded=True)
    changed = False
    every_case = (Case(s, tensors_of(s, sites), readers_of(s, sites)) for s in every)
    for cases in batches(every_case):
        measure(found, cases, samples, threads)
        for case in cases:
            factors = _choose(case, every)
            changed |= factors is not None and apply(case.stream, factors, "smoothed")
    if not changed:
        return model
    return better(model, found, samples, recipe, target, threads, WORTHWHILE)


def _choose(case: Case, every: list[Stream]) -> Factors | None:
    """The factors of least error, or None where they are not worthwhile."""
    if not case.sound:
        return None
    peaks, least = _peaks(case.stream, case.tensors), _least(case.stream, case.tensors)
    if _most(peaks, gains(case.stream)) < WORTHWHILE:
        return None
    return chosen(case, every, _candidates(case.stream, peaks, least), WORTHWHILE)


def _most(peaks: Factors, loud: Factors) -> float:
    """The most that even activations could gain, in dB: noise ~ max(r1) |r2| against |r1 r2|."""
    even_noise = np.linalg.norm(peaks * loud)
    noise = peaks.max() * np.linalg.norm(loud)
    return float(20 * np.log10(noise / even_noise)) if even_noise > 0 else 0.0


def _peaks(stream: Stream, tensors: dict[str, Tensor]) -> Factors:
    """The largest value of each label, over the largest of its tensor."""
    found = np.zeros(len(stream.free))
    for tensor in tensors.values():
        if tensor.scheme is not None:
            peak = np.maximum(np.abs(tensor.low), np.abs(tensor.high)).astype(np.float64)
            np.maximum.at(found, tensor.labels.reshape(-1), peak / max(peak.max(), 1e-30))
    return found


def _least(stream: Stream, tensors: dict[str, Tensor]) -> Factors:
    """The least factor of each label that lets it stay within bounds; 1 and more: it has none.

    x / s <= b   <=>   s >= x / b
    """
    found = np.zeros(len(stream.free))
    for node in stream.clips:
        low, high = bounds(node)
        tensor = tensors[node.outputs[0].name or ""]
        for bound, reached in ((low, -tensor.low), (high, tensor.high)):
            if 0 < abs(bound) < np.inf:
                share = MARGIN * np.maximum(reached, 0).astype(np.float64) / abs(bound)
                np.maximum.at(found, tensor.labels.reshape(-1), share)
    return found


def _candidates(stream: Stream, peaks: Factors, least: Factors) -> Iterator[Factors]:
    read = largest(stream.readers, len(stream.free))
    live = (peaks > DEAD * peaks.max()) & (read > DEAD * read.max())
    free = live & stream.free & (least < 1)
    if not free.any():
        return
    peaks, read = np.where(live, peaks, 1.0), np.where(live, read, 1.0)
    wishes = [peaks**alpha / read ** (1 - alpha) for alpha in ALPHAS]
    wishes += [peaks**power for power in _POWERS]
    weights = even(stream)
    if weights is not None:
        wishes.append(weights[0])
    held = live & ~free
    for wish in wishes:
        # A common factor only moves scales about: the level stays, or is that of what is held.
        level = np.exp(np.log(wish[held if held.any() else free]).mean())
        factors = np.ones(len(free))
        factors[free] = np.maximum(wish[free] / level, least[free])
        yield factors
