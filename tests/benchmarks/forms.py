"""Each form of each sample model beside float: score, size and time, judged on all of eval/.

    python -m tests.benchmarks.forms [--threads 1] [--readme] [MODEL ...]

`w8a8` is static, on 256 samples of calib/; `w8`, `dynamic` and `fp16` need no data. Time is that of
`qtool compare --latency`, batch 1, the two taking turns. `--readme` prints the table in README.md.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

from qtool import workflow
from qtool.compare.judge import compare
from qtool.compare.result import Comparison
from qtool.data import Dataset, open_dataset
from qtool.errors import ModelError
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target

SAMPLES = Path(__file__).parents[2] / "sample_models"
W8A8, W8 = Recipe(scheme="w8a8"), Recipe(scheme="w8")
FORMS = {
    "w8a8": W8A8,
    "w8": W8,
    "dynamic": Recipe(scheme="w8a8", mode="dynamic"),
    "fp16": Recipe(scheme="fp16"),
    "w4": Recipe(scheme="w4"),
}


@dataclass(frozen=True)
class Task:
    """What a sample model does, and by which score of `compare` it is judged."""

    name: str
    score: str = "top1"
    large: bool = True  # whether weights are most of the file

    @property
    def shared(self) -> bool:
        """Whether the score is a share."""
        return self.score in ("top1", "mAP")

    def shown(self, value: float) -> str:
        """A share in percent, anything else as it is."""
        return f"{100 * value:.2f} %" if self.shared else f"{value:.5g}"


TASKS = {
    "digits_mlp": Task("digits, MLP"),
    "digits_cnn": Task("digits, CNN"),
    "digits_mobile": Task("digits, MobileNet-like"),
    "digits_decoder": Task("digits, drawn from a code", "mse"),
    "digits_detector": Task("digits, found on a canvas", "mAP"),
    "text_lstm": Task("language of a text, LSTM"),
    "text_gru": Task("language of a text, GRU"),
    "text_transformer": Task("language of a text, transformer"),
    "text_decoder": Task("the next letter, decoder", "perplexity"),
    "diabetes_linear": Task("diabetes, linear regression", "mse", large=False),
    "cancer_logistic": Task("tumours, logistic regression", large=False),
    "wine_svm": Task("wines, SVM", large=False),
}


def made(name: str, recipe: Recipe, output: Path) -> Path:
    """The sample model under a recipe, as `qtool quantize -f` writes it."""
    job = workflow.open_job(SAMPLES / name / "model.onnx", recipe, load_target("cpu"))
    calibration = None
    if job.sites.sources:
        data = open_dataset(SAMPLES / name / "calib", job.signature)
        calibration = workflow.measure(job, data.choose(recipe.samples, recipe.seed))
    workflow.write(job, workflow.build(job, calibration), output, None, force=True)
    return output


def judged_on(name: str) -> Dataset:
    signature = Session(SAMPLES / name / "model.onnx").signature
    return open_dataset(SAMPLES / name / "eval", signature)


def score_of(name: str, found: Comparison) -> tuple[float, float]:
    """The task's score of the float model and of the candidate."""
    score = found.scores[TASKS[name].score]
    return score.reference, score.candidate


def measured(name: str, form: str, folder: Path, threads: int) -> tuple[Comparison, float, float]:
    reference = SAMPLES / name / "model.onnx"
    candidate = made(name, FORMS[form], folder / f"{name}.{form}.onnx")
    found = compare(reference, candidate, judged_on(name), latency=True, threads=threads)
    return found, *score_of(name, found)


def report(names: list[str], folder: Path, threads: int) -> None:
    print(f"{'model':18}{'form':9}{'float':>10}{'score':>10}{'SQNR':>7}{'size':>7}{'time':>7}"
          "  95 % interval")  # fmt: skip
    for name in names:
        for form in FORMS:
            try:
                found, before, after = measured(name, form, folder, threads)
            except ModelError as error:  # too small for floats of 16 bits
                print(f"{name:18}{form:9}{error.what}", flush=True)
                continue
            shown = TASKS[name].shown
            latency, far = found.latency, [each.sqnr_db for each in found.outputs]
            assert latency is not None
            print(f"{name:18}{form:9}{shown(before):>10}{shown(after):>10}"
                  f"{far[0] if far else math.nan:7.1f}{found.size.ratio:7.3f}{latency.ratio:7.3f}"
                  f"  {latency.interval.low:.3f} to {latency.interval.high:.3f}"
                  f"  {latency.verdict}", flush=True)  # fmt: skip


def readme(names: list[str], folder: Path) -> None:
    """Scores and sizes as Markdown."""
    print("| sample | task | score | float | w8a8 | w8 | fp16 |\n|---|---|---|---|---|---|---|")
    for name in names:
        task, reference = TASKS[name], SAMPLES / name / "model.onnx"
        data, cells = judged_on(name), []
        before, _ = score_of(name, compare(reference, reference, data))
        for form in ("w8a8", "w8", "fp16"):
            try:
                candidate = made(name, FORMS[form], folder / f"{name}.{form}.onnx")
            except ModelError:
                cells.append("stays float")
                continue
            _, after = score_of(name, compare(reference, candidate, data))
            cells.append(f"{task.shown(after)}, {kilobytes(candidate)}")
        row = [f"`{name}`", task.name, task.score, f"{task.shown(before)}, {kilobytes(reference)}"]
        print(f"| {' | '.join(row + cells)} |", flush=True)


def kilobytes(path: Path) -> str:
    size = path.stat().st_size / 1000
    return f"{size:,.0f} kB" if size >= 10 else f"{size:.1f} kB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(TASKS), metavar="MODEL")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--readme", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.readme:
            readme(options.models, Path(folder))
        else:
            report(options.models, Path(folder), options.threads)


if __name__ == "__main__":
    main()
