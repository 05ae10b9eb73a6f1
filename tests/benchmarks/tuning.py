"""What `qtool tune` wins back of what post-training loses: score, agreement, SQNR, size, minutes.

    python -m tests.benchmarks.tuning [--bench DIR] [--models NAME ...] [--schemes S ...]
        [--ways WAY ...] [--epochs N] [--seeds N ...] [--placement all]

float     the model as it came
nearest   codes by rounding, ranges measured on calib/
post      the better of the presets balanced and accurate, by the score on eval/ itself
tuned     learned from the float model; `labels`: from the float model and from labels

All have calib/ (DIR's sets: 512 images) and are judged on eval/. Nearest and post have all of it;
tuned learns from four fifths, a fifth says which epoch was best, and eval/ is never seen: what
post-training gets here is more than anybody has. `recovers` is the share of what post loses that
is won back. Minutes are wall clock, one thread, from the model to the quantized model.

DIR's resnet8 is tuned at w4a4, unless --schemes asks for others. The default placement leaves
activations in float where integers do not pay, all of digits_mlp's and text_lstm's; `all` does not.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qtool.compare.judge import compare
from qtool.data.dataset import Dataset
from qtool.data.split import split
from qtool.recipe import Recipe, preset
from qtool.search.making import Maker
from qtool.target import load_target
from qtool.tune.course import START, Course, Learning
from qtool.tune.examiner import Examiner
from qtool.tune.tuning import PRESETS, tune
from tests.benchmarks.methods import Subject, subjects

MODELS = ("digits_mlp", "digits_cnn", "digits_mobile", "text_lstm", "text_transformer")
BENCH = "resnet8_cifar10"
SCHEMES, ITS_SCHEMES = ("w4a4", "w3a8", "w2a8"), ("w4a4",)
WAYS = ("float", "nearest", "post", "tuned", "labels")
LEARN, APART = 0.8, 0.2


@dataclass(frozen=True)
class Row:
    """What a model is worth on eval/, and the minutes that it took to make."""

    score: float
    lost: float
    agreement: float
    sqnr: float
    size: float
    minutes: float = 0.0


class Bench:
    """One model under one recipe; `course` is that of tuning."""

    def __init__(self, subject: Subject, recipe: Recipe, course: Course, folder: Path) -> None:
        self._subject, self._recipe, self._course = subject, recipe, course
        self._folder = folder
        self._post: Row | None = None

    def rows(self, way: str, seeds: Sequence[int]) -> Iterator[tuple[str, Row]]:
        """What the rows of a way are called, and what they hold."""
        if way == "nearest":
            yield way, self._made(self._recipe.model_copy(update={"algorithms": ()}))
        elif way == "post":
            made = {name: self._made(self._preset(name)) for name in PRESETS}
            best = min(made, key=lambda name: (made[name].lost, -made[name].sqnr))
            self._post = made[best]
            yield f"post {best}", self._post
        else:
            for seed in seeds:
                yield f"{way} {seed}", self._tuned(seed, labels=way == "labels")

    def recovers(self, row: Row) -> float:
        """The share of what post-training lost that is won back; NaN where it lost nothing."""
        if self._post is None or self._post.lost <= 0:
            return np.nan
        return 1 - row.lost / self._post.lost

    def judged(self, data: Path | bytes, minutes: float = 0.0) -> Row:
        path = self._folder / "judged.onnx" if isinstance(data, bytes) else data
        if isinstance(data, bytes):
            path.write_bytes(data)
        found = compare(self._subject.model, path, self._subject.judged, threads=1)
        before, after = self._subject.scores(found)
        first = found.outputs[0]
        agreement = first.agreement.value if first.agreement else np.nan
        return Row(after, before - after, agreement, first.sqnr_db, found.size.ratio, minutes)

    def _preset(self, name: str) -> Recipe:
        asked = self._recipe.model_dump(include={"scheme", "placement"})
        return Recipe.model_validate({**preset(name), **asked})

    def _made(self, recipe: Recipe) -> Row:
        maker = self._maker(self._subject.calib)
        row, minutes = timed(lambda: maker.make(maker.job(recipe)).quantized.data)
        return self.judged(row, minutes)

    def _tuned(self, seed: int, *, labels: bool) -> Row:
        learn, apart = split(self._subject.calib, (LEARN, APART), seed)
        course, learning = replace(self._course, seed=seed), Learning(floats=True, labels=labels)

        def run() -> bytes:
            examiner = Examiner(self._subject.model, apart, self._folder, threads=1)
            recipe = self._preset(START).model_copy(update={"seed": seed})
            return tune(self._maker(learn), recipe, examiner, course, learning).quantized.data

        return self.judged(*timed(run))

    def _maker(self, data: Dataset) -> Maker:
        return Maker(self._subject.model, load_target("cpu"), data, self._folder, threads=1)


def timed(run: Callable[[], bytes]) -> tuple[bytes, float]:
    """What it gives, and the minutes that it took."""
    start = time.perf_counter()
    made = run()
    return made, (time.perf_counter() - start) / 60


def line(name: str, scheme: str, way: str, row: Row, recovers: float | None) -> None:
    cells = f"{100 * row.score:8.2f}{100 * row.lost:+8.2f}{100 * row.agreement:8.2f}"
    cells += f"{row.sqnr:8.2f}{row.size:7.3f}{row.minutes:8.2f}"
    if recovers is not None:
        cells += f"{'n/a':>10}" if np.isnan(recovers) else f"{100 * recovers:8.0f} %"
    print(f"{name:18}{scheme:7}{way:15}{cells}", flush=True)


def report(subject: Subject, schemes: Sequence[str], options: argparse.Namespace) -> None:
    course = Course() if options.epochs is None else Course(epochs=options.epochs)
    with tempfile.TemporaryDirectory() as folder:
        if "float" in options.ways:
            bench = Bench(subject, Recipe(), course, Path(folder))
            line(subject.name, "", "float", bench.judged(subject.model), None)
        for scheme in schemes:
            recipe = Recipe(scheme=scheme, placement=options.placement)
            bench = Bench(subject, recipe, course, Path(folder))
            for way in WAYS[1:]:
                for name, row in bench.rows(way, options.seeds) if way in options.ways else ():
                    recovers = bench.recovers(row) if way in ("tuned", "labels") else None
                    line(subject.name, scheme, name, row, recovers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path)
    parser.add_argument("--models", nargs="+", default=[], choices=[*MODELS, BENCH])
    parser.add_argument("--schemes", nargs="+", default=[])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--epochs", type=int, help="of a stage, as `qtool tune` by default")
    parser.add_argument("--placement", choices=("paying", "all"), default="paying")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    print(f"{'model':18}{'scheme':7}{'way':15}{'score':>8}{'lost':>8}{'agree':>8}{'SQNR':>8}"
          f"{'size':>7}{'minutes':>8}{'recovers':>10}")  # fmt: skip
    chosen = options.models or [*MODELS, *([BENCH] if options.bench else [])]
    for subject in subjects(options.bench and options.bench.resolve(), chosen):
        its = ITS_SCHEMES if subject.name == BENCH else SCHEMES
        report(subject, options.schemes or its, options)


if __name__ == "__main__":
    main()
