"""Models with bodies, and what calibration tells of the tensors in them."""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir

from qtool.calibrate.stream import Stream
from qtool.numeric.histogram import Histogram
from qtool.passes import prepare
from tests.models import Array, build, weight

W = weight(4, 4)
LOOP = """g (float[N,4] x, int64 trips) => (float[N,4] y, float[M,N,4] rows) {
    y, rows = Loop(trips, , x) <body = b (int64 i, bool c, float[N,4] state)
        => (bool d, float[N,4] next, float[N,4] row) {
            d = Identity(c) m = MatMul(state, w) next = Tanh(m) row = Neg(m)
    }>
}"""
# Each turn takes one branch; the Loop runs as often as there are positive values in x.
NESTED = """g (float[N,4] x) => (float[N,4] y) {
    z = ReduceMax<keepdims=0>(x) more = Cast<to=7>(z)
    y = Loop(more, , x) <body = b (int64 i, bool c, float[N,4] state) => (bool d, float[N,4] next) {
        d = Identity(c)
        half = Mod(i, two) even = Equal(half, zero)
        next = If(even) <
            then_branch = t () => (float[N,4] p) { a = MatMul(state, w) p = Relu(a) },
            else_branch = e () => (float[N,4] q) { k = Mul(state, w0) q = Sub(k, one) }
        >
    }>
}"""
WITHIN = """g (float[2,4] x, bool taken, int64 trips) => (float[2,4] y) {
    y = If(taken) <
        then_branch = t () => (float[2,4] p) {
            r = Relu(x)
            p = Loop(trips, , r) <body = b (int64 i, bool c, float[2,4] s) => (bool d, float[2,4] n)
                { d = Identity(c) n = MatMul(s, w) }>
        },
        else_branch = e () => (float[2,4] q) { q = Sub(x, one) }
    >
}"""
SCAN = """g (float[2,4] first, float[T,2,4] xs) => (float[2,4] last, float[T,2,4] ys) {
    last, ys = Scan(first, xs) <num_scan_inputs = 1,
        body = b (float[2,4] state, float[2,4] slice) => (float[2,4] next, float[2,4] out) {
            m = MatMul(slice, w) a = Add(state, m) next = Tanh(a) out = Mul(a, m)
        }>
}"""
COUNTING = """g (float[1,8] x, int64 trips) => (float[1,8] y) {
    y = Loop(trips, , x) <body = b (int64 i, bool c, float[1,8] state)
        => (bool d, float[1,8] next) { d = Identity(c) next = Add(state, one) }>
}"""
CONSTANTS: dict[str, Array] = {"w": W, "w0": np.float32(-2), "one": np.float32(1)}
INTEGERS: dict[str, Array] = {"two": np.array(2), "zero": np.array(0)}


def prepared(graph: str, opset: int = 21) -> ir.Model:
    every = {**CONSTANTS, **INTEGERS}
    used = {k: v for k, v in every.items() if re.search(rf"\b{k}\b", graph)}
    return prepare(build(graph, opset=opset, **used))


def measured(
    model: ir.Model, tensors: str, *samples: dict[str, Array], most: int = 256
) -> dict[str, Histogram]:
    stream = Stream(model, tensors.split(), most=most)
    for number, feeds in enumerate(samples):
        stream.see(feeds, (number,), number)
    return stream.histograms()
