"""How good a model would be if it were quantized as it is: a quick calibration, then a run."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.numeric.histogram import Histogram
from qtool.passes import rewritten
from qtool.plan.decide import decide
from qtool.plan.sites import find_sites, fitting
from qtool.recipe import Recipe
from qtool.refine.judge import Judge
from qtool.refine.samples import Samples
from qtool.refine.taps import Taps
from qtool.target import Target


def trial(
    model: ir.Model, judge: Judge, samples: Samples, recipe: Recipe, target: Target, threads: int
) -> NDArray[np.float64]:
    """SQNR of each sample's outputs in dB, as `judge` has it; ranges are from the others.

    Raises:
        ModelError: the model cannot be run.
    """
    sites = find_sites(model, recipe, target)
    ranges = dict.fromkeys(sites.sources, Histogram.empty())
    taps = Taps(model, [name for name in ranges if name in _main(model)], threads=threads)
    for feeds in samples.fit:
        for name, x in taps.run(feeds).items():
            ranges[name] = ranges[name].observe(x[np.isfinite(x)])
    sites = fitting(sites, ranges, model, recipe, target)
    return judge.sqnr_db(rewritten(model, decide(model, sites, ranges, target)))


def _main(model: ir.Model) -> set[str | None]:
    """Values of the main graph: those of bodies cannot be tapped, and stay float here."""
    made = (value for node in model.graph for value in node.outputs)
    return {value.name for value in (*model.graph.inputs, *made)}
