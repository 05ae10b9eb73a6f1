"""Nodes of constants become constants; what would grow, draw lots or has a body stays."""

from __future__ import annotations

import numpy as np
import pytest

from qtool.passes import prepare
from qtool.passes.edit import array
from qtool.passes.fold_constants import FoldConstants
from tests.models import assert_same_function, build, normal, operators, weight

X = normal(2, 4, seed=3)


def test_a_chain_folds_to_one_constant() -> None:
    before = build(
        "g (float[2,4] x) => (float[2,4] y) { a = Transpose(w) b = Mul(a, two) y = MatMul(x, b) }",
        w=weight(4, 4), two=np.float32(2),
    )  # fmt: skip
    after = prepare(before)
    assert operators(after) == ["MatMul"]
    folded = after.graph.node(0).inputs[1]
    assert (array(folded) == weight(4, 4).T * 2).all()
    assert_same_function(before, after, x=X)


def test_shapes_and_their_arithmetic_fold() -> None:
    before = build(
        """g (float[2,4] x) => (float[4,2] y) {
            s = Shape(w) n = Gather(s, zero) m = Div(eight, n) t = Concat<axis=0>(n, m)
            y = Reshape(x, t)
        }""",
        w=weight(4, 1), zero=np.array([0]), eight=np.array([8]),
    )  # fmt: skip
    after = prepare(before)
    assert operators(after) == ["Reshape"]
    assert_same_function(before, after, x=X)


@pytest.mark.parametrize(("length", "left"), [(4096, 0), (1 << 20, 1)], ids=["small", "large"])
def test_a_large_expand_would_grow_the_file(length: int, left: int) -> None:
    model = build(
        f"g (float[{length}] x) => (float[{length}] y) {{ e = Expand(one, n) y = Mul(x, e) }}",
        one=np.float32(1), n=np.array([length]),
    )  # fmt: skip
    assert operators(prepare(model)).count("Expand") == left


def test_a_constant_as_large_as_its_source_folds() -> None:
    model = build(
        "g (float[2,300] x) => (float[2,300] y) { t = Transpose(w) y = MatMul(x, t) }",
        w=weight(300, 300),
    )
    assert operators(prepare(model)) == ["MatMul"]


NEVER = {
    "noise": "t = RandomNormalLike(c)",
    "uniform noise": "t = RandomUniformLike(c)",
    "lots": "t = Bernoulli(c)",
    "noise of its own": "t = RandomNormal<shape=[4]>()",
    "training": "t = Dropout(c, half, yes)",
    "another domain": "t = com.microsoft.Gelu(c)",
}


@pytest.mark.parametrize("name", NEVER)
def test_never(name: str) -> None:
    model = build(
        f"g (float[2,4] x) => (float[2,4] y) {{ {NEVER[name]} y = Add(x, t) }}",
        extra='"com.microsoft": 1',
        c=np.full(4, 0.5, np.float32), half=np.float32(0.5), yes=np.array(True),
    )  # fmt: skip
    assert not FoldConstants()(model).modified


OTHER_TYPES = {
    "sequence": "s = SequenceConstruct(c, c) t = SequenceInsert(s, x) n = SequenceLength(t)",
    "text": """a = Constant<value_strings=["a", "b"]>() b = StringConcat(a, a)
        i = ArgMax<axis=1, keepdims=0>(x) d = Gather(b, zero) e = Equal(d, d) f = Cast<to=7>(e)
        n = ReduceMax<keepdims=0>(f)""",
    "bfloat16": "a = Cast<to=16>(c) b = CastLike(x, a) d = Cast<to=1>(b) n = Size(d)",
}


@pytest.mark.parametrize("name", OTHER_TYPES)
def test_what_numpy_has_no_type_for_is_left_alone(name: str) -> None:
    before = build(
        f"g (float[2,4] x) => (int64 n, float[2,4] y) {{ {OTHER_TYPES[name]} y = Relu(x) }}",
        c=normal(4), zero=np.array([0]),
    )  # fmt: skip
    assert_same_function(before, prepare(before), x=X)


IF = """g (float[2,4] x, bool c) => (float[2,4] y) {
    k = Add(one, one)
    y = If(c) <
        then_branch = then () => (float[2,4] p) { m = Add(one, one) n = Mul(x, m) p = Mul(n, k) },
        else_branch = else () => (float[2,4] q) { q = Neg(x) }
    >
}"""


def test_bodies_are_folded_too_and_read_what_was_folded_outside() -> None:
    before = build(IF, one=np.float32(1))
    after = prepare(before)
    assert operators(after) == ["If"]
    branch = after.graph.node(0).attributes["then_branch"].as_graph()
    assert [n.op_type for n in branch] == ["Mul", "Mul"]
    for choice in (True, False):
        assert_same_function(before, after, x=X, c=np.array(choice))


def test_a_body_under_a_constant_condition_reads_more_than_constants() -> None:
    graph = IF.replace(", bool c", "").replace("y = If(c)", "i = If(c)")
    before = build(graph[:-1] + "y = Add(i, x) }", one=np.float32(1), c=np.array(True))
    after = prepare(before)
    assert operators(after) == ["If", "Add"]
    assert_same_function(before, after, x=X)


def test_a_constant_output_keeps_its_name() -> None:
    before = build(
        "g (float[2,4] x) => (float[4] k, float[2,4] y) { k = Add(c, c) y = Add(x, k) }",
        c=normal(4),
    )
    assert_same_function(before, prepare(before), x=X)


def test_names_that_look_like_ours_are_not_taken_twice() -> None:
    before = build(
        """g (float[2,4] x) => (float[2,4] y) {
            k, big = Split<num_outputs=2>(c) k_folded = Relu(x)
            e = Expand(big, n) m = Mul(k_folded, k) y = Add(m, k_folded)
        }""",
        c=normal(8), n=np.array([2, 4]),
    )  # fmt: skip
    assert_same_function(before, prepare(before), x=X)
