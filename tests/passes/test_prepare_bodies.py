"""Preparing models with If, Loop and Scan: names, constants and folds inside bodies."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from qtool.passes import prepare
from qtool.passes.insert_qdq import InsertQDQ
from qtool.plan.plan import Plan
from tests.models import Array, assert_same_function, build, normal, operators, weight

X = normal(2, 4)
W = weight(4, 4)
BRANCHES = """g (float[2,4] x, bool c) => (float[2,4] y) {{
    z = Neg(x)
    y = If(c) <then_branch = t () => (float[2,4] p) {{ {} }},
               else_branch = e () => (float[2,4] q) {{ {} }}>
}}"""
LOOP = """g (float[2,4] x, int64 n) => (float[2,4] y) {{
    {}
    y = Loop(n, , x) <body = b (int64 i, bool c, float[2,4] s) => (bool d, float[2,4] r)
        {{ d = Identity(c) {} }}>
}}"""


def branches(then: str, other: str, **constants: Array) -> ir.Model:
    return build(BRANCHES.format(then, other), **constants)


def assert_same(before: ir.Model, after: ir.Model) -> None:
    """Whichever branch is taken, however often the body runs."""
    names = {value.name for value in before.graph.inputs}
    feeds = [{"c": np.array(v)} for v in (True, False)]
    if "n" in names:
        feeds = [{"n": np.array(v)} for v in (0, 1, 3)]
    for each in feeds:
        assert_same_function(before, after, x=X, **each)


def inside(model: ir.Model, number: int = 0) -> list[str]:
    """The operators of a body."""
    return [node.op_type for node in list(model.graph.subgraphs())[number]]


def test_values_have_one_name_over_all_bodies() -> None:
    """The branches use the same names, one of which a later value outside has too."""
    before = build(
        """g (float[2,4] x, bool c) => (float[2,4] y, float[2,4] late) {
            f = If(c) <then_branch = t () => (float[2,4] p) { k = Neg(x) p = Relu(k) },
                       else_branch = e () => (float[2,4] p) {
                           k = Abs(x) late = Neg(k) p = Relu(late) }>
            late = Sin(f) y = Neg(late)
        }"""
    )
    after = prepare(before)
    made = [v.name for node in after.graph.all_nodes() for v in node.outputs]
    assert len(set(made)) == len(made) == 8
    assert {"y", "late"} <= {v.name for node in after.graph for v in node.outputs}
    for choice in (True, False):
        assert_same_function(before, after, x=X, c=np.array(choice))


def test_the_names_of_what_a_loop_takes_are_its_own_too() -> None:
    before = build(
        """g (float[2,4] x, int64 n) => (float[2,4] y) {
            s = Loop(n, , x) <body = a (int64 i, bool c, float[2,4] s) => (bool d, float[2,4] r)
                { d = Identity(c) r = Sin(s) }>
            y = Loop(n, , s) <body = b (int64 i, bool c, float[2,4] s) => (bool d, float[2,4] r)
                { d = Identity(c) r = Neg(s) }>
        }"""
    )
    after = prepare(before)
    taken = [v.name for body in after.graph.subgraphs() for v in body.inputs]
    made = [v.name for node in after.graph.all_nodes() for v in node.outputs]
    assert len({*taken, *made}) == len(taken) + len(made)
    assert_same(before, after)


def test_weights_of_bodies_lie_in_the_main_graph() -> None:
    """Numbers that shapes follow from stay where shape inference looks for them."""
    before = branches(
        "w = Constant<value = float[4,4] {1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6}>() p = MatMul(x, w)",
        "k = Constant<value = int64[2] {4,2}>() w = Reshape(x, k)"
        " j = Constant<value = int64[2] {2,4}>() q = Reshape(w, j)",
    )
    after = prepare(before)
    bodies = list(after.graph.subgraphs())
    assert [v.dtype for v in after.graph.initializers.values()] == [ir.DataType.FLOAT]
    assert {v.dtype for body in bodies for v in body.initializers.values()} == {ir.DataType.INT64}
    assert_same(before, after)


def test_a_constant_that_a_branch_gives_stays_in_it() -> None:
    value = "Constant<value = float[2,4] {1,2,3,4,5,6,7,8}>()"
    before = branches(f"p = {value}", "q = Relu(x)")
    assert_same(before, prepare(before))


FOLDS = {
    "a bias": ("m = MatMul(s, w) r = Add(m, b)", ["Identity", "Gemm"]),
    "a transposed weight": ("r = Gemm<transB=1>(s, w, b)", ["Identity", "Gemm"]),
    "an identity": ("m = MatMul(s, w) j = Identity(m) r = Neg(j)", ["Identity", "MatMul", "Neg"]),
    "an identity that is given out": ("m = MatMul(s, w) r = Identity(m)", ["Identity", "MatMul"]),
    "arithmetic with constants": ("k = Neg(w) m = Neg(k) r = MatMul(s, m)", ["Identity", "MatMul"]),
}


@pytest.mark.parametrize("name", FOLDS)
def test_what_is_folded_outside_is_folded_inside(name: str) -> None:
    nodes, expected = FOLDS[name]
    constants = {"w": W, "b": normal(4)}
    used = {
        k: v for k, v in constants.items() if f" {k})" in nodes or f" {k}," in nodes or k == "w"
    }
    before = build(LOOP.format("", nodes), **used)
    after = prepare(before)
    assert inside(after) == expected
    assert_same(before, after)


def test_a_norm_behind_a_convolution_inside_a_body_is_folded() -> None:
    before = build(
        """g (float[1,4,5,5] x, int64 n) => (float[1,4,5,5] y) {
            y = Loop(n, , x) <body = b (int64 i, bool c, float[1,4,5,5] s)
                => (bool d, float[1,4,5,5] r) {
                    d = Identity(c) k = Conv(s, w) r = BatchNormalization(k, g1, b1, m1, v1)
            }>
        }""",
        w=weight(4, 4, 1, 1), g1=normal(4), b1=normal(4, seed=1), m1=normal(4, seed=2),
        v1=np.abs(normal(4, seed=3)) + np.float32(0.5),
    )  # fmt: skip
    after = prepare(before)
    assert inside(after) == ["Identity", "Conv"]
    assert_same_function(before, after, x=normal(1, 4, 5, 5), n=np.array(2))


@pytest.mark.parametrize("add", ["r = Add(m, b)", "j = Add(m, b) r = Relu(j)"])
def test_what_is_made_outside_and_read_inside_is_not_folded(add: str) -> None:
    """The sum is made anew on each turn, the product once; nothing else reads the product."""
    before = build(LOOP.format("m = MatMul(x, w)", add), w=W, b=normal(4))
    after = prepare(before)
    assert operators(after) == ["MatMul", "Loop"]
    assert "Add" in inside(after)
    assert_same(before, after)


def test_a_weight_that_a_body_reads_too_keeps_its_values_for_it() -> None:
    before = build(
        LOOP.format("m = Gemm<transB=1>(x, w) z = Relu(m)", "a = MatMul(s, w) r = Add(a, z)"), w=W
    )
    assert_same(before, prepare(before))


def test_a_branch_that_would_fail_and_is_never_taken() -> None:
    """Gather of row 7 of 4: computed beforehand, it would end the preparation."""
    before = branches("f = Gather(w, seven) p = Mul(x, f)", "q = Relu(x)", w=W, seven=np.array(7))
    after = prepare(before)
    assert_same_function(before, after, x=X, c=np.array(False))


def test_a_body_within_a_body() -> None:
    before = build(
        LOOP.format(
            "",
            """even = Equal(i, zero)
            r = If(even) <then_branch = t () => (float[2,4] p) { m = MatMul(s, w) p = Add(m, b) },
                          else_branch = e () => (float[2,4] q) {
                              m = Gemm<transB=1>(s, w) q = Neg(m) }>
            """,
        ),
        w=W, b=normal(4), zero=np.array(0),
    )  # fmt: skip
    after = prepare(before)
    assert inside(after, 1) == ["Gemm"]
    assert inside(after, 2) == ["Gemm", "Neg"]
    gemm = next(n for n in after.graph.all_nodes() if n.op_type == "Gemm" and len(n.inputs) == 2)
    assert "transB" not in gemm.attributes
    assert_same(before, after)


def test_a_loop_without_states_keeps_its_empty_condition() -> None:
    before = build(
        """g (float[2,4] x, int64 n) => (float[T,2,4] y) {
            y = Loop(n, ) <body = b (int64 i, bool c) => (bool d, float[2,4] r)
                { d = Identity(c) f = Cast<to=1>(i) r = Add(x, f) }>
        }"""
    )
    before.graph.node(0).resize_inputs(2)  # the parser drops it too
    assert_same(before, prepare(before))


def test_optional_outputs_that_are_left_out_have_no_name_to_be_unique() -> None:
    """In a body as outside of it, twice each."""
    lstm = "_, {} = LSTM<hidden_size=4>({}, w3, r3)"
    outer = lstm.format("h1", "x3") + lstm.format("h2", "x3") + " h = Add(h1, h2)"
    outer = outer.replace("_,", "o1,", 1).replace("_,", "o2,", 1)
    inner = lstm.format("k1", "h") + lstm.format("k2", "h") + " k = Add(k1, k2)"
    inner = inner.replace("_,", "i1,", 1).replace("_,", "i2,", 1)
    graph = LOOP.format(outer, inner + " f = Squeeze(k, first) r = Add(s, f)")
    graph = graph.replace("x, int64 n", "x, float[1,2,4] x3, int64 n")
    gates: dict[str, Array] = {
        "w3": weight(1, 16, 4),
        "r3": weight(1, 16, 4, seed=2),
        "first": np.array([0]),
    }
    before = build(graph, **gates)
    after = prepare(before)
    InsertQDQ(Plan())(after)
    feeds = {"x": X, "x3": normal(1, 2, 4), "n": np.array(2)}
    assert_same_function(before, after, **feeds)


@pytest.mark.parametrize("opset", [11, 13, 17, 21])
def test_bodies_of_old_opsets_are_raised_too(opset: int) -> None:
    axes = "<axes=[0]>(t)" if opset < 13 else "(t, axis)"
    extra: dict[str, Array] = {} if opset < 13 else {"axis": np.array([0])}
    before = build(
        LOOP.format("", f"t = MatMul(s, w) u = Unsqueeze{axes} r = Reshape(u, shape)"),
        opset=opset, w=W, shape=np.array([2, 4]), **extra,
    )  # fmt: skip
    assert_same(before, prepare(before))
