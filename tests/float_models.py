"""Models in floats of any width: a CNN that becomes one island of integers, and an attention block
whose softmax and normalization stay as they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx

from qtool import workflow
from qtool.data import open_dataset
from qtool.inspect import running
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.models import Array, normal, save, weight

TYPES: dict[str, Any] = {
    "float": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "double": np.float64,
}
CNN = """g (T[N,3,16,16] x) => (T[N,10] y) {
    a = Conv<pads=[1,1,1,1]>(x, w1, b1) n = BatchNormalization(a, gain, beta, mean, var)
    r = Relu(n) p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
    c = Conv<pads=[1,1,1,1]>(p, w2, b2) s = Add(c, p) q = Relu(s)
    h = GlobalAveragePool(q) f = Flatten(h) y = Gemm<transB=1>(f, w3, b3) }"""
ATTENTION = """g (T[N,8,64] x) => (T[N,8,64] y) {
    q0 = MatMul(x, wq) q = Add(q0, bq) k0 = MatMul(x, wk) k = Add(k0, bk) v = MatMul(x, wv)
    t = Transpose<perm=[0,2,1]>(k) s0 = MatMul(q, t) s = Mul(s0, eighth) p = Softmax(s)
    o = MatMul(p, v) z = Add(o, x) n = LayerNormalization(z, ln)
    u0 = MatMul(n, up) u = Add(u0, bu) r = Relu(u) d0 = MatMul(r, down) d = Add(d0, bd)
    y = Add(d, n) }"""
CNN_CONSTANTS: dict[str, Array] = {
    "w1": weight(32, 3, 3, 3, seed=1), "b1": normal(32, seed=2) / 4,
    "gain": np.abs(normal(32, seed=3)) + 0.5, "beta": normal(32, seed=4) / 4,
    "mean": normal(32, seed=5) / 4, "var": np.abs(normal(32, seed=6)) + 0.5,
    "w2": weight(32, 32, 3, 3, seed=7), "b2": normal(32, seed=8) / 4,
    "w3": weight(10, 32, seed=9), "b3": normal(10, seed=10) / 4,
}  # fmt: skip
ATTENTION_CONSTANTS: dict[str, Array] = {
    "wq": weight(64, 64, seed=1).T, "wk": weight(64, 64, seed=2).T, "wv": weight(64, 64, seed=3).T,
    "bq": normal(64, seed=4) / 4, "bk": normal(64, seed=5) / 4, "eighth": np.array(0.125),
    "ln": np.abs(normal(64, seed=6)) + 0.5,
    "up": weight(512, 64, seed=7).T, "bu": normal(512, seed=8) / 4,
    "down": weight(64, 512, seed=9).T, "bd": normal(64, seed=10) / 4,
}  # fmt: skip
MODELS = {"cnn": (CNN, CNN_CONSTANTS), "attention": (ATTENTION, ATTENTION_CONSTANTS)}
RUNS = [("cnn", "float16"), ("attention", "float16"), ("attention", "double")]
"""Those that the runtime has kernels for."""


def save_in(path: Path, graph: str, dtype: str, **constants: Array) -> Path:
    """The model with T for `dtype`, ONNX's name, and its constants in that type."""
    kind = TYPES[dtype]
    cast: dict[str, Any] = {
        name: np.ascontiguousarray(each).astype(kind) for name, each in constants.items()
    }
    return save(path, graph.replace("T[", f"{dtype}["), **cast)


def saved(folder: Path, name: str, dtype: str) -> Path:
    """One of MODELS as a file."""
    graph, constants = MODELS[name]
    return save_in(folder / f"{name}.{dtype}.onnx", graph, dtype, **constants)


def samples(name: str, dtype: str, count: int = 32) -> Array:
    """What its input takes."""
    shape = (3, 16, 16) if name == "cnn" else (8, 64)
    return normal(count, *shape, seed=99).astype(TYPES[dtype])


FORMS = {
    "w8a8": Recipe(scheme="w8a8"),
    "w8": Recipe(scheme="w8"),
    "w4b32": Recipe(scheme="w4b32"),
    "dynamic": Recipe(scheme="w8a8", mode="dynamic"),
}


@dataclass(frozen=True)
class Made:
    """A quantized model, the plan, and both outputs on the samples."""

    path: Path
    result: workflow.Quantized
    before: Array
    after: Array

    @property
    def graph(self) -> onnx.GraphProto:
        return onnx.load_from_string(self.result.data).graph

    @property
    def ratio(self) -> float:
        return len(self.result.data) / self.path.stat().st_size

    def kernels(self) -> dict[str, int]:
        """The integer kernels that the runtime makes."""
        path = self.path.with_suffix(".q.onnx")
        path.write_bytes(self.result.data)
        return running(path).integer


def made(path: Path, recipe: Recipe, x: Array, target: str = "cpu") -> Made:
    """Quantize, write and run; the writing checks that it is valid, and has the same signature."""
    job = workflow.open_job(path, recipe.checked(), load_target(target), threads=1)
    workflow.check_preparation(job, {"x": x[:4]})
    calibration = None
    if job.sites.sources:
        file = path.with_suffix(".npy")
        np.save(file, x)
        calibration = workflow.measure(job, open_dataset(file, job.signature), batch_size=8)
    result = workflow.build(job, calibration)
    workflow.write(job, result, path.with_suffix(".int.onnx"), {"x": x[:4]}, allow_larger=True)
    before, after = (Session(model).run({"x": x})["y"] for model in (path, result.data))
    assert before.dtype == after.dtype
    return Made(path, result, before.astype(np.float64), after.astype(np.float64))


def casts(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Every Cast there is, none of which may repeat or undo another."""
    found = [node for node in graph.node if node.op_type == "Cast"]
    assert not {node.input[0] for node in found} & {node.output[0] for node in found}
    assert max(Counter((n.input[0], n.attribute[0].i) for n in found).values(), default=1) == 1
    return found
