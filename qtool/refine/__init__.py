"""Refinements: algorithms that run the quantized model, and then decide again.

Each is a step from state to state. What it learned from some samples must hold on others: a step
is kept only if the model's outputs are no further from float's on the samples that are set apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.algorithms import listed, of_stage
from qtool.recipe import Recipe
from qtool.refine.awq import awq
from qtool.refine.bias import bias
from qtool.refine.judge import Judge
from qtool.refine.rounding import adaround, gptq, levels
from qtool.refine.samples import Samples
from qtool.refine.smooth import smooth
from qtool.refine.state import State
from qtool.target import Target

Step: TypeAlias = Callable[..., State]  # of a state, and of the bits to stay below where limited

Smoother: TypeAlias = Callable[[ir.Model, Samples, Recipe, Target, int], ir.Model]

SMOOTHERS: dict[str, Smoother] = {"smooth": smooth, "awq": awq}  # transforms that run the model
REFINEMENTS: dict[str, Step] = {
    "levels": levels,
    "gptq": gptq,
    "adaround": adaround,
    "bias": bias,
}


@dataclass(frozen=True)
class Done:
    """What a step did to the model's outputs on samples that it had not seen, if there were any
    `apart`, and the nodes that it left out since it has not the memory.

    SQNR in dB, the mean over samples: of the noise itself a few samples make most, and tell little
    of the others.
    """

    algorithm: str
    before: float
    after: float
    left: tuple[str, ...] = ()
    apart: bool = True

    @classmethod
    def of(
        cls,
        algorithm: str,
        before: NDArray[np.float64],
        after: NDArray[np.float64],
        left: tuple[str, ...] = (),
        apart: bool = True,
    ) -> Done:
        """From the SQNR of each sample; NaN where there is none."""
        known = len(before) > 0
        first, last = (float(each.mean()) if known else float("nan") for each in (before, after))
        return cls(algorithm, first, last, left, apart)

    @property
    def kept(self) -> bool:
        """Whether it made them no worse; where nothing can be judged, it stays."""
        return not self.after < self.before


def refine(
    state: State, algorithms: Iterable[str], step: Callable[[str], None] = lambda name: None
) -> tuple[State, tuple[Done, ...]]:
    """Those of the algorithms that are refinements, one after the other; `step` is told which.

    Raises:
        ModelError: the model cannot be run.
    """
    done = list[Done]()
    names = of_stage(algorithms, "refinement")
    if not names or not (state.plan.weights or state.plan.activations):
        return state, ()
    judge = Judge(state.followed, state.samples.check, state.threads)
    now = judge.sqnr_db(state.quantized())
    for name in names:
        entry = listed(name)
        limit = {} if entry.below is None else {"below": entry.below}
        step(entry.name)
        found = REFINEMENTS[entry.name](state, **limit)
        if found is state:
            continue
        left, found = found.left, replace(found, left=())
        then = judge.sqnr_db(found.quantized())
        done.append(Done.of(entry.name, now, then, left, state.samples.apart))
        if done[-1].kept:
            state, now = found, then
    return state, tuple(done)
