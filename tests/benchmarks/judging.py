"""What `qtool compare` costs beside running both models, and the memory it takes.

    python -m tests.benchmarks.judging --bench DIR [--models NAME ...] [--samples 10000] [--layers]

The candidate is the model quantized by qtool (w8a8). Time is over two plain passes, of which each
reads the samples and runs its model, nothing else; all in turns, in one process. `alone` has the
samples in memory for all three. Memory is the peak of `qtool compare` in a process of its own, by
number of samples.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

from qtool import workflow
from qtool.compare.judge import compare
from qtool.compare.layers import compare_layers
from qtool.data import Dataset
from qtool.data.fed import Sample
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.benchmarks.calibration import opened, peak
from tests.benchmarks.subjects import SUBJECTS

FEW, MANY = 200, 10_000
CALIBRATED = 32


def quantized(model: Path, data: Dataset, output: Path) -> Path:
    job = workflow.open_job(model, Recipe(), load_target("cpu"))
    found = workflow.measure(job, data.choose(CALIBRATED, 0))
    workflow.write(job, workflow.build(job, found), output, None, allow_empty=True)
    return output


def plain(model: Path, data: Dataset, size: int, threads: int) -> None:
    session = Session(model, threads=threads)
    for feeds in data.batches(size):
        session.run(feeds)


def both_plain(model: Path, candidate: Path, data: Dataset, size: int, threads: int) -> None:
    plain(model, data, size, threads)
    plain(candidate, data, size, threads)


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


class Held(Dataset):
    """Samples in memory, so that reading them costs nothing."""

    _all: list[Sample]

    def batches(self, size: int, blocks: Iterable[range] | None = None) -> Iterator[Sample]:
        if not hasattr(self, "_all"):
            object.__setattr__(self, "_all", list(super().batches(size, blocks)))
        yield from self._all


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--bench", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--models", nargs="+", default=list(SUBJECTS), choices=list(SUBJECTS))
    parser.add_argument("--samples", type=int, default=MANY)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="of the runtime; 0: all cores")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", action="store_true")
    parser.add_argument("--only", choices=("time", "memory"))
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    print(f"{'model':18}{'samples':>8}{'passes':>9}{'compare':>9}{'alone':>7}{'layers':>8}"
          f"{f'MB at {FEW}':>12}{'more':>6}{'layers':>8}{'more':>6}")  # fmt: skip
    for name in options.models:
        with tempfile.TemporaryDirectory() as scratch:
            print(row(name, options, Path(scratch)), flush=True)


def row(name: str, options: argparse.Namespace, folder: Path) -> str:
    model, data = opened(name, options.bench, folder, options.samples)
    candidate = quantized(model, data, folder / "candidate.onnx")
    size = options.batch_size if SUBJECTS[name].batches else 1
    cells = ""
    if options.only != "memory":
        held = Held(**{f: getattr(data, f) for f in data.__dataclass_fields__})
        both = [passes(model, candidate, each, size, options) for each in (data, held)]
        layered = "-"
        if options.layers:
            took = seconds(partial(compare_layers, model, candidate, data, batch_size=size))
            layered = f"{took / both[0][0]:.2f}"
        cells = f"{both[0][0]:7.2f} s{both[0][1]:9.3f}{both[1][1]:7.3f}{layered:>8}"
    if options.only != "time":
        for flags in ([], ["--layers"]) if options.layers else ([],):
            few, many = (
                peak("qtool", "compare", model, candidate, "--data", folder / "data",
                     "--samples", count, *flags, "-q")
                for count in (FEW, options.samples)
            )  # fmt: skip
            cells += f"{few or 0:12.0f}{(many or 0) - (few or 0):6.0f}"
    return f"{name:18}{options.samples:8}{cells}"


def passes(
    model: Path, candidate: Path, data: Dataset, size: int, options: argparse.Namespace
) -> tuple[float, float]:
    """Seconds of the two plain passes, and those of a comparison over them; medians."""
    times: list[tuple[float, float]] = []
    for turn in range(options.rounds):
        steps: list[Callable[[], object]] = [
            partial(both_plain, model, candidate, data, size, options.threads)
        ]
        steps.append(
            partial(compare, model, candidate, data, batch_size=size, threads=options.threads)
        )
        found = [seconds(step) for step in (steps if turn % 2 == 0 else steps[::-1])]
        times.append((found[0], found[1]) if turn % 2 == 0 else (found[1], found[0]))
    return median(t[0] for t in times), median(t[1] / t[0] for t in times)


if __name__ == "__main__":
    main()
