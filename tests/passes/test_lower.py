"""Operators written as others that run in integers, and those that must stay what they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from qtool import model as models
from qtool.passes.fold_pad import FoldPad
from qtool.passes.fold_scale import FoldScale
from qtool.passes.gemm_plain import GemmPlain
from qtool.passes.lower import Lower
from qtool.passes.lower_einsum import LowerEinsum
from tests.models import Array, build, normal, operators, run, weight

PASSES: dict[str, Callable[[], ir.passes.InPlacePass]] = {
    "lower": Lower, "einsum": LowerEinsum, "pad": FoldPad, "scale": FoldScale, "gemm": GemmPlain,
}  # fmt: skip
X = normal(2, 4, 6, 5)
C: dict[str, Array] = {
    "c": normal(4, 1, 1), "k": np.float32(-0.7), "zero": np.float32(0), "axes": np.array([2, 3]),
    "back": np.array([-1, -2]), "one": np.array([1]), "w": weight(8, 4, 3, 3), "b": normal(8),
    "s": normal(8, 1, 1, seed=3), "s4": normal(1, 8, 1, 1, seed=4),
    "p": np.array([0, 0, 1, 2, 0, 0, 2, 1]),
    "deep": np.array([0, 1, 1, 1, 0, 0, 1, 1]), "cut": np.array([0, 0, -1, 0, 0, 0, 1, 1]),
    "sides": np.array([1, 2]), "fill": np.float32(1), "m": normal(5, 8, seed=5),
    "row": normal(8, seed=7), "line": normal(1, 8, seed=8), "column": normal(5, 1, seed=9),
    "t": normal(4, 8, 3, 3, seed=10), "flat": np.array([-1, 5]), "e": normal(5, 3, seed=11),
    "e3": normal(5, 2, 3, seed=12), "e4": normal(6, 5, 3, seed=13),
    "half": normal(4, 5, 3, seed=14),
    "wide": normal(2, 1, 1, 1, seed=15), "g": weight(8, 2, 3, 3, seed=16),
}  # fmt: skip

# pass, nodes -> operators afterwards
TURNED: dict[str, tuple[str, str, list[str]]] = {
    "x - c": ("lower", "y = Sub(x, c)", ["Add"]),
    "x / c": ("lower", "y = Div(x, k)", ["Mul"]),
    "sum of two": ("lower", "r = Relu(x) y = Sum(x, r)", ["Relu", "Add"]),
    "sum of three": ("lower", "r = Relu(x) y = Sum(x, r, c)", ["Relu", "Add", "Add"]),
    "mean": ("lower", "y = ReduceMean(x, axes)", ["GlobalAveragePool"]),
    "mean, from behind": ("lower", "y = ReduceMean(x, back)", ["GlobalAveragePool"]),
    "mean, dropped": (
        "lower",
        "y = ReduceMean<keepdims=0>(x, axes)",
        ["GlobalAveragePool", "Squeeze"],
    ),
    "greatest": ("lower", "y = GlobalMaxPool(x)", ["ReduceMax"]),
    "matmul + y": (
        "lower",
        "f = Reshape(x, flat) a = MatMul(f, m) r = Relu(a) d = MatMul(f, m) y = Add(d, r)",
        ["Reshape", "MatMul", "Relu", "Gemm", "Add"],
    ),
    "pad": ("pad", "a = Pad(x, p) y = Conv(a, w, b)", ["Conv"]),
    "pad, more pads": ("pad", "a = Pad(x, p, zero) y = Conv<pads=[1,0,2,1]>(a, w)", ["Conv"]),
    "pad, axes": ("pad", "a = Pad(x, sides, , back2) y = Conv(a, w)", ["Conv"]),
    "pad with other readers": (
        "pad",
        "a = Pad(x, p) r = Relu(a) d = Conv(a, w) q = ReduceMax(r) y = Add(d, q)",
        ["Pad", "Relu", "Conv", "ReduceMax", "Add"],
    ),
    "conv * c": ("scale", "a = Conv(x, w, b) y = Mul(a, s)", ["Conv"]),
    "c * conv": ("scale", "a = Conv(x, w) y = Mul(s4, a)", ["Conv"]),
    "conv * one value": ("scale", "a = Conv(x, w, b) y = Mul(a, k)", ["Conv"]),
    "groups": ("scale", "a = Conv<group=2>(x, g, b) y = Mul(a, s)", ["Conv"]),
    "transposed conv": ("scale", "a = ConvTranspose(x, t, b) y = Mul(a, s)", ["ConvTranspose"]),
    "matmul * row": ("scale", "a = MatMul(x, m) y = Mul(a, row)", ["MatMul"]),
    "gemm * line": (
        "scale",
        "f = Reshape(x, flat) a = Gemm(f, m, row) y = Mul(a, line)",
        ["Reshape", "Gemm"],
    ),
    "alpha and beta": (
        "gemm",
        "f = Reshape(x, flat) y = Gemm<alpha=0.5, beta=3.0>(f, m, row)",
        ["Reshape", "Gemm"],
    ),
    "alpha, no bias": (
        "gemm",
        "f = Reshape(x, flat) y = Gemm<alpha=0.5, beta=3.0>(f, m)",
        ["Reshape", "Gemm"],
    ),
    "transA": (
        "gemm",
        "f = Reshape(x, flat) i = Slice(f, one, five) j = Transpose(i)"
        "y = Gemm<transA=1>(j, m, row)",
        ["Reshape", "Slice", "Transpose", "Transpose", "Gemm"],
    ),
    "a bias for each row": (
        "gemm",
        "f = Reshape(x, flat) i = Slice(f, one, six) y = Gemm<beta=2.0>(i, m, column)",
        ["Reshape", "Slice", "Gemm", "Add"],
    ),
    "a computed bias": (
        "gemm",
        "f = Reshape(x, flat) r = Relu(f) q = MatMul(r, m) y = Gemm(f, m, q)",
        ["Reshape", "Relu", "MatMul", "Gemm", "Add"],
    ),
    "ij,jk": ("einsum", 'y = Einsum<equation="nchw,wk->nchk">(x, e)', ["MatMul"]),
    "spaces": ("einsum", 'y = Einsum<equation=" n c h w , w k -> n c h k ">(x, e)', ["MatMul"]),
    "another order": (
        "einsum",
        'y = Einsum<equation="nchw,wk->nkch">(x, e)',
        ["MatMul", "Transpose"],
    ),
    "not the last": ("einsum", 'y = Einsum<equation="nwhc,ck->nwhk">(x, e)', ["MatMul"]),
    "summed in the middle": (
        "einsum",
        'y = Einsum<equation="nwhc,hwk->nck">(x, half6)',
        ["Transpose", "Reshape", "MatMul"],
    ),
    "several columns": (
        "einsum",
        'y = Einsum<equation="nchw,wab->nchab">(x, e3)',
        ["MatMul", "Reshape"],
    ),
    "several columns, moved": (
        "einsum",
        'y = Einsum<equation="nchw,wab->anchb">(x, e3)',
        ["MatMul", "Reshape", "Transpose"],
    ),
    "two summed": (
        "einsum",
        'y = Einsum<equation="nchw,hwk->nck">(x, e4)',
        ["Reshape", "MatMul"],
    ),
    "a batch": ("einsum", 'y = Einsum<equation="nchw,cwk->nchk">(x, half)', ["MatMul"]),
    "activations": (
        "einsum",
        'r = Relu(x) y = Einsum<equation="bhqd,bhkd->bhqk">(x, r)',
        ["Relu", "Transpose", "MatMul"],
    ),
    "dots": ("einsum", 'y = Einsum<equation="...w,wk->...k">(x, e)', ["MatMul"]),
    "no arrow": ("einsum", 'y = Einsum<equation="nchw,wk">(x, e)', ["MatMul", "Transpose"]),
}
KEPT: dict[str, tuple[str, str]] = {
    "c - x": ("lower", "y = Sub(c, x)"),
    "c / x": ("lower", "y = Div(c, x)"),
    "the Div of a Gelu": ("lower", "y = Div(x, k) z = Erf(y)"),
    "the Div of attention": ("lower", "m1 = MatMul(x, e) y = Div(m1, k)"),
    "x / 0": ("lower", "y = Div(x, zero)"),
    "x / c, rounded": ("lower", "d = Div(x, k) y = Floor(d)"),
    "x / c, rounded later": (
        "lower",
        "d = Div(x, k) l = Log(d) m1 = Mul(l, k) y = Cast<to=7>(m1)",
    ),
    "the mean of a layer norm": ("lower", "m1 = ReduceMean(x, axes) y = Sub(x, m1)"),
    "mean of integers": ("lower", "i = Cast<to=6>(x) y = ReduceMean(i, axes)"),
    "mean of doubles": ("lower", "i = Cast<to=11>(x) y = ReduceMean(i, axes)"),
    "matmul + y of integers": (
        "lower",
        "f = Reshape(x, flat) i = Cast<to=6>(f) a = MatMul(i, whole) r = Abs(a)"
        " d = MatMul(i, whole) y = Add(d, r)",
    ),
    "mean of channels": ("lower", "y = ReduceMean(x, one)"),
    "mean of words": ("lower", "f = Reshape(x, words) y = ReduceMean(f, last)"),
    "mean of all": ("lower", "y = ReduceMean(x)"),
    "reflected": ("pad", 'a = Pad<mode="reflect">(x, p) y = Conv(a, w)'),
    "not zeros": ("pad", "a = Pad(x, p, fill) y = Conv(a, w)"),
    "channels": ("pad", "a = Pad(x, deep) y = Conv(a, w5)"),
    "cut": ("pad", "a = Pad(x, cut) y = Conv(a, w)"),
    "auto_pad": ("pad", 'a = Pad(x, p) y = Conv<auto_pad="SAME_UPPER">(a, w)'),
    "conv * samples": ("scale", "a = Conv(x, w) y = Mul(a, wide)"),
    "conv * row": ("scale", "a = Conv(x, w) y = Mul(a, three)"),
    "read elsewhere": ("scale", "a = Conv(x, w) d = Mul(a, s) y = Add(a, d)"),
    "Inf": ("scale", "a = Conv(x, w) y = Mul(a, inf)"),
    "outer product": ("einsum", 'y = Einsum<equation="nchw,k->nchwk">(x, row)'),
    "diagonal": ("einsum", 'y = Einsum<equation="nchw,kk->nchw">(x, square)'),
    "element by element": ("einsum", 'y = Einsum<equation="nchw,nchw->nchw">(x, x)'),
    "a vector": ("einsum", 'y = Einsum<equation="nchw,w->nch">(x, five1)'),
    "a sum beside": ("einsum", 'y = Einsum<equation="nchw,wk->nck">(x, e)'),
    "one tensor": ("einsum", 'y = Einsum<equation="nchw->nhcw">(x)'),
    "three": ("einsum", 'y = Einsum<equation="nchw,wk,kl->nchl">(x, e, e5)'),
}
C |= {
    "back2": np.array([3]), "five": np.array([5]), "six": np.array([6]),
    "half6": normal(6, 4, 3, seed=18), "words": np.array([-1, 6, 5]), "last": np.array([2]),
    "w5": weight(8, 5, 3, 3), "three": normal(3), "inf": np.float32(np.inf),
    "square": normal(3, 3),
    "whole": np.ones((5, 3), np.int32), "five1": normal(5), "e5": normal(3, 2),
}  # fmt: skip


def model(nodes: str) -> tuple[str, dict[str, Array]]:
    words = set(nodes.replace("(", " ").replace(")", " ").replace(",", " ").split())
    used = {name: value for name, value in C.items() if name in words}
    return f"g (float[N,4,6,5] x) => (float y) {{ {nodes} }}", used


@pytest.mark.parametrize("name", TURNED)
def test_the_function_is_the_same(name: str) -> None:
    which, nodes, wanted = TURNED[name]
    graph, constants = model(nodes)
    before, after = build(graph, **constants), build(graph, **constants)
    result = PASSES[which]()(after)
    assert result.modified
    after.graph.sort()
    made = operators(after)
    if name == "pad with other readers":
        made = sorted(made, key=wanted.index)
    assert made == wanted
    models.check(models.serialize(after))
    expected, found = run(before, x=X)["y"], run(after, x=X)["y"]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", KEPT)
def test_what_stays(name: str) -> None:
    which, nodes = KEPT[name]
    graph, constants = model(nodes)
    made = build(graph, **constants)
    before = models.serialize(made)
    assert not PASSES[which]()(made).modified
    assert models.serialize(made) == before


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_axes_are_where_the_opset_has_them(opset: int) -> None:
    graph = "g (float[N,4,6,5] x) => (float[N,4,1,1] y) { y = GlobalMaxPool(x) }"
    made = build(graph, opset=opset)
    Lower()(made)
    np.testing.assert_array_equal(run(made, x=X)["y"], X.max(axis=(2, 3), keepdims=True))


def test_mean_of_a_signal_behind_a_convolution() -> None:
    graph = "g (float[N,4,30] x) => (float[N,8,1] y) { a = Conv(x, f) y = ReduceMean(a, last) }"
    made = build(graph, f=weight(8, 4, 3), last=np.array([2]))
    Lower()(made)
    assert operators(made) == ["Conv", "GlobalAveragePool"]
