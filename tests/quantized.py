"""Quantized models that others make: onnxruntime's own quantizer, in every form that it has."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from tests.models import Array, normal, proto, weight

Feeds = dict[str, Array]

# name -> (graph, constants, feeds). Together they hold what onnxruntime's quantizer knows.
CNN = (
    """g (float[N,3,12,12] x) => (float[N,5] y) {
        a = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(a)
        p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r) c = Conv<pads=[1,1,1,1]>(p, v, e)
        l = LeakyRelu(c) s = Add(l, p) g1 = Sigmoid(s) m = Mul(s, g1)
        j = Concat<axis=1>(m, s) t = AveragePool<kernel_shape=[2,2]>(j)
        d = Conv(t, u) k = Clip(d, low, high) q = GlobalAveragePool(k) f = Flatten(q)
        y = Gemm<transB=1>(f, o, z) }""",
    {
        "w": weight(8, 3, 3, 3, seed=1), "b": normal(8, seed=2) / 4,
        "v": weight(8, 8, 3, 3, seed=3), "e": normal(8, seed=4) / 4,
        "u": weight(12, 16, 1, 1, seed=5), "o": weight(5, 12, seed=6), "z": normal(5, seed=7),
        "low": np.float32(0), "high": np.float32(6),
    },
    lambda n, seed: {"x": normal(n, 3, 12, 12, seed=seed)},
)  # fmt: skip
ENCODER = (
    """g (int64[N,6] ids) => (float[N,6,16] y) {
        e = Gather(table, ids) q = MatMul(e, wq) k = MatMul(e, wk) v = MatMul(e, wv)
        kt = Transpose<perm=[0,2,1]>(k) s = MatMul(q, kt) n = Mul(s, root) p = Softmax(n)
        c = MatMul(p, v) o = MatMul(c, wo) ob = Add(o, bo) h = Add(ob, e)
        i = MatMul(h, w1) r = Relu(i) y = MatMul(r, w2) }""",
    {
        "table": normal(20, 16, seed=8), "root": np.float32(0.25), "bo": normal(16, seed=9) / 4,
        **{n: weight(16, 16, seed=10 + i) for i, n in enumerate(("wq", "wk", "wv", "wo"))},
        "w1": weight(16, 48, seed=15) * np.float32(1.7), "w2": weight(48, 16, seed=16),
    },
    lambda n, seed: {"ids": np.random.default_rng(seed).integers(0, 20, (n, 6))},
)  # fmt: skip
RECURRENT = (
    """g (float[7,N,16] x) => (float[7,2,N,8] y) {
        y, h, c = LSTM<hidden_size=8, direction="bidirectional">(x, w, r, b) }""",
    {
        "w": weight(2, 32, 16, seed=17), "r": weight(2, 32, 8, seed=18),
        "b": normal(2, 64, seed=19) / 4,
    },
    lambda n, seed: {"x": normal(7, n, 16, seed=seed)},
)  # fmt: skip
GRAPHS: dict[str, tuple[str, dict[str, Array], Callable[[int, int], Feeds]]] = {
    "cnn": CNN,
    "encoder": ENCODER,
    "lstm": RECURRENT,
}


def float_model(name: str) -> onnx.ModelProto:
    """One of GRAPHS at opset 17, before anything is quantized."""
    graph, constants, _ = GRAPHS[name]
    made = proto(graph, opset=17, **constants)
    made.ir_version = 8
    return made


def feeds(name: str, count: int = 16, seed: int = 50) -> Feeds:
    """Random inputs of the model."""
    return GRAPHS[name][2](count, seed)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """32 samples, which the tests do not use."""

    def __init__(self, name: str) -> None:
        self._left: Iterator[Feeds] = iter([feeds(name, 8, seed) for seed in range(4)])

    def get_next(self) -> Feeds | None:
        return next(self._left, None)


def _static(name: str, **options: object) -> Callable[[Path, Path], None]:
    return lambda source, target: quantize_static(source, target, _Reader(name), **options)


def _dynamic(**options: object) -> Callable[[Path, Path], None]:
    return lambda source, target: quantize_dynamic(source, target, **options)


def _packed(**options: Any) -> Callable[[Path, Path], None]:
    def make(source: Path, target: Path) -> None:
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        root.handlers[:] = handlers  # it sets the log of the whole process when imported
        root.setLevel(level)
        done: Any = MatMulNBitsQuantizer(onnx.load(source), **options)
        done.process()
        done.model.save_model_to_file(str(target))

    return make


QDQ, QOPERATOR = QuantFormat.QDQ, QuantFormat.QOperator
U8, S8, S16 = QuantType.QUInt8, QuantType.QInt8, QuantType.QInt16
MADE: dict[str, tuple[str, str, Callable[[Path, Path], None]]] = {
    f"{graph} {form} {'per channel' if channel else 'per tensor'} {activation.name}": (
        graph,
        "QDQ" if form == "qdq" else "QOperator",
        _static(graph, quant_format=QDQ if form == "qdq" else QOPERATOR, per_channel=channel,
                activation_type=activation, weight_type=S8,
                extra_options={"ActivationSymmetric": activation is S8}),
    )
    for graph in ("cnn", "encoder")
    for form in ("qdq", "qoperator")
    for channel in (False, True)
    for activation in (U8, S8)
} | {
    "cnn qdq int16": ("cnn", "QDQ", _static("cnn", quant_format=QDQ, activation_type=S16,
                                            weight_type=S8)),
    "encoder qdq weights int4": ("encoder", "QDQ", _static(
        "encoder", quant_format=QDQ, activation_type=U8, weight_type=QuantType.QInt4)),
    "cnn dynamic": ("cnn", "dynamic", _dynamic(weight_type=U8)),
    "encoder dynamic": ("encoder", "dynamic", _dynamic(weight_type=S8)),
    "encoder dynamic per channel": ("encoder", "dynamic", _dynamic(weight_type=S8,
                                                                   per_channel=True)),
    "encoder dynamic both": ("encoder", "dynamic", _dynamic(
        weight_type=U8, extra_options={"MatMulConstBOnly": False})),
    "lstm dynamic": ("lstm", "dynamic", _dynamic(weight_type=S8)),
    "lstm dynamic per channel": ("lstm", "dynamic", _dynamic(weight_type=S8, per_channel=True)),
    "encoder 4 bits": ("encoder", "QOperator", _packed(bits=4, block_size=16)),
    "encoder 4 bits symmetric": ("encoder", "QOperator", _packed(block_size=16,
                                                                 is_symmetric=True)),
    "encoder 8 bits": ("encoder", "QOperator", _packed(bits=8, block_size=16)),
    "encoder 4 bits qdq": ("encoder", "QDQ", _packed(block_size=16, quant_format=QDQ)),
}  # fmt: skip


def quantized(name: str) -> onnx.ModelProto:
    """The model of MADE as its maker wrote it."""
    graph, _, make = MADE[name]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "made.onnx"
        onnx.save(float_model(graph), source)
        logging.disable(logging.WARNING)
        try:
            make(source, target)
        finally:
            logging.disable(logging.NOTSET)
        return onnx.load(target)
