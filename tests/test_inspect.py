"""What runs in integers, as the optimized graph shows it."""

from __future__ import annotations

from pathlib import Path

from qtool.inspect import running
from qtool.recipe import Recipe
from tests.cases import quantized
from tests.models import normal, save, weight


def test_what_reads_the_floats_of_a_product_is_float(tmp_path: Path) -> None:
    graph = "g (float[N,16] x) => (float[N,16] y) { a = Gemm(x, w, b) y = Softmax(a) }"
    path = save(tmp_path / "m.onnx", graph, w=weight(16, 16), b=normal(16))
    made = tmp_path / "q.onnx"
    made.write_bytes(quantized(path, Recipe(), normal(64, 16)).data)
    found = running(made)
    assert found.integer == {"QGemm": 1}
    assert found.floating == {"Softmax": 1}


def test_what_reads_the_codes_of_a_product_is_not(tmp_path: Path) -> None:
    graph = """g (float[N,16] x) => (float[16] y) {
        a = Gemm(x, w, b) t = Transpose(a) y = ReduceMax<keepdims=0>(t, one) }"""
    path = save(tmp_path / "m.onnx", graph, w=weight(16, 16), b=normal(16), one=[1])
    made = tmp_path / "q.onnx"
    made.write_bytes(quantized(path, Recipe(placement="all"), normal(64, 16)).data)
    found = running(made)
    assert found.integer == {"QGemm": 1, "Transpose": 1, "ReduceMax": 1}
