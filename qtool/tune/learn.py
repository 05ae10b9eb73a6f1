"""Gradient descent: until the target is met, or samples set apart show no more gain.

Each parameter moves by a part of its own size (Adam, its rate times the root of its mean square),
so that layers of large and of small weights learn alike; the part falls along a cosine. Gradients
are clipped to a norm of 1. What is judged and kept is a moving average over the last steps, which
wavers less than they do (Polyak and Juditsky, 1992), and what it is worth the mean over the last
epochs. A loss that is not finite, or ten times the first, is divergence: what was best so far is
restored, and the rate a third of what it was.

A weight between two codes would turn from one to the other at each step, and take all else with it
(oscillations: Nagel et al., 2022). So at the end, while the step gets small, weights are pulled to
the middle of what has their code: codes stand, and scales and biases follow them.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from qtool.tune.course import Course, Progress, Told, Verdict
from qtool.tune.fake import FakeQuantizer
from qtool.tune.lessons import Lessons
from qtool.tune.losses import Loss
from qtool.tune.net import Net

_DIVERGED, _RESTARTS = 10.0, 3
_AVERAGED = 1 / 30  # of all epochs, that the average is over, about
_TELLS = 1 / 15  # of all epochs: so many last ones say together what learning is worth
_PULL = 5.0  # in rates: the part of the way to the middle, at the end

Judge = Callable[[Net, float], Verdict]  # of a net, and of the least distance so far
Snapshot = dict[str, Any]  # tensors, numbers, texts: what `torch.load` reads and runs no code for


class Learner:
    """One stage of learning, in place; the net ends as it was best.

    `state` after any epoch, given to `load` of another learner of the same things, makes that one
    go on as this one would.
    """

    def __init__(
        self, net: Net, lessons: Lessons, loss: Loss, judge: Judge, course: Course, stage: str = ""
    ) -> None:
        self.net, self.lessons, self.loss, self.judge = net, lessons, loss, judge
        self.course, self.stage = course, stage
        torch.manual_seed(course.seed)
        self._rng = np.random.default_rng(course.seed)
        self._rate, self._first, self._steps = course.rate, math.inf, 0
        self._epoch, self._waited, self._restarts = 0, 0, 0
        self._optimizer = _optimizer(net, self._rate)
        self._kept = copy.deepcopy(net.state_dict())
        self._average = copy.deepcopy(self._kept)
        self._best: Verdict | None = None
        self._last = list[float]()  # what the last epochs were worth, each alone
        self._tells = max(1, round(course.epochs * _TELLS))

    def run(
        self, told: Told = lambda progress: None, keep: Callable[[Snapshot], None] | None = None
    ) -> Verdict:
        """Learn; `keep` is given the state after each epoch."""
        if self._best is None:
            self._best = self.judge(self.net, math.inf)
            self._last = [self._best.distance]
            told(self._progress(math.nan, self._best))
        while self._goes_on():
            self._epoch += 1
            mean = self._taught()
            verdict = self._judged(mean)
            told(self._progress(mean, verdict))
            if keep is not None:
                keep(self.state())
        self.net.load_state_dict(self._kept)
        return self._best

    def _goes_on(self) -> bool:
        assert self._best is not None
        ended = self._epoch >= self.course.epochs or self._waited >= self.course.patience
        return not (ended or self._best.met or self._restarts > _RESTARTS)

    def _taught(self) -> float:
        """One epoch; the mean loss, infinite where one was not finite."""
        size, total, count, left = self.course.batch_size, 0.0, 0, len(self.lessons)
        self._optimizer.zero_grad()
        for lesson in self.lessons.batches(size, self._rng, mixed=self.loss.distils):
            loss = self.loss.of(self.net, lesson) * (len(lesson.plain) / size)
            total += float(loss.detach())
            if not math.isfinite(total):
                return math.inf
            loss.backward()
            count, left = count + len(lesson.plain), left - len(lesson.plain)
            if self._first == math.inf and (count >= size or not left):
                self._first = total * size / count  # before anything has moved
            if count >= size or not left:
                self._step()
                count = 0
        return total * size / max(1, len(self.lessons))

    def _judged(self, mean: float) -> Verdict:
        """What the epoch was worth; the best so far is kept, and restored where it diverged."""
        assert self._best is not None
        self._waited += 1
        if not math.isfinite(mean) or mean > _DIVERGED * max(self._first, 1e-6):
            self._restarts += 1
            self._rate, self._last = self._rate / 3, [self._best.distance]
            self.net.load_state_dict(self._kept)
            self._average = copy.deepcopy(self._kept)
            self._optimizer = _optimizer(self.net, self._rate)
            return Verdict(math.inf)
        now = copy.deepcopy(self.net.state_dict())
        self.net.load_state_dict(self._average)
        verdict = self._worth(self._best)
        self.net.load_state_dict(now)
        if verdict.better(self._best):
            self._best, self._waited = verdict, 0
            self._kept = copy.deepcopy(self._average)
        return verdict

    def _worth(self, best: Verdict) -> Verdict:
        """Its distance is the mean of the last epochs': one alone is good or bad by chance."""
        before = self._last[max(0, len(self._last) + 1 - self._tells) :]
        total, count = math.fsum(before), len(before) + 1
        verdict = self.judge(self.net, count * best.distance - total)
        self._last = [*before, verdict.distance]
        return replace(verdict, distance=(total + verdict.distance) / count)

    def _progress(self, loss: float, verdict: Verdict) -> Progress:
        assert self._best is not None
        numbers = self._epoch, self.course.epochs
        return Progress(self.stage, *numbers, loss, verdict, self._best, self._restarts)

    def _step(self) -> None:
        """Once so many samples have been seen as a batch has, whatever their shapes."""
        per_epoch = math.ceil(len(self.lessons) / self.course.batch_size)
        share = min(1.0, self._steps / (per_epoch * self.course.epochs))
        for group in self._optimizer.param_groups:
            group["lr"] = group["full"] * 0.5 * (1 + math.cos(math.pi * share))
        nn.utils.clip_grad_norm_([p for p in self.net.parameters() if p.grad is not None], 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.net.settle()
        if share > 0.5:  # before, it is next to nothing
            self.net.pull(min(1.0, _PULL * self._rate * share**8))
        self._steps += 1
        epochs = max(1.0, _AVERAGED * self.course.epochs)
        part = 1 / min(self._steps, epochs * per_epoch)
        for name, now in self.net.named_parameters():
            self._average[name].lerp_(now.detach(), part)

    def state(self) -> Snapshot:
        """All that goes on from here."""
        best = self._best or Verdict(math.inf)
        found: Snapshot = {
            "net": self.net.state_dict(),
            "kept": self._kept,
            "average": self._average,
            "optimizer": self._optimizer.state_dict(),
            "random": json.dumps(self._rng.bit_generator.state),
            "best": [best.distance, best.lost, best.met],
            "last": self._last,
            "rate": [self._rate, self._first],
            "counts": [self._epoch, self._steps, self._waited, self._restarts],
        }
        return copy.deepcopy(found)  # what goes on moves the tensors in place

    def load(self, state: Snapshot) -> None:
        """Go on from a state."""
        self.net.load_state_dict(state["net"])
        self._kept, self._average = state["kept"], state["average"]
        self._last = state["last"]
        self._rate, self._first = state["rate"]
        self._optimizer = _optimizer(self.net, self._rate)
        self._optimizer.load_state_dict(state["optimizer"])
        self._rng.bit_generator.state = json.loads(state["random"])
        self._best = Verdict(*state["best"])
        self._epoch, self._steps, self._waited, self._restarts = state["counts"]


def _optimizer(net: Net, rate: float) -> torch.optim.Optimizer:
    groups = []
    grids = [grid for grid in net.modules() if isinstance(grid, FakeQuantizer)]
    scales = {id(each) for grid in grids for each in grid.parameters()}
    usual = _usual(net)
    for each in net.parameters():
        if each.requires_grad:
            size = float(each.detach().square().mean().sqrt())
            own = size if id(each) in scales or each.dim() > 1 else max(size, usual)
            part = rate * max(own, 1e-8)
            groups.append({"params": [each], "lr": part, "full": part})
    return torch.optim.Adam(groups)


def _usual(net: Net) -> float:
    """The size of a usual weight, for biases that begin as 0."""
    sizes = [float(w.detach().square().mean().sqrt()) for w in net.weights if w.dim() > 1]
    return float(np.median(sizes)) if sizes else 1.0
