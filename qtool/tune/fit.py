"""Codes are held, and scales and biases fitted to all samples at once (L-BFGS).

Descent that crosses from code to code keeps what lies beside it from its optimum: scales and biases
follow codes that waver. For given codes they have one, which few turns over the samples find. In
front of activations of few bits gradients are no more than a hint, and what lies there is held too.
"""

from __future__ import annotations

import torch

from qtool.tune.lessons import Lessons
from qtool.tune.losses import Loss
from qtool.tune.net import Net

TURNS = 40


def fit(net: Net, lessons: Lessons, loss: Loss, batch_size: int, turns: int = TURNS) -> None:
    """In place; about as many passes over the samples as there are turns."""
    coded = net.coded()
    for each in coded:
        each.requires_grad_(False)
    net.slows(False)
    free = net.smooth()
    descent = torch.optim.LBFGS(
        free, max_iter=turns, tolerance_grad=1e-9, tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> torch.Tensor:
        descent.zero_grad()
        total = torch.zeros(())
        for lesson in lessons.batches(batch_size):
            part = loss.of(net, lesson) * (len(lesson.plain) / len(lessons))
            part.backward()
            total += part.detach()
        return total

    if free:
        descent.step(closure)
    net.settle()
    net.slows(True)
    for each in coded:
        each.requires_grad_(True)
        each.grad = None
