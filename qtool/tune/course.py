"""How to learn, and what there is to tell of it: plain values, without torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

START = "accurate"  # the preset: its seconds are few beside those of learning


@dataclass(frozen=True)
class Course:
    """How to learn.

    `rate` is the part of its size by which a weight may move in a step, a tenth of that where
    activations have few bits, since then a small change turns many codes. `decay` is what the
    square of a weight costs, beside labels. After `patience` epochs without a better verdict a
    stage ends.
    """

    epochs: int = 150
    batch_size: int = 32
    rate: float = 0.01
    decay: float = 1e-4
    patience: int = 60
    seed: int = 0


@dataclass(frozen=True)
class Learning:
    """What is learned from: the float model, labels, or both."""

    floats: bool = True
    labels: bool = False


@dataclass(frozen=True)
class Verdict:
    """What a model is worth on samples set apart; less is better.

    `distance` is the loss that is learned by, or, without learning, the error of the outputs over
    what they are: it chooses, since a score moves by chance more than by learning where samples are
    few. `lost` is how much worse than float it is in the metric, in shares, dB or plain numbers,
    NaN where that was not measured; the target is about it, and `met` or not.
    """

    distance: float
    lost: float = math.nan
    met: bool = False

    def better(self, other: Verdict) -> bool:
        """Whether it is to be preferred."""
        if self.met != other.met:
            return self.met
        return self.distance < other.distance


@dataclass(frozen=True)
class Progress:
    """Where learning is: the stage, its epoch and loss, what it is worth, and the best so far.

    `restarts` counts how often it diverged, and was restored.
    """

    stage: str
    epoch: int
    epochs: int
    loss: float
    verdict: Verdict
    best: Verdict
    restarts: int = 0


Told = Callable[[Progress], None]


def kept_beside(output: Path) -> Path:
    """Where an interrupted run leaves what it has learned."""
    return output.with_name(f"{output.name}.part")
