"""Classical models in each form beside the original: function, score, size and time.

    python -m tests.benchmarks.classical [--only PART] [--models TEXT]

`samples` are those of sample_models, `trained` the pipelines of tests/trained.py, trained on half
of the rows of a table and judged on the other half. `lowered` is the model written as products, in
float: how far its numbers are from the original's on 1,000 rows, and how many labels differ;
`portable` is the same for that target, in standard operators. The forms after it are without data.
`unscaled` see columns as they are. `large` are machines of random vectors, of which only size and
time count. Time is over the original's, in turns, one thread, for 1 row and for 1,000; `--seconds`
says how long.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from qtool import model as models
from qtool import workflow
from qtool.compare.latency import measure
from qtool.compare.rows import real
from qtool.passes import prepare
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.trained import MODELS, Trained, thousand, trained

SAMPLES = Path(__file__).parents[2] / "sample_models"
FORMS = {
    "lowered": None,
    "portable": None,
    "w8": Recipe(scheme="w8"),
    "w4": Recipe(scheme="w4"),
    "dynamic": Recipe(scheme="w8a8", mode="dynamic"),
}


def samples() -> Iterator[tuple[str, Trained]]:
    for name in ("diabetes_linear", "cancer_logistic", "wine_svm"):
        table = np.loadtxt(SAMPLES / name / "eval" / "samples.csv", delimiter=",", skiprows=1)
        rows = table[:, :-1].astype(np.float32)
        yield name, Trained(None, (SAMPLES / name / "model.onnx").read_bytes(), rows, table[:, -1])


def pipelines() -> Iterator[tuple[str, Trained]]:
    for name in MODELS:
        yield name, trained(name, half=True)


def large() -> Iterator[tuple[str, Trained]]:
    """Machines of random vectors, with two classes."""
    import onnx.helper as make

    rng = np.random.default_rng(0)
    for vectors, features in ((500, 64), (2000, 64), (2000, 784), (10000, 128)):
        own: dict[str, Any] = {
            "classlabels_ints": [0, 1],
            "coefficients": rng.normal(size=vectors),
            "kernel_params": [1 / features, 0.0, 0.0],
            "kernel_type": "RBF",
            "rho": [0.1],
            "support_vectors": rng.normal(size=vectors * features),
            "vectors_per_class": [vectors // 2, vectors // 2],
        }
        node = make.make_node("SVMClassifier", ["x"], ["k", "z"], domain="ai.onnx.ml", **own)
        ends = [
            make.make_tensor_value_info(name, kind, None) for name, kind in (("k", 7), ("z", 1))
        ]
        x = make.make_tensor_value_info("x", 1, ["n", features])
        opsets = [make.make_opsetid("", 17), make.make_opsetid("ai.onnx.ml", 1)]
        graph = make.make_graph([node], "g", [x], ends)
        data = make.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
        rows = rng.normal(size=(200, features)).astype(np.float32)
        yield f"rbf, {vectors} x {features}", Trained(None, data, rows, None)


def unscaled() -> Iterator[tuple[str, Trained]]:
    for name in ("logistic 2", "logistic 3", "svc linear wine", "ridge", "svr linear"):
        yield f"{name}, as it is", trained(name, half=True, scaled=False)


def made(source: Path, form: str) -> bytes:
    """The model in a form, without data."""
    recipe = FORMS[form]
    if recipe is None:
        model = prepare(models.load(source), standard=form == "portable")
        models.stamp(model)
        return models.serialize(model)
    job = workflow.open_job(source, recipe, load_target("cpu"), threads=1)
    return workflow.build(job, None).data


def apart(before: dict[str, Any], after: dict[str, Any]) -> str:
    """The largest difference of a number, over 1 or the largest number; labels that differ."""
    far, labels = 0.0, 0
    for name, value in before.items():
        expected, found = real(value), real(after[name])
        if expected is None or found is None:
            labels += int(np.sum(value != after[name]))
        else:
            scale = max(1.0, float(np.abs(expected).max()))
            far = max(far, float(np.abs(found - expected).max()) / scale)
    return f"{far:.1e}, {labels}"


def score(outputs: dict[str, Any], labels: Any) -> str:
    """The share of right labels, or the mean squared error."""
    first = next(iter(outputs.values()))
    if labels is None:
        return ""
    if first.dtype.kind == "f":
        return f"{np.mean((first.reshape(-1) - labels) ** 2):.4g}"
    return f"{100 * np.mean(first.reshape(-1) == labels):.2f} %"


def show(name: str, each: Trained, seconds: float, folder: Path) -> None:
    source = folder / "m.onnx"
    source.write_bytes(each.data)
    feed = Session(each.data, threads=1).signature.inputs[0].name
    many = {feed: thousand(each.rows)}
    known = Session(each.data, threads=1)
    at_first = score(known.run({feed: each.rows}), each.labels)
    print(f"{name:26}{'original':10}{'':13}{at_first:>10}{len(each.data):>11,}")
    for form, recipe in FORMS.items():
        data = made(source, form)
        reference, candidate = (Session(d, threads=1) for d in (each.data, data))
        told = apart(reference.run(many), candidate.run(many)) if recipe is None else ""
        found = score(candidate.run({feed: each.rows}), each.labels)
        times = [
            measure(reference, candidate, [feeds], batch_size=1, threads=1, seconds=seconds).ratio
            for feeds in ({feed: each.rows[:1]}, many)
        ]
        print(
            f"{'':26}{form:10}{told:>13}{found:>10}{len(data):>11,}"
            f"{len(data) / len(each.data):7.2f}{times[0]:7.2f}{times[1]:7.2f}",
            flush=True,
        )


PARTS = {"samples": samples, "trained": pipelines, "unscaled": unscaled, "large": large}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=tuple(PARTS))
    parser.add_argument("--models", default="", help="those whose names have this in them")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each timing")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    print(f"{'model':26}{'form':10}{'apart, labels':>13}{'score':>10}{'bytes':>11}{'over':>7}"
          f"{'1 row':>7}{'1,000':>7}")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for part in [options.only] if options.only else PARTS:
            for name, each in PARTS[part]():
                if options.models in name:
                    show(name, each, options.seconds, Path(folder))


if __name__ == "__main__":
    main()
