"""AWQ for streams: the channels of weights that meet large values scaled up, and so rounded finer.

    s_c = mean|X_c|^a,  a in 0 ... 1          X what a stream carries, W what reads it

    W x = (W s) (x / s) ~ Q(W s) (x / s)

What is divided by s is folded into the constants that write the stream. How far, a, is chosen for
each stream by the error of what its readers give, measured on samples with quantized weights (see
`loss`), activations left in float where they stay so; only what helps on other samples is kept, and
nothing is if the outputs of the quantized model do not come nearer to float's.

Source: Lin et al. 2023, AWQ: Activation-aware Weight Quantization for LLM Compression and
Acceleration, section 3.2; streams are ours, as in `smooth`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from qtool.algorithms import Listed, find
from qtool.passes.equalize import DEAD
from qtool.passes.streams import Factors, Stream, apply, streams
from qtool.plan.sites import Sites, find_sites
from qtool.recipe import Recipe
from qtool.refine.cases import Case, batches, better, chosen, measure, ones
from qtool.refine.observed import Tensor, readers_of, tensors_of
from qtool.refine.samples import Samples
from qtool.target import Target

POWERS = tuple(np.arange(1, 21) / 20)
# dB by which a stream's error must fall on samples that were not used to choose, and that of the
# outputs in the end.
WORTHWHILE = 0.3


def awq(
    model: ir.Model, samples: Samples, recipe: Recipe, target: Target, threads: int
) -> ir.Model:
    """A model of the same function whose weights lose less where it counts; the same model where
    nothing helps.

    Raises:
        ModelError: the model cannot be run.
    """
    listed = find(recipe.algorithms, "awq") or Listed("awq")
    if not samples.fit or not samples.check:
        return model
    found = model.clone()
    sites = find_sites(found, recipe, target)
    every = streams(found.graph)
    changed = False
    for cases in batches(case for s in every if (case := _case(s, sites, listed))):
        measure(found, cases, samples, threads)
        for case in cases:
            factors = _choose(case, every)
            changed |= factors is not None and apply(case.stream, factors, "scaled")
    if not changed:
        return model
    return better(model, found, samples, recipe, target, threads, WORTHWHILE)


def _case(stream: Stream, sites: Sites, listed: Listed) -> Case | None:
    """What is to be measured of a stream, of which a reader has weights of few enough bits."""
    readers = readers_of(stream, sites, stored=True)
    if not any(listed.takes(reader.scheme.type.bits) for reader in readers):
        return None
    tensors, read = tensors_of(stream, sites), {reader.tensor for reader in readers}
    for value, labels in stream.values.items():
        name = value.name or ""
        if name in read and name not in tensors:
            tensors[name] = Tensor(name, labels, None, name, carried=False)
    return Case(stream, tensors, readers)


def _choose(case: Case, every: list[Stream]) -> Factors | None:
    """The factors of least error, or None where they are not worthwhile."""
    return chosen(case, every, _candidates(case), WORTHWHILE) if case.sound else None


def _candidates(case: Case) -> Iterator[Factors]:
    means = _means(case)
    live = means > DEAD * means.max()
    free = live & case.stream.free
    if not free.any():
        return
    held = live & ~free
    means = np.where(live, means, 1.0)
    for power in POWERS:
        wish = means**power
        # A common factor changes nothing that is rounded: the level is that of what is held.
        level = np.exp(np.log(wish[held if held.any() else free]).mean())
        factors = ones(case.stream)
        factors[free] = wish[free] / level
        yield factors


def _means(case: Case) -> Factors:
    """The mean size of each label in what the readers read."""
    total, count = np.zeros((2, len(case.stream.free)))
    for name in sorted({reader.tensor for reader in case.readers}):
        tensor = case.tensors[name]
        labels = tensor.labels.reshape(-1)
        np.add.at(total, labels, np.abs(tensor.rows("fit")).mean(0, np.float64))
        np.add.at(count, labels, 1)
    return total / np.maximum(count, 1)
