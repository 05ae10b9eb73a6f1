"""What each algorithm is worth alone, and the presets: SQNR, agreement, score, size, time to make.

    python -m tests.benchmarks.presets [--bench DIR] [--models NAME ...]
    python -m tests.benchmarks.presets --bench DIR --time

Static w8a8, calibrated on calib/ (256 samples; DIR's sets whole), judged on all of eval/. The rows
of a model: ranges by minmax and nothing else, by mse and nothing else, each algorithm alone on top
of mse, each preset. `resnet8_skewed` is resnet8 with channels of its residual streams scaled
apart, its function unchanged.

`--time` compares what making takes, in one process and in turns: `fast` with onnxruntime's
quant_pre_process and min-max, `balanced` and `accurate` with its percentile.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationMethod

from qtool.algorithms import ALGORITHMS
from qtool.compare.judge import compare
from qtool.recipe import Recipe, presets
from tests.benchmarks import peers
from tests.benchmarks.methods import Subject, subjects
from tests.benchmarks.skewed import skewed

MODELS = (
    "digits_mobile", "text_transformer", "digits_cnn", "digits_decoder", "digits_mlp",
    "resnet8_cifar10", "resnet8_large_cifar10",
)  # fmt: skip
SKEWED, SOURCE = "resnet8_skewed", "resnet8_cifar10"


def every(bench: Path | None, chosen: list[str], scratch: Path) -> Iterator[Subject]:
    for name in MODELS:
        if not chosen or name in chosen:
            yield from subjects(bench, [name], 256)
    if not chosen or SKEWED in chosen:
        for subject in subjects(bench, [SOURCE], 256):
            model = scratch / f"{SKEWED}.onnx"
            skewed(subject.model, model)
            yield replace(subject, name=SKEWED, model=model)


def recipes() -> dict[str, Recipe]:
    """What the rows are called -> what they are made by."""
    plain = {method: Recipe(method=method, algorithms=()) for method in ("minmax", "mse")}
    alone = {name: Recipe(algorithms=(name,)) for name in ALGORITHMS}
    whole = {f"preset {name}": Recipe.model_validate(t) for name, t in presets().items()}
    return plain | alone | whole


def accuracy(subject: Subject, folder: Path) -> None:
    for name, recipe in recipes().items():
        output = folder / "made.onnx"
        seconds = peers.ours(subject.model, subject.calib, output, recipe)
        found = compare(subject.model, output, subject.judged)
        first = found.outputs[0]
        agreement = first.agreement.value * 100 if first.agreement else np.nan
        score = subject.scores(found)[1] * (100 if subject.task.shared else 1)
        cells = f"{first.sqnr_db:8.2f}{agreement:10.2f}{score:10.4g}"
        print(f"{subject.name:23}{name:18}{cells}{found.size.ratio:8.3f}{seconds:8.1f}", flush=True)


def timed(subject: Subject, folder: Path, turns: int = 3) -> None:
    """Medians of turns, theirs over ours."""
    names = presets()
    makers: dict[str, Callable[[], float]] = {
        name: lambda name=name: peers.ours(  # type: ignore[misc]
            subject.model, subject.calib, folder / "made.onnx", Recipe.model_validate(names[name])
        )
        for name in names
    }
    for method in (CalibrationMethod.MinMax, CalibrationMethod.Percentile):
        makers[f"onnxruntime {method.name}"] = lambda method=method: peers.theirs(  # type: ignore[misc]
            subject.model, subject.calib, folder / "theirs.onnx", folder, method
        )
    taken: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(turns):
        for name, make in makers.items():
            with contextlib.redirect_stdout(None), contextlib.suppress(ValueError):
                taken[name].append(make())
    cells = "".join(f"{np.median(each) if each else np.nan:12.2f}" for each in taken.values())
    print(f"{subject.name:23}{cells}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path)
    parser.add_argument("--models", nargs="+", default=[])
    parser.add_argument("--time", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        found = every(options.bench and options.bench.resolve(), options.models, folder)
        if options.time:
            heads = [*presets(), "ort minmax", "ort percent."]
            print(f"{'seconds':23}" + "".join(f"{head:>12}" for head in heads))
            for subject in found:
                timed(subject, folder)
            return
        print(
            f"{'model':23}{'by':18}{'SQNR':>8}{'agreement':>10}{'score':>10}{'size':>8}{'made':>8}"
        )
        for subject in found:
            accuracy(subject, folder)


if __name__ == "__main__":
    main()
