"""Down the ladder to the first choice that is inside the budget: few are made and measured.

1. what was asked for; if it is inside, it is the answer
2. the ladder is bisected: a rung that is inside asks the rung halfway back, one that is not the
   rung halfway on
3. from the rung that was found some of what was given up is taken back: the run of layers that
   saves most, of those whose noise is expected between what is inside and what was not
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from qtool.bodies import nodes_in
from qtool.ops import weights_of
from qtool.plan.paying import connected
from qtool.search.budget import Loss
from qtool.search.noise import Choice, Noise, work_of

MOST = 12  # choices that are measured
BACK = 4  # of them at most so many to take something back
LEAST = 1e-2  # 20 dB: with no noise at all, nothing lies halfway
RUNS = 24  # layers at which runs may begin and end


@dataclass(frozen=True)
class Trial:
    """A choice that was made and measured.

    `share` is that of the weights' values that are multiplied in integers, `bits` the average of a
    stored weight, `expected` the noise that was expected of it (NaN where nothing was known yet).
    """

    recipe: str
    size: int
    share: float
    bits: float
    loss: Loss
    inside: bool
    seconds: float
    expected: float


Attempt = Callable[[Choice], Trial]
Next = Callable[[Choice], Choice | None]


def descend(
    start: Choice,
    ladder: Callable[[], Sequence[Choice]],
    attempt: Attempt,
    backwards: Next,
    most: int = MOST,
) -> Choice | None:
    """The best choice that is inside; None if none was found. The `ladder`, which begins with
    `start`, is asked for once that has failed; `backwards` for a choice with less given up."""
    if attempt(start).inside:
        return start
    choices = ladder()
    tried, low, high = 1, 0, len(choices)  # `high`: what is all float is inside
    while high - low > 1 and tried < most:
        middle = (low + high) // 2
        tried += 1
        if attempt(choices[middle]).inside:
            high = middle
        else:
            low = middle
    if high == len(choices):
        return None
    best = choices[high]
    for _ in range(min(BACK, most - tried)):
        candidate = backwards(best)
        if candidate is None:
            break
        if attempt(candidate).inside:
            best = candidate
    return best


def taken_back(
    graph: ir.Graph,
    noise: Noise,
    choice: Choice,
    failed: Collection[Choice],
    tried: Collection[Choice],
) -> Choice | None:
    """A choice with some nodes in integers again, or one weight with the bits asked for: of those
    whose noise is expected halfway (in dB) to the least that failed, the one that saves most."""
    now = noise.of(choice)
    over = min((n for f in failed if (n := noise.of(f)) > now), default=math.inf)
    most = over * math.sqrt(max(now / over, LEAST)) if math.isfinite(over) else math.inf
    works = {node.name or "": sum(work_of(node)) for node in nodes_in(graph)}
    total, size = sum(works.values()) or 1.0, noise.size(choice) or 1
    best, saves = None, 0.0
    for there in _moves(graph, noise, choice):
        time = sum(works[name] for name in choice.floats - there.floats) / total
        saved = time + (size - noise.size(there)) / size
        if saved > saves and there not in tried and noise.of(there) <= most:
            best, saves = there, saved
    return best


def _moves(graph: ir.Graph, noise: Noise, choice: Choice) -> Iterator[Choice]:
    """Each run of layers of a segment, from one to all of it; each weight."""
    nodes = {node.name or "": node for node in nodes_in(graph)}
    for segment in connected([nodes[n] for n in nodes if n in choice.floats]):
        order = [node.name or "" for node in segment]
        layers = [i for i, name in enumerate(order) if weights_of(nodes[name])]
        step = max(1, len(layers) // RUNS)
        for first in layers[::step]:
            for last in layers[::-step]:
                if first <= last:
                    # What follows the last layer without weights of its own goes with it.
                    end = next((i for i in layers if i > last), len(order))
                    yield Choice(choice.floats - set(order[first:end]), choice.bits)
    for name in choice.bits:
        yield Choice(choice.floats, {n: b for n, b in choice.bits.items() if n != name})


def largest(choices: Sequence[Choice], fits: Callable[[Choice], bool]) -> int | None:
    """Of choices of growing size the last that fits; None if none does."""
    low, high = -1, len(choices)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(choices[middle]) else (low, middle)
    return None if low < 0 else low


def closest(trials: Sequence[Trial]) -> Trial:
    """Where none is inside: the one that loses least, of equals the smallest."""
    return min(trials, key=lambda t: (t.loss.value, t.loss.high, t.size))
