"""Gradient descent: until the target is met, or samples set apart show no more gain.

Each parameter moves by a part of its own size (Adam, its rate times the root of its mean square),
so that layers of large and of small weights learn alike; the part falls along a cosine. Gradients
are clipped to a norm of 1. A loss that is not finite, or ten times the first, is divergence: what
was best so far is restored, and the rate a third of what it was.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from qtool.tune.fake import FakeQuantizer
from qtool.tune.lessons import Lesson, Lessons
from qtool.tune.losses import distilled, task
from qtool.tune.net import Net

_DIVERGED, _RESTARTS = 10.0, 3


@dataclass(frozen=True)
class Course:
    """How to learn. `rate` is the part of its size by which a weight may move in a step, `labelled`
    the output that labels speak of, if they are to be learned from."""

    epochs: int = 40
    batch_size: int = 32
    rate: float = 0.01
    decay: float = 1e-4
    patience: int = 10
    seed: int = 0
    labelled: str = ""


@dataclass(frozen=True)
class Verdict:
    """What a model is worth on samples set apart: less is better; `met` if that is enough."""

    loss: float
    shown: str = ""
    met: bool = False


@dataclass(frozen=True)
class Progress:
    """Where learning is: the epoch, its loss, what it was worth, and the best so far."""

    epoch: int
    epochs: int
    loss: float
    verdict: Verdict
    best: Verdict
    restarts: int = 0


Judge = Callable[[Net], Verdict]
Told = Callable[[Progress], None]


def learn(
    net: Net, lessons: Lessons, judge: Judge, course: Course, told: Told = lambda progress: None
) -> Progress:
    """Learn in place; the net ends as it was best."""
    torch.manual_seed(course.seed)
    rng = np.random.default_rng(course.seed)
    best, kept = judge(net), copy.deepcopy(net.state_dict())
    now = Progress(0, course.epochs, math.nan, best, best)
    told(now)
    optimizer = _optimizer(net, course, course.rate)
    steps = max(1, math.ceil(len(lessons) / course.batch_size)) * course.epochs
    rate, first, step, waited = course.rate, math.inf, 0, 0
    for epoch in range(1, course.epochs + 1):
        if best.met or waited >= course.patience:
            break
        total, count = 0.0, 0
        for lesson in lessons.batches(course.batch_size, rng):
            _slow(optimizer, 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))
            loss = _stepped(net, lesson, optimizer, course)
            total, count, step = total + loss, count + 1, step + 1
            first = min(first, loss) if step == 1 else first
            if not math.isfinite(loss):
                break
        mean = total / max(1, count)
        diverged = not math.isfinite(mean) or mean > _DIVERGED * max(first, 1e-6)
        verdict = Verdict(math.inf) if diverged else judge(net)
        waited += 1
        if diverged:
            if now.restarts >= _RESTARTS:
                break
            rate /= 3
            net.load_state_dict(kept)
            optimizer = _optimizer(net, course, rate)
            now = replace(now, restarts=now.restarts + 1)
        elif verdict.loss < best.loss or (verdict.met and not best.met):
            best, kept, waited = verdict, copy.deepcopy(net.state_dict()), 0
        now = replace(now, epoch=epoch, loss=mean, verdict=verdict, best=best)
        told(now)
    net.load_state_dict(kept)
    return replace(now, best=best)


def _stepped(net: Net, lesson: Lesson, optimizer: torch.optim.Optimizer, course: Course) -> float:
    optimizer.zero_grad()
    loss = loss_of(net, lesson, course.labelled)
    if not torch.isfinite(loss):
        return math.inf
    loss.backward()
    nn.utils.clip_grad_norm_([p for p in net.parameters() if p.grad is not None], 1.0)
    optimizer.step()
    net.settle()
    return float(loss.detach())


def loss_of(net: Net, lesson: Lesson, labelled: str = "") -> Tensor:
    """The distance from the float model, and with labels from the truth."""
    found = net(lesson.feeds)
    loss = distilled(found, lesson.expected, [n for n in net.outputs if n in lesson.expected])
    if labelled and lesson.labels is not None:
        loss = loss + task(found[labelled], lesson.labels)
    return loss


def _optimizer(net: Net, course: Course, rate: float) -> torch.optim.Optimizer:
    groups = []
    scales = {id(p) for grid in net.modules() if isinstance(grid, FakeQuantizer)
              for p in grid.parameters()}  # fmt: skip
    usual = _usual(net)
    for each in net.parameters():
        if each.requires_grad:
            size = float(each.detach().square().mean().sqrt())
            is_scale = id(each) in scales
            decay = 0.0 if is_scale or each.dim() < 2 else course.decay
            own = size if is_scale or each.dim() > 1 else max(size, usual)
            part = rate * max(own, 1e-8)
            groups.append({"params": [each], "lr": part, "full": part, "weight_decay": decay})
    return torch.optim.AdamW(groups)


def _usual(net: Net) -> float:
    """The size of a usual weight, for biases that begin as 0."""
    sizes = [float(w.detach().square().mean().sqrt()) for w in net.weights if w.dim() > 1]
    return float(np.median(sizes)) if sizes else 1.0


def _slow(optimizer: torch.optim.Optimizer, part: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["full"] * part
