"""The ranking of `qtool sensitivity` against the exact one, and what it costs.

    python -m tests.benchmarks.ranking [--bench DIR] [--models NAME ...]

The exact noise of a layer is that of the outputs with its own weights and the activations that it
reads and gives quantized alone, by the rewrite that makes every model, over all samples: a pass for
each layer. `rank` is Spearman's correlation with that, `dB` Pearson's of both in dB, `err` the mean
distance in dB; `tensors` is `rank` of single tensors, `added` that of layers by the sum of what
their tensors do exactly, which is all that more samples could give; `own` is `rank` of the order by
each layer's own error, which knows nothing of what the layers behind make of it. Times are those of
one float pass: of the effects alone, of the command once the model is made, and of all. `sum` is
the SQNR that the sum of all tensors foretells.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from qtool.apart import open_model
from qtool.data import Dataset, open_dataset
from qtool.numeric.ranks import spearman
from qtool.passes import rewritten
from qtool.plan.plan import Plan
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.search.making import Candidate, Maker
from qtool.sensitivity.advice import advise
from qtool.sensitivity.effects import Effects, Noise, effects_of, softened, take_logarithms
from qtool.sensitivity.gates import Key
from qtool.sensitivity.ranking import Layer, decibels, ranking, source_of
from qtool.sensitivity.study import errors_of
from qtool.sensitivity.turns import ranked
from qtool.target import load_target
from tests.benchmarks.forms import SAMPLES
from tests.benchmarks.subjects import SUBJECTS
from tests.models import normal

FORMS: Mapping[str, tuple[str, ...]] = {
    "digits_cnn": ("w8a8", "w4"),
    "digits_mobile": ("w8a8", "w4a8"),
    "text_transformer": ("w8a8", "w4"),
    "digits_detector": ("w8a8",),
    "digits_decoder": ("w8", "w4"),
    "digits_mlp": ("w8", "w4"),
    "text_lstm": ("w8", "w4"),
    "text_gru": ("w8",),
    "text_decoder": ("w8a8", "w4"),
}
BENCH = ("resnet8", "resnet8_large", "mobilenet_vww96", "dscnn_kws", "autoencoder_ad01")


@dataclass(frozen=True)
class Exact:
    """Noise by layer and by tensor, each alone over all samples."""

    layers: tuple[float, ...]
    tensors: Mapping[str | Key, float]


def restricted(
    made: Candidate, sources: Collection[str], weights: Collection[Key], *, kernels: bool
) -> Plan:
    """The plan with these and nothing else. Without integer kernels, weights become floats again:
    one that only restores itself would get a kernel that rounds activations too."""
    plan, job, nodes = made.plan, made.job, {node for node, _ in weights}
    chosen = {key: each for key, each in plan.weights.items() if key in weights}
    for key, weight in chosen.items():
        if weight.form == "static" and not kernels:
            chosen[key] = replace(weight, encoding="cast-mul")
    return replace(
        plan,
        activations={n: t for n, t in plan.activations.items() if source_of(job, n) in sources},
        weights=chosen,
        operands={key: each for key, each in plan.operands.items() if key in weights},
        biases={k: b for k, b in plan.biases.items() if kernels and k[0] in nodes},
    )  # fmt: skip


def exact(made: Candidate, layers: Collection[Layer], effects: Effects, data: Dataset) -> Exact:
    model, power = made.job.model.clone(), Noise()
    take_logarithms(model, softened(made.job.model, made.plan))
    session = open_model(model, threads=1)
    expected = [session.run(feeds) for feeds in data.batches(1)]
    for each in expected:
        power.add(each, each)

    def noise(plan: Plan) -> float:
        changed: ir.Model = rewritten(model, plan)
        alone, found = open_model(changed, threads=1), Noise()
        for feeds, each in zip(data.batches(1), expected, strict=True):
            found.add(each, alone.run(feeds))
        return found.over(power)

    def of(layer: Layer) -> float:
        kernels = bool(layer.activations)
        return noise(restricted(made, layer.activations, layer.weights, kernels=kernels))

    tensors: dict[str | Key, float] = {
        each: noise(restricted(made, [each], [], kernels=False)) for each in effects.activations
    }
    for key in effects.weights:
        tensors[key] = noise(restricted(made, [], [key], kernels=False))
    return Exact(tuple(of(layer) for layer in layers), tensors)


def alike(truth: Collection[float], found: Collection[float]) -> tuple[float, float, float]:
    """Spearman, Pearson of dB and the mean distance in dB, of what makes any noise."""
    a, b = np.array(list(truth)), np.array(list(found))
    there = (a > 0) & (b > 0) & np.isfinite(a) & np.isfinite(b)
    if there.sum() < 3:
        return math.nan, math.nan, math.nan
    x, y = np.log10(a[there]), np.log10(b[there])
    linear = float(np.corrcoef(x, y)[0, 1])
    return float(spearman(a[there], b[there])), linear, float(10 * np.abs(x - y).mean())


def line(name: str, model: Path, data_at: Path, scheme: str, folder: Path, samples: int) -> str:
    signature = Session(model).signature
    data = open_dataset(data_at, signature).choose(samples, 0)
    maker = Maker(model, load_target("cpu"), data, folder, threads=1, requantize=True)
    begin = time.perf_counter()
    made = maker.make(maker.job(Recipe(scheme=scheme)))
    job, middle = made.job, time.perf_counter()
    order = ranked(data, 1)
    effects = effects_of(job.model, job.sites, made.plan, data, threads=1, order=order)
    gates = time.perf_counter() - middle
    errors, _, _ = errors_of(made, data, order, threads=1)
    layers = ranking(job, made.plan, effects, errors)
    advise(job, effects)
    end = time.perf_counter()
    one = effects.seconds
    truth = exact(made, layers, effects, data)
    rank, linear, away = alike(truth.layers, [layer.noise for layer in layers])
    known: dict[str | Key, float] = {}
    for some in (effects.activations, effects.weights):
        known.update(some.items())
    single, _, _ = alike(truth.tensors.values(), [known[each] for each in truth.tensors])
    added = alike(truth.layers, [_sum(truth, layer) for layer in layers])[0]
    own = alike(truth.layers, [10 ** (-layer.own_db / 10) for layer in layers])[0]
    return (
        f"{name:18}{scheme:6}{len(layers):7}{len(truth.tensors):8}{effects.runs:6}"
        f"{rank:7.3f}{linear:7.3f}{away:6.2f}{single:9.3f}{added:7.3f}{own:7.3f}"
        f"{1000 * one:9.0f} ms"
        f"{gates / one:9.1f}{(end - middle) / one:9.1f}{(end - begin) / one:7.1f}"
        f"{decibels(effects.total):9.1f} dB"
    )  # fmt: skip


def _sum(truth: Exact, layer: Layer) -> float:
    tensors: list[str | Key] = [*layer.weights, *layer.activations]
    return math.fsum(truth.tensors[each] for each in tensors)


def speech(folder: Path, to: Path, count: int) -> None:
    """49 frames of 10 cepstral coefficients, which follow one another smoothly."""
    del folder
    walk = np.cumsum(normal(count, 49, 10, 1, seed=3), axis=1) * np.float32(3)
    np.save(to / "speech.npy", walk - walk.mean(axis=1, keepdims=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path)
    parser.add_argument("--models", nargs="*")
    parser.add_argument("--samples", type=int, default=256)
    options = parser.parse_args()
    print(f"{'model':18}{'form':6}{'layers':>7}{'tensors':>8}{'runs':>6}{'rank':>7}{'dB':>7}"
          f"{'err':>6}{'tensors':>9}{'added':>7}{'own':>7}{'float':>12}{'effects':>9}{'command':>9}{'all':>7}"
          f"{'sum':>12}")  # fmt: skip
    wanted = options.models or [*FORMS, *(BENCH if options.bench else ())]
    for name in wanted:
        for scheme in FORMS.get(name, ("w8a8",)):
            with tempfile.TemporaryDirectory() as at:
                folder = Path(at)
                model, data = SAMPLES / name / "model.onnx", SAMPLES / name / "calib"
                if name in BENCH:
                    data = folder / "data"
                    data.mkdir()
                    subject = SUBJECTS.get(name)
                    model = options.bench / "models" / f"{name}.onnx"
                    write = speech if subject is None else subject.write
                    model = model if subject is None else subject.model(options.bench, folder)
                    write(options.bench, data, options.samples)
                print(line(name, model, data, scheme, folder, options.samples), flush=True)


if __name__ == "__main__":
    main()
