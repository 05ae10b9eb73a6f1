"""Static W8A8 by range method: score, agreement and SQNR on every model with activations to range.

    python -m tests.benchmarks.methods [--bench DIR] [--counted 1024] [--models NAME ...]
    python -m tests.benchmarks.methods [--bench DIR] --subsample

Means over calibration seeds, and the worst of them; judged on all of eval/. `--counted` counts so
many values of a tensor per sample instead of what `tally.counted` says, 0 for all. `--subsample`
compares these: SQNR with every value counted, and what is lost or won by counting fewer.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from qtool import workflow
from qtool.calibrate import run as calibrating
from qtool.calibrate.file import Calibration
from qtool.compare.judge import compare
from qtool.compare.result import Comparison
from qtool.data import open_dataset
from qtool.data.dataset import Dataset
from qtool.numeric.ranges import METHODS
from qtool.numeric.tally import counted
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.benchmarks import peers
from tests.benchmarks.forms import SAMPLES, TASKS, Task, judged_on

EVERY = 1 << 21  # more than any tensor here holds for a sample, which `calibrated` checks
COUNTS = (256, 1024, 2048, 4096)


@dataclass(frozen=True)
class Subject:
    """A model, data to calibrate on and to be judged on, and what its scores are."""

    name: str
    model: Path
    calib: Dataset
    judged: Dataset
    task: Task

    def scores(self, found: Comparison) -> tuple[float, float]:
        """Of the float model and of the candidate."""
        score = found.scores[self.task.score]
        return score.reference, score.candidate


@dataclass(frozen=True)
class Result:
    """Scores are points for shares, else the score itself; agreement is in percent, or NaN."""

    before: float
    after: float
    agreement: float
    sqnr: float


def subjects(
    bench: Path | None, chosen: Sequence[str], samples: int | None = None
) -> Iterator[Subject]:
    """All, or the chosen, with so many samples of calib/, or with all; DIR's sets are whole."""
    for name, task in TASKS.items():
        if task.large and (not chosen or name in chosen):
            model = SAMPLES / name / "model.onnx"
            calib = open_dataset(SAMPLES / name / "calib", Session(model).signature)
            yield Subject(name, model, calib.choose(samples, 0), judged_on(name), task)
    for name, data in peers.MODELS.items() if bench else ():
        if bench and (not chosen or name in chosen):
            model = bench / "models" / f"{name}.onnx"
            sets = [
                peers.opened(bench / "data" / f"{data}_{part}.npz", Session(model).signature)
                for part in ("calib", "eval")
            ]
            yield Subject(name, model, sets[0], sets[1], Task(name))


@contextmanager
def counting(most: int) -> Iterator[None]:
    """Count at most so many values of a tensor per sample; a calibration made here says so too."""
    with mock.patch.object(calibrating, "counted", lambda samples: most):
        yield


class Bench:
    """Measures and quantizes one model; what gives the same bytes is judged once."""

    def __init__(self, subject: Subject, samples: int, folder: Path) -> None:
        self._subject, self._samples, self._folder = subject, samples, folder
        self._judged: dict[bytes, Result] = {}

    @property
    def ranged(self) -> bool:
        """Whether any activation gets a range."""
        return bool(self._job(Recipe()).sites.sources)

    def _job(self, recipe: Recipe) -> workflow.Job:
        return workflow.open_job(self._subject.model, recipe, load_target("cpu"))

    def calibrated(self, seed: int, most: int) -> Calibration:
        """Measured with at most so many values of a tensor per sample, which is made sure of."""
        data = self._subject.calib.choose(self._samples, seed)
        with counting(most):
            found = workflow.measure(self._job(Recipe()), data)
        total = max(each.total for each in found.histograms.values())
        assert found.run.counted == most and total <= 2 * most * len(data)
        assert most < EVERY or total < most * len(data), "a tensor has more than EVERY"
        return found

    def result(self, calibration: Calibration, method: str) -> Result:
        job = self._job(Recipe(method=method))
        made = workflow.build(job, calibration)
        key = hashlib.sha256(made.data).digest()
        if key not in self._judged:
            path = self._folder / f"{self._subject.name}.onnx"
            workflow.write(job, made, path, None, force=True)
            self._judged[key] = self._judge(path)
        return self._judged[key]

    def _judge(self, path: Path) -> Result:
        found = compare(self._subject.model, path, self._subject.judged)
        before, after = self._subject.scores(found)
        first = found.outputs[0]
        agreement = first.agreement.value * 100 if first.agreement else np.nan
        return Result(before, after, agreement, first.sqnr_db)


def accuracy(bench: Bench, subject: Subject, seeds: int, most: int) -> dict[str, float]:
    """Prints a row for each method; its mean SQNR."""
    calibrations = [bench.calibrated(seed, most) for seed in range(seeds)]
    shown, worst = subject.task.shown, max if subject.task.score == "mse" else min
    means = {}
    for method in METHODS:
        found = [bench.result(calibration, method) for calibration in calibrations]
        scores, agreements = [r.after for r in found], [r.agreement for r in found]
        sqnrs = [r.sqnr for r in found]
        means[method] = float(np.mean(sqnrs))
        print(f"{subject.name:23}{method:12}{shown(found[0].before):>10}"
              f"{shown(float(np.mean(scores))):>10}{shown(worst(scores)):>10}"
              f"{np.mean(agreements):8.2f}{min(agreements):8.2f}"
              f"{means[method]:8.2f}{min(sqnrs):8.2f}", flush=True)  # fmt: skip
    return means


def subsample(bench: Bench, subject: Subject, seeds: int) -> dict[str, list[float]]:
    """Prints a row for each method; method -> dB lost or won by each of COUNTS, by seed."""
    every = [bench.calibrated(seed, EVERY) for seed in range(seeds)]
    fewer = {most: [bench.calibrated(seed, most) for seed in range(seeds)] for most in COUNTS}
    totals = totals_of(every[0])
    more = [f"{sum(totals_of(fewer[most][0]) < totals)} hold more than {most}" for most in COUNTS]
    print(f"{subject.name}: {len(totals)} tensors, {', '.join(more)}")
    lost: dict[str, list[float]] = {}
    for method in METHODS:
        whole = np.array([bench.result(each, method).sqnr for each in every])
        cells = f"{whole.mean():8.2f}"
        for most in COUNTS:
            some = np.array([bench.result(each, method).sqnr for each in fewer[most]])
            lost[f"{method} {most}"] = list(some - whole)
            cells += f"{(some - whole).mean():+10.3f}{(some - whole).min():+9.3f}"
        print(f"{'':23}{method:12}{cells}", flush=True)
    return lost


def totals_of(calibration: Calibration) -> NDArray[np.int64]:
    """How many values of each tensor were counted."""
    return np.array([each.total for each in calibration.histograms.values()])


def summary(rows: list[dict[str, float]]) -> None:
    """How far each method is from the best one of the same model."""
    print("\nSQNR below the best method's: mean and worst over models")
    for method in METHODS:
        below = [max(row.values()) - row[method] for row in rows]
        print(f"{method:12}{np.mean(below):8.2f}{max(below):8.2f}")


def lost_in_all(rows: list[dict[str, list[float]]]) -> None:
    print("\nall models and seeds: mean, worst and best change of SQNR in dB")
    for method in METHODS:
        for most in COUNTS:
            every = np.concatenate([row[f"{method} {most}"] for row in rows])
            print(f"{method:12}{most:6}{every.mean():+8.3f}{every.min():+8.3f}{every.max():+8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path)
    parser.add_argument("--models", nargs="+", default=())
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--counted", type=int, help="values of a tensor per sample, 0 for all")
    parser.add_argument("--subsample", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    most = counted(options.samples) if options.counted is None else options.counted or EVERY

    def each(run: Callable[[Bench, Subject], object]) -> None:
        for subject in subjects(options.bench, options.models):
            with tempfile.TemporaryDirectory() as folder:
                bench = Bench(subject, options.samples, Path(folder))
                if bench.ranged:
                    run(bench, subject)
                else:
                    print(f"{subject.name:23}no activation is quantized")

    if options.subsample:
        print(f"{'model':23}{'method':12}{'every':>8}"
              + "".join(f"{most:>10}{'worst':>9}" for most in COUNTS))  # fmt: skip
        lost: list[dict[str, list[float]]] = []
        each(lambda bench, subject: lost.append(subsample(bench, subject, options.seeds)))
        lost_in_all(lost)
    else:
        print(f"{'model':23}{'method':12}{'float':>10}{'score':>10}{'worst':>10}{'agree':>8}"
              f"{'worst':>8}{'SQNR':>8}{'worst':>8}")  # fmt: skip
        rows: list[dict[str, float]] = []
        each(lambda bench, subject: rows.append(accuracy(bench, subject, options.seeds, most)))
        summary(rows)


if __name__ == "__main__":
    main()
