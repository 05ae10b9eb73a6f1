"""Recurrent layers in each form beside float: score, SQNR, size and time.

    python -m tests.benchmarks.recurrent [--only models|units] [--units N ...] [--steps N]

First the sample models that have an LSTM or a GRU, judged on all of eval/. Then an LSTM with random
weights by hidden units, as many inputs as units: from which number on the runtime's own dynamic
kernel (`--mode dynamic --contrib`) is faster, which `[recurrent]` of targets/cpu.toml is read from.
All of it without data, batch 1, one thread, times in turns with float's. The row `float` is a copy
of the same file, which shows what the clock is worth.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from qtool import workflow
from qtool.compare.judge import compare
from qtool.compare.latency import measure
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.benchmarks.forms import SAMPLES, TASKS, judged_on, score_of
from tests.models import normal, save, sqnr, weight

MODELS = ("text_lstm", "text_gru")
DYNAMIC = Recipe(scheme="w8a8", mode="dynamic")
FORMS = {
    "float": None,
    "w8": Recipe(scheme="w8"),
    "w4": Recipe(scheme="w4"),
    "w4b32": Recipe(scheme="w4b32"),
    "dynamic": DYNAMIC,
    "dynamic --contrib": DYNAMIC.model_copy(update={"contrib": True}),
    "w4a8 dynamic --contrib": Recipe(scheme="w4a8", mode="dynamic", contrib=True),
}
UNITS = (32, 64, 96, 112, 128, 160, 256, 512, 1024)
SECONDS = 2.0


def made(source: Path, recipe: Recipe | None, output: Path) -> Path:
    """The model under a recipe, without data; a copy of it without a recipe."""
    if recipe is None:
        shutil.copy(source, output)
        return output
    job = workflow.open_job(source, recipe, load_target("cpu"))
    workflow.write(job, workflow.build(job, None), output, None, force=True)
    return output


def samples(folder: Path) -> None:
    print(f"{'model':11}{'form':24}{'score':>9}{'SQNR':>7}{'size':>7}{'time':>7}  95 % interval")
    for name in MODELS:
        for form, recipe in FORMS.items():
            reference = SAMPLES / name / "model.onnx"
            candidate = made(reference, recipe, folder / "model.onnx")
            found = compare(reference, candidate, judged_on(name), latency=True, threads=1)
            latency = found.latency
            assert latency is not None
            score = TASKS[name].shown(score_of(name, found)[1])
            print(
                f"{name:11}{form:24}{score:>9}{found.outputs[0].sqnr_db:7.1f}"
                f"{found.size.ratio:7.3f}{latency.ratio:7.2f}"
                f"  {latency.interval.low:.2f} to {latency.interval.high:.2f}",
                flush=True,
            )


def lstm(path: Path, units: int, direction: str) -> Path:
    """An LSTM with as many inputs as units."""
    n = 2 if direction == "bidirectional" else 1
    graph = f"""g (float[T,N,{units}] x) => (float[{n},N,{units}] h) {{
        , h = LSTM<hidden_size={units}, direction="{direction}">(x, w, r, b) }}"""
    return save(
        path, graph,
        w=weight(n * 4 * units, units, seed=1).reshape(n, -1, units),
        r=weight(n * 4 * units, units, seed=2).reshape(n, -1, units),
        b=normal(n, 8 * units, seed=3) / np.float32(4),
    )  # fmt: skip


def by_units(folder: Path, chosen: list[int], steps: int) -> None:
    print(f"\n{'units':>6}{'directions':>12}{'steps':>7}{'ms':>9}{'form':>24}{'SQNR':>7}{'size':>7}"
          f"{'time':>7}  95 % interval")  # fmt: skip
    for units in chosen:
        for direction in ("forward", "bidirectional"):
            reference = lstm(folder / "lstm.onnx", units, direction)
            x = {"x": normal(steps, 1, units, seed=4)}
            for form in ("w8", "dynamic --contrib"):
                candidate = made(reference, FORMS[form], folder / "candidate.onnx")
                left, right = (Session(path, threads=1) for path in (reference, candidate))
                ratio = sqnr(left.run(x)["h"], right.run(x)["h"])
                time = measure(left, right, [x], batch_size=1, threads=1, seconds=SECONDS)
                size = candidate.stat().st_size / reference.stat().st_size
                print(
                    f"{units:6}{1 + (direction != 'forward'):12}{steps:7}"
                    f"{time.reference_median_ms:9.3f}{form:>24}{ratio:7.1f}{size:7.3f}"
                    f"{time.ratio:7.2f}  {time.interval.low:.2f} to {time.interval.high:.2f}",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("models", "units"))
    parser.add_argument("--units", nargs="+", type=int, default=list(UNITS))
    parser.add_argument("--steps", type=int, default=32)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    parts: dict[str, Callable[[Path], None]] = {
        "models": samples,
        "units": lambda folder: by_units(folder, options.units, options.steps),
    }
    for name, part in parts.items():
        if options.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                part(Path(folder))


if __name__ == "__main__":
    main()
