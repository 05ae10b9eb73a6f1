"""Few bits: each scheme by nearest, by the best that needs no data, and by the best with data.

    python -m tests.benchmarks.few_bits [--bench DIR] [--models NAME ...] [--schemes S ...]
        [--by WAY ...] [--time]

Calibrated on calib/ (256 samples; DIR's sets whole), judged on all of eval/. `lost` is what the
score falls by (points of a share, percent of anything else), `bits` are those of the quantized
weights in the file, scales and codebooks counted in, `time` that of one sample over float's, one
thread, the two in turns: it is a matter of the scheme alone. "shares" names the scheme whose
container a scheme lies in.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from itertools import islice
from pathlib import Path

from qtool import model as models
from qtool.algorithms import needing_samples
from qtool.bodies import nodes_in
from qtool.compare.judge import compare
from qtool.compare.latency import measure
from qtool.data import carried
from qtool.ops import constant
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.search.making import Candidate, Maker
from qtool.target import load_target
from tests.benchmarks.methods import Subject, subjects

SCHEMES = {
    "w8": "w8", "w6": "w6", "w4b32": "w4b32", "w4": "w4", "w3": "w3", "w2": "w2", "w4a8": "w4a8",
    "kmeans-256": "w8k", "kmeans-16": "w4k", "log2-16": "w4p",
}  # fmt: skip
SHARES = {"w6": "w8", "w3": "w4"}
TIMED, SECONDS = 16, 1.5


def recipes(scheme: str) -> dict[str, Recipe]:
    """How the codes are chosen -> the recipe."""
    best = Recipe(scheme=scheme)
    free = tuple(a for a in best.algorithms if a not in needing_samples(best.algorithms))
    return {
        "nearest": best.model_copy(update={"algorithms": ()}),
        "data-free": best.model_copy(update={"algorithms": free}),
        "data": best,
    }


def bits(candidate: Candidate) -> float:
    """Bits of a quantized weight in the file: what it is larger by than without its weights."""
    model = candidate.job.model
    nodes = {node.name: node for node in nodes_in(model.graph)}
    sizes = {
        plan.tensor: tensor.size
        for (node, position), plan in candidate.plan.weights.items()
        if (tensor := constant(nodes[node].inputs[position])) is not None
    }
    values = sum(sizes.values())
    rest = len(models.serialize(model)) - 4 * values
    return 8 * (candidate.size - rest) / values


def ratio(subject: Subject, candidate: Path) -> float:
    """Time of one sample over float's."""
    left, right = Session(subject.model, threads=1), Session(candidate, threads=1)
    batches = islice(subject.calib.batches(1), TIMED)
    feeds = list(carried(subject.calib.declaration.carry, batches, left.run))
    return measure(left, right, feeds, batch_size=1, threads=1, seconds=SECONDS).ratio


def lost(subject: Subject, before: float, after: float) -> float:
    """Points of a share; else the percentage by which an error is greater."""
    return 100 * (before - after if subject.task.shared else after / before - 1)


def report(
    subject: Subject, schemes: list[str], ways: list[str], folder: Path, *, timed: bool
) -> None:
    maker = Maker(subject.model, load_target("cpu"), subject.calib, folder, threads=1)
    for name in schemes:
        seen = dict[bytes, str]()
        for by, recipe in recipes(SCHEMES[name]).items():
            if by not in ways:
                continue
            made = maker.make(maker.job(recipe))
            same = seen.setdefault(made.quantized.data, by)
            if same != by:
                print(f"{subject.name:22}{name:11}{by:10}  as {same}", flush=True)
                continue
            found = compare(subject.model, made.path, subject.judged)
            before, after = subject.scores(found)
            fell = lost(subject, before, after)
            unit = "pp" if subject.task.shared else "% "
            first = found.outputs[0]
            cells = f"{after:9.4f}{fell:+8.2f} {unit}{first.sqnr_db:8.2f}"
            cells += f"{found.size.ratio:8.3f}{bits(made):7.2f}"
            if timed and by == "data":
                cells += f"{ratio(subject, made.path):7.2f}"
            shares = f"  lies in the container of {SHARES[name]}" if name in SHARES else ""
            print(f"{subject.name:22}{name:11}{by:10}{cells}{shares}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path)
    parser.add_argument("--models", nargs="+", default=[])
    parser.add_argument("--schemes", nargs="+", default=list(SCHEMES), choices=SCHEMES)
    parser.add_argument("--by", nargs="+", default=[*recipes("w8")], choices=recipes("w8"))
    parser.add_argument("--time", action="store_true", help="time over float too")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    heads = f"{'score':>9}{'lost':>11}{'SQNR':>8}{'size':>8}{'bits':>7}{'time' * options.time:>7}"
    print(f"{'model':22}{'scheme':11}{'codes by':10}{heads}")
    for subject in subjects(options.bench and options.bench.resolve(), options.models, 256):
        with tempfile.TemporaryDirectory() as folder:
            report(subject, options.schemes, options.by, Path(folder), timed=options.time)


if __name__ == "__main__":
    main()
