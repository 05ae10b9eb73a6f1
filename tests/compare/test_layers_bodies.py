"""Layers of models with bodies: what a body makes is its node's, and the runtime takes the graph
in which both models stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from qtool.recipe import Recipe
from tests.cases import quantized
from tests.compare.layered import table
from tests.models import Array, normal, save, weight

W, V = weight(16, 16), weight(16, 16, seed=2)
GRAPHS = {
    "a Loop in a Scan": """g (float[N,16] x) => (float[N,16] y) {
        axis = Constant<value_ints=[0]>() start = ReduceMean<keepdims=0>(x, axis)
        last, y = Scan(start, x) <num_scan_inputs = 1,
            body = b (float[16] state, float[16] slice) => (float[16] next, float[16] out) {
                two = Constant<value_int=2>() row = Unsqueeze(slice, axis)
                turned = Loop(two, , row) <body = l (int64 i, bool c, float[1,16] s)
                    => (bool d, float[1,16] n) {
                        d = Identity(c) m = MatMul(s, w) t = Tanh(m) n = MatMul(t, v) }>
                flat = Squeeze(turned, axis) sum = Add(flat, state) next = Tanh(sum)
                out = Neg(sum)
            }> }""",
    "a sequence": """g (float[N,16] x) => (float[M,16] y) {
        two = Constant<value_int=2>() none = SequenceEmpty()
        all, last = Loop(two, , none, x) <body = b (int64 i, bool c, seq(float[N,16]) s,
            float[N,16] h) => (bool d, seq(float[N,16]) grown, float[N,16] n) {
                d = Identity(c) m = MatMul(h, w) t = Tanh(m) n = MatMul(t, v)
                grown = SequenceInsert(s, n) }>
        y = ConcatFromSequence<axis=0>(all) }""",
    "a clamp that a body adds to": """g (float[N,16] x) => (float[N,16] y) {
        two = Constant<value_int=2>() o = Relu(x)
        y = Loop(two, , o) <body = b (int64 i, bool c, float[N,16] s) => (bool d, float[N,16] n) {
            d = Identity(c) m = MatMul(s, w) t = Tanh(m) k = MatMul(t, v) n = Add(k, o) }> }""",
}


@pytest.mark.parametrize("name", GRAPHS)
def test_both_models_stand_in_one_graph(name: str, tmp_path: Path) -> None:
    constants: dict[str, Array] = {"w": W, "v": V}
    path, samples = save(tmp_path / "m.onnx", GRAPHS[name], **constants), normal(32, 16)
    other = tmp_path / "q.onnx"
    other.write_bytes(quantized(path, Recipe(), samples).data)
    found = table((path, other), samples)
    assert 20 < found["y"].own_db < 80
    assert found["y"].op_type in ("Scan", "Loop", "ConcatFromSequence")
    assert all(abs(row.own_db) > 150 for row in table((path, path), samples).values())
