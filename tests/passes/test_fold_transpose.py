"""Transposes that undo each other, and those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from qtool.passes.fold_transpose import FoldTranspose
from qtool.recipe import Recipe
from tests.cases import quantized
from tests.models import assert_same_function, build, normal, operators, save, weight

X = normal(2, 3, 4)
T = "Transpose<perm=[1,2,0]>"
BACK = "Transpose<perm=[2,0,1]>"

# nodes -> operators that are left
PAIRS: dict[str, tuple[str, list[str]]] = {
    "a pair": (f"r = Relu(x) a = {T}(r) b = {BACK}(a) y = Abs(b)", ["Relu", "Abs"]),
    "reversed twice": (
        "r = Relu(x) a = Transpose(r) b = Transpose(a) y = Abs(b)",
        ["Relu", "Abs"],
    ),
    "of an input": (f"a = {T}(x) b = {BACK}(a) y = Abs(b)", ["Abs"]),
    "an output": (f"r = Relu(x) a = {T}(r) y = {BACK}(a)", ["Relu"]),
    "the first is read": (
        f"r = Relu(x) a = {T}(r) b = {BACK}(a) c = {BACK}(a) d = Abs(b) y = Add(d, c)",
        ["Relu", "Abs", "Add"],
    ),
}
KEPT = {
    "no pair": f"a = {T}(x) b = {T}(a) y = Abs(b)",
    "not beside each other": f"a = {T}(x) b = Relu(a) y = {BACK}(b)",
    "an input that is an output": f"a = {T}(x) y = {BACK}(a)",
    "two outputs": f"z = Relu(x) a = {T}(z) y = {BACK}(a)",
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_goes(name: str) -> None:
    nodes, left = PAIRS[name]
    before = build(f"g (float[2,3,4] x) => (float[2,3,4] y) {{ {nodes} }}")
    after = FoldTranspose()(before.clone()).model
    assert [each for each in operators(after) if each != "Transpose"] == left
    assert all(node.outputs[0].uses() == () or node.op_type != "Transpose" for node in after.graph)
    assert_same_function(before, after, x=X)


@pytest.mark.parametrize("name", KEPT)
def test_what_stays(name: str) -> None:
    z = ", float[2,3,4] z" if "z =" in KEPT[name] else ""
    model = build(f"g (float[2,3,4] x) => (float y{z}) {{ {KEPT[name]} }}")
    assert not FoldTranspose()(model).modified


def test_ranges_are_measured_around_transposed_products(tmp_path: Path) -> None:
    # The runtime would drop the pair that transA makes, and lose the name of what is measured.
    graph = """g (float[N,8] x) => (float[N,5] y) {
        a = Gemm(x, w) t = Transpose<perm=[1,0]>(a) y = Gemm<transA=1>(t, v) }"""
    path = save(tmp_path / "m.onnx", graph, w=weight(8, 6), v=weight(6, 5))
    assert len(quantized(path, Recipe(), normal(32, 8)).plan.weights) == 2
