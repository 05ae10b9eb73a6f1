"""How often the 95 % intervals of `qtool compare` hold the truth: python -m tests.benchmarks.cover

Datasets are drawn from populations whose true figure is known, or computed from a million samples,
and each is given the interval that qtool gives it. A share of 95 % would be right; where events are
rare, and so figures few, no interval has exactly that, and more is better than less.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.bootstrap import (
    Columns,
    Interval,
    Metric,
    drop_interval,
    mean_interval,
    ratio,
    ratio_interval,
    value_interval,
)
from qtool.numeric.distances import cosine_of, sqnr_of
from qtool.numeric.metrics import f1_macro, kl_divergence, mean, r2
from qtool.numeric.ranks import spearman
from qtool.numeric.tokens import perplexity

Array = NDArray[Any]
Drawn = tuple[Columns, Columns]
Draw = Callable[[np.random.Generator, int], Drawn]

SIZES = (50, 200, 540, 2000)
DATASETS = 400
MILLION = 1_000_000


@dataclass(frozen=True)
class Figure:
    """A population of reference and candidate columns, the figure, and its interval in qtool.

    `truth` is the population's figure where that is known, for datasets of n.
    """

    draw: Draw
    value: Callable[[Columns, Columns], Array]
    interval: Callable[[Columns, Columns], Interval]
    truth: Callable[[int], float] | None = None


def drop(draw: Draw, metric: Metric, rate: bool = False) -> Figure:
    """Reference's less candidate's."""
    return Figure(
        draw, lambda r, c: metric(*r) - metric(*c), partial(drop_interval, metric, rate=rate)
    )


def quotient(draw: Draw, metric: Metric) -> Figure:
    """Candidate's over reference's."""
    return Figure(draw, lambda r, c: ratio(metric(*r), metric(*c)), partial(ratio_interval, metric))


def single(draw: Draw, metric: Metric) -> Figure:
    """Of columns that both models made together; there are no others."""
    return Figure(draw, lambda r, _: metric(*r), lambda r, _: value_interval(metric, r))


def top1(lost: float, gained: float, accuracy: float = 0.9, rare: bool = False) -> Figure:
    """The share of samples that only the reference gets right, less that of only the candidate.

    They are shares, or, where they are `rare`, expected numbers however many samples there are.
    """

    def draw(generator: np.random.Generator, n: int) -> Drawn:
        unit = 1 / n if rare else 1
        where = generator.random(n)
        reference = where < accuracy
        return (reference,), ((where >= lost * unit) & (where < accuracy + gained * unit),)

    figure = drop(draw, mean, rate=True)
    return replace(figure, truth=lambda n: (lost - gained) / (n if rare else 1))


def classes(disagreement: float, count: int = 10) -> Draw:
    """Labels and predicted classes; the reference errs on 10 %, the candidate on a few more."""

    def draw(generator: np.random.Generator, n: int) -> Drawn:
        labels, wrong, other = generator.integers(0, count, (3, n))
        reference = np.where(generator.random(n) < 0.9, labels, wrong)
        candidate = np.where(generator.random(n) < disagreement, other, reference)
        return (labels, reference), (labels, candidate)

    return draw


def agreement(rate: float) -> Figure:
    """The share of samples on which both put the same class first."""
    return Figure(
        lambda generator, n: ((generator.random(n) < rate,), ()),
        lambda r, _: mean(*r),
        lambda r, _: mean_interval(*r),
        truth=lambda n: rate,
    )


def regression(freedom: float) -> Draw:
    """Labels and predictions, whose errors have heavy tails where there is little freedom."""

    def draw(generator: np.random.Generator, n: int) -> Drawn:
        labels = generator.normal(size=n)
        reference = labels + 0.5 * generator.standard_t(freedom, size=n)
        candidate = reference + 0.15 * generator.normal(size=n)
        return (labels, reference), (labels, candidate)

    return draw


def squared(generator: np.random.Generator, n: int) -> Drawn:
    """Squared errors."""
    (labels, reference), (_, candidate) = regression(8)(generator, n)
    return ((labels - reference) ** 2,), ((labels - candidate) ** 2,)


def powers(spread: float) -> Draw:
    """Error and signal power of samples; the error's logarithm is spread so much."""

    def draw(generator: np.random.Generator, n: int) -> Drawn:
        signal = np.exp(0.7 * generator.normal(size=n))
        return (0.01 * np.sqrt(signal) * np.exp(spread * generator.normal(size=n)), signal), ()

    return draw


def vectors(generator: np.random.Generator, n: int) -> Drawn:
    """Dot products and powers of vectors of 16."""
    reference = generator.normal(size=(n, 16)) * np.exp(0.5 * generator.normal(size=(n, 1)))
    candidate = reference + 0.3 * generator.normal(size=(n, 16))
    pairs = (reference, candidate), (reference, reference), (candidate, candidate)
    return tuple(np.einsum("nd,nd->n", *pair) for pair in pairs), ()


def divergence(generator: np.random.Generator, n: int) -> Drawn:
    """KL of ten classes whose logits are off by 0.3."""
    logits = 3 * generator.normal(size=(n, 10))
    both = np.exp(logits), np.exp(logits + 0.3 * generator.normal(size=(n, 10)))
    return (kl_divergence(*(each / each.sum(axis=1, keepdims=True) for each in both)),), ()


def language(generator: np.random.Generator, n: int) -> Drawn:
    """Texts of 20 to 60 tokens, 3 nats each or so."""
    tokens = generator.integers(20, 60, n)
    nats = generator.gamma(20, 3 / 20, size=n)
    worse = nats + 0.02 + 0.1 * generator.normal(size=n)
    return (nats * tokens, tokens), (worse * tokens, tokens)


def graded(generator: np.random.Generator, n: int) -> Drawn:
    """Pairs with a grade, many of them alike, and the cosine that a model gives them."""
    likeness = generator.normal(size=n)
    grades = np.round(1.2 * likeness)
    reference = likeness + 0.6 * generator.normal(size=n)
    return (grades, reference), (grades, reference + 0.2 * generator.normal(size=n))


def decibels(generator: np.random.Generator, n: int) -> Drawn:
    """PSNR of images; rounding costs those most that were met best."""
    error = np.exp(0.8 * generator.normal(size=n))
    rounding = 0.05 * np.exp(0.5 * generator.normal(size=n))
    return (-10 * np.log10(error),), (-10 * np.log10(error + rounding),)


FIGURES: Mapping[str, Figure] = {
    "top1 drop, 0.5 lost, 0.5 gained": top1(0.5, 0.5, rare=True),
    "top1 drop, 2 lost, 1 gained": top1(2, 1, rare=True),
    "top1 drop, 4 lost, 0 gained": top1(4, 0, rare=True),
    "top1 drop, 8 lost, 2 gained": top1(8, 2, rare=True),
    "top1 drop, 0.5 % lost, 0.2 % gained": top1(0.005, 0.002),
    "top1 drop, 3 % lost, 1 % gained": top1(0.03, 0.01),
    "top1 drop, 20 % lost, 10 % gained": top1(0.2, 0.1, accuracy=0.7),
    "f1 drop, 2 % differ": drop(classes(0.02), f1_macro, rate=True),
    "f1 drop, 10 % differ": drop(classes(0.1), f1_macro, rate=True),
    "agreement 99.5 %": agreement(0.995),
    "agreement 98 %": agreement(0.98),
    "agreement 80 %": agreement(0.8),
    "mse ratio": quotient(squared, mean),
    "mse drop": drop(squared, mean),
    "r2 drop": drop(regression(30), r2),
    "r2 drop, heavy tails": drop(regression(5), r2),
    "SQNR": single(powers(0.5), sqnr_of),
    "SQNR, heavy tails": single(powers(1), sqnr_of),
    "cosine": single(vectors, cosine_of),
    "KL": single(divergence, mean),
    "perplexity ratio": quotient(language, perplexity),
    "perplexity drop": drop(language, perplexity),
    "spearman drop": drop(graded, spearman),
    "psnr drop": drop(decibels, mean),
}


@cache
def population(figure: Figure) -> float:
    """The figure, as a million samples have it."""
    return float(figure.value(*figure.draw(np.random.default_rng(0), MILLION)))


def cover(figure: Figure, n: int, datasets: int) -> float:
    """The share of datasets whose interval holds the population's figure."""
    value = population(figure) if figure.truth is None else figure.truth(n)
    drawn = (figure.draw(np.random.default_rng([n, number]), n) for number in range(datasets))
    found = [figure.interval(*columns) for columns in drawn]
    # An end that is met exactly is met but for rounding.
    return float(np.mean([each.low - 1e-12 <= value <= each.high + 1e-12 for each in found]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figures", default="", help="only figures whose name holds this")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--datasets", type=int, default=DATASETS)
    asked = parser.parse_args()
    noise = 196 * np.sqrt(0.95 * 0.05 / asked.datasets)
    print(f"cover of {asked.datasets} intervals, in %; chance moves it by {noise:.1f}")
    print(f"{'n':36}" + "".join(f"{n:7}" for n in asked.sizes))
    for name, figure in FIGURES.items():
        if asked.figures in name:
            print(f"{name:36}", end="", flush=True)
            for n in asked.sizes:
                print(f"{100 * cover(figure, n, asked.datasets):7.1f}", end="", flush=True)
            print()


if __name__ == "__main__":
    main()
