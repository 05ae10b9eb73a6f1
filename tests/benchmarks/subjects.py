"""What calibration is timed on: real models and an encoder made here; each with data at will.

Where a model comes without data, they are of the right kind and size and no more: enlarged images,
smooth noise, chance sentences. Speed and memory are judged on them, accuracy is not.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from tests.benchmarks.forms import SAMPLES
from tests.models import Array, normal, save, weight

Writer: TypeAlias = Callable[[Path, Path, int], None]

LAYERS, WIDTH, HEADS, INNER, TOKENS, LENGTH = 12, 384, 12, 1536, 30_522, 64


@dataclass(frozen=True)
class Subject:
    """Gives its model, and fills a folder with so many samples, from (bench or scratch, …)."""

    model: Callable[[Path, Path], Path]
    write: Callable[[Path, Path, int], None]
    samples: int = 256
    batches: bool = True  # whether it takes more than one sample at a time


def bench(name: str) -> Callable[[Path, Path], Path]:
    return lambda folder, scratch: folder / "models" / f"{name}.onnx"


def sample(name: str) -> Callable[[Path, Path], Path]:
    return lambda folder, scratch: SAMPLES / name / "model.onnx"


def images(name: str, change: Callable[[Array], Array] = np.asarray, toml: str = "") -> Writer:
    """Images of DIR/data, over and over."""

    def write(folder: Path, to: Path, count: int) -> None:
        with np.load(folder / "data" / f"{name}_calib.npz") as file:
            array = file["images"]
        np.save(to / "images.npy", change(array[np.arange(count) % len(array)]))
        if toml:
            (to / "qtool.toml").write_text(toml)

    return write


def of_sample(name: str) -> Writer:
    """Samples of a sample model, over and over."""

    def write(folder: Path, to: Path, count: int) -> None:
        del folder
        for path in (SAMPLES / name).iterdir():
            if path.is_file() and path.suffix != ".onnx":
                shutil.copy(path, to)
        for path in (SAMPLES / name / "calib").iterdir():
            if path.suffix == ".txt":
                lines = path.read_text(encoding="utf-8").splitlines()
                text = "".join(f"{lines[i % len(lines)]}\n" for i in range(count))
                (to / path.name).write_text(text, encoding="utf-8")
            elif path.stem != "labels":
                array = np.load(path)
                np.save(to / path.name, array[np.arange(count) % len(array)])

    return write


def noise(folder: Path, to: Path, count: int) -> None:
    """Five frames of 128 bands in dB, which follow one another smoothly."""
    del folder
    walk = np.cumsum(normal(count, 640, seed=1), axis=1) * np.float32(1.5)
    np.save(to / "sound.npy", walk - walk.mean(axis=1, keepdims=True) - 20)


def sentences(folder: Path, to: Path, count: int) -> None:
    del folder
    ids = np.random.default_rng(2).integers(1000, TOKENS, (count, LENGTH), np.int64)
    np.save(to / "ids.npy", ids)


def encoder(folder: Path, scratch: Path) -> Path:
    """A text encoder as torch exports one for opset 17: 21 M values in layers, 12 M in tables."""
    del folder
    constants: dict[str, Array] = {
        "words": normal(TOKENS, WIDTH, seed=3) * np.float32(0.5),
        "places": normal(LENGTH, WIDTH, seed=4) * np.float32(0.5),
        "split": np.array([0, 0, HEADS, WIDTH // HEADS]),
        "join": np.array([0, 0, WIDTH]),
        "root": np.float32(np.sqrt(WIDTH / HEADS)),
        "sqrt2": np.float32(np.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5),
    }  # fmt: skip
    seeds = iter(range(10, 10_000))

    def linear(name: str, inputs: int, outputs: int) -> None:
        constants[f"{name}w"] = weight(outputs, inputs, seed=next(seeds)).T.copy()
        constants[f"{name}b"] = normal(outputs, seed=next(seeds)) * np.float32(0.05)

    def norm(name: str) -> None:
        constants[f"{name}g"] = 1 + normal(WIDTH, seed=next(seeds)) * np.float32(0.1)
        constants[f"{name}s"] = normal(WIDTH, seed=next(seeds)) * np.float32(0.1)

    norm("n0")
    nodes = (
        "e = Gather(words, ids) p = Add(e, places) x0 = LayerNormalization<axis=-1>(p, n0g, n0s)"
    )
    for i in range(LAYERS):
        for part in "qkvo":
            linear(f"l{i}_{part}", WIDTH, WIDTH)
        linear(f"l{i}_i", WIDTH, INNER)
        linear(f"l{i}_u", INNER, WIDTH)
        norm(f"m{i}")
        norm(f"n{i + 1}")
        nodes += _LAYER.replace("@", f"l{i}_").replace("#", str(i)).replace("$", str(i + 1))
    graph = f"g (int64[N,{LENGTH}] ids) => (float[N,{LENGTH},{WIDTH}] x{LAYERS}) {{ {nodes} }}"
    return save(scratch / "encoder.onnx", graph, opset=17, **constants)


_LAYER = """
    @1 = MatMul(x#, @qw) @2 = Add(@qb, @1) @3 = Reshape(@2, split)
    @4 = Transpose<perm=[0,2,1,3]>(@3)
    @5 = MatMul(x#, @kw) @6 = Add(@kb, @5) @7 = Reshape(@6, split)
    @8 = Transpose<perm=[0,2,3,1]>(@7)
    @9 = MatMul(x#, @vw) @10 = Add(@vb, @9) @11 = Reshape(@10, split)
    @12 = Transpose<perm=[0,2,1,3]>(@11)
    @13 = MatMul(@4, @8) @14 = Div(@13, root) @15 = Softmax<axis=-1>(@14) @16 = MatMul(@15, @12)
    @17 = Transpose<perm=[0,2,1,3]>(@16) @18 = Reshape(@17, join)
    @19 = MatMul(@18, @ow) @20 = Add(@ob, @19) @21 = Add(x#, @20)
    @22 = LayerNormalization<axis=-1>(@21, m#g, m#s)
    @23 = MatMul(@22, @iw) @24 = Add(@ib, @23)
    @25 = Div(@24, sqrt2) @26 = Erf(@25) @27 = Add(@26, one)
    @28 = Mul(@24, @27) @29 = Mul(@28, half)
    @30 = MatMul(@29, @uw) @31 = Add(@ub, @30) @32 = Add(@22, @31)
    x$ = LayerNormalization<axis=-1>(@32, n$g, n$s)
"""


def _larger(x: Array) -> Array:
    """(N, 32, 32, 3) -> (N, 96, 96, 3)"""
    return x.repeat(3, axis=1).repeat(3, axis=2)


def _channel(x: Array) -> Array:
    return x[:, None]


_SHARE = "[data.inputs.input_1]\nscale = 0.00392156862745098\n"

SUBJECTS: Mapping[str, Subject] = {
    "resnet8": Subject(bench("resnet8_cifar10"), images("cifar")),
    "resnet8_large": Subject(bench("resnet8_large_cifar10"), images("cifar")),
    "mobilenet_vww96": Subject(bench("mobilenet_vww96"), images("cifar", _larger, _SHARE)),
    "autoencoder_ad01": Subject(bench("autoencoder_ad01"), noise),
    "mnist_cntk": Subject(bench("mnist_cntk"), images("mnist", _channel), batches=False),
    "digits_mobile": Subject(sample("digits_mobile"), of_sample("digits_mobile")),
    "text_transformer": Subject(sample("text_transformer"), of_sample("text_transformer")),
    "text_decoder": Subject(sample("text_decoder"), of_sample("text_decoder")),
    "encoder": Subject(encoder, sentences, samples=64),
}
