"""Preparing: any model into one form, with the same function, names and order."""

from __future__ import annotations

import numpy as np
import pytest

from qtool.errors import ModelError
from qtool.passes import TRANSFORMS, prepare, transform
from tests.models import Array, assert_same_function, build, normal, operators, weight

X = normal(2, 4, 5, 5, seed=3)
W = {"w": weight(4, 4, 1, 1)}


def test_constants_in_nodes_become_initializers() -> None:
    before = build(
        "g (float[2,4] x) => (float[2,4] y) { c = Constant<value_float=2.0>() y = Mul(x, c) }"
    )
    after = prepare(before)
    assert operators(after) == ["Mul"]
    assert_same_function(before, after, x=X[:, :, 0, 0])


def test_every_node_gets_a_name_of_its_own_in_bodies_too() -> None:
    before = build(
        """g (float[2,4,5,5] x, bool c) => (float[2,4,5,5] y) {
            a = Conv(x, w) r = Relu(a) b = Conv(r, w)
            y = If(c) <then_branch = t () => (float[2,4,5,5] p) { k = Neg(b) p = Relu(k) },
                       else_branch = e () => (float[2,4,5,5] q) { k = Abs(b) q = Relu(k) }>
        }""",
        **W,
    )
    after = prepare(before)
    names = [node.name for node in after.graph.all_nodes()]
    assert all(names)
    assert len(set(names)) == len(names) == 8
    assert_same_function(before, after, x=X, c=np.array(True))


@pytest.mark.parametrize(
    ("nodes", "outputs", "left"),
    [
        ("a = Conv(x, w) i = Identity(a) y = Relu(i)", "y", 0),
        ("a = Conv(x, w) y = Identity(a)", "y", 0),
        ("y = Conv(x, w) z = Identity(y)", "y z", 1),  # both names are promised
        ("y = Conv(x, w) z = Identity(y)", "z y", 1),
        ("a = Conv(x, w) y = Identity(a) z = Identity(a)", "y z", 1),
        ("y = Identity(x) z = Conv(x, w)", "y z", 1),
        ("y = Identity(w) z = Conv(x, w)", "y z", 1),
        ("i = Identity(x) y = Conv(i, w)", "y", 0),
        ("a = Conv(x, w) y = Identity(a) z = Relu(a)", "z y", 0),
    ],
)
def test_identities_go_and_names_stay(nodes: str, outputs: str, left: int) -> None:
    kinds = ", ".join(f"float[A{i},4,B{i},C{i}] {n}" for i, n in enumerate(outputs.split()))
    before = build(f"g (float[2,4,5,5] x) => ({kinds}) {{ {nodes} }}", **W)
    after = prepare(before)
    assert operators(after).count("Identity") == left
    assert_same_function(before, after, x=X)


@pytest.mark.parametrize(
    ("nodes", "left"),
    [
        ("a = Conv(x, w) i = Dropout(a) y = Relu(i)", 0),
        ("a = Conv(x, w) i = Dropout(a, half, no) y = Relu(i)", 0),
        ("a = Conv(x, w) i, m = Dropout(a) y = Relu(i)", 0),
        ("a = Conv(x, w) i, m = Dropout(a) c = Cast<to=1>(m) y = Mul(i, c)", 1),
        ("a = Conv(x, w) n = Not(yes) i = Dropout(a, half, n) y = Relu(i)", 1),
    ],
)
def test_dropout_goes_where_nothing_drops_out(nodes: str, left: int) -> None:
    constants: dict[str, Array] = {}
    if "half" in nodes:
        constants = {"half": np.float32(0.5), "no": np.array(False)}
    graph = f"g (float[2,4,5,5] x, bool yes) => (float[A,B,C,D] y) {{ {nodes} }}"
    before = build(graph, **W, **constants)
    after = prepare(before)
    assert operators(after).count("Dropout") == left
    assert_same_function(before, after, x=X, yes=np.array(True))


def test_an_identity_in_a_body_stays_there() -> None:
    before = build(
        """g (float[2,4,5,5] x, bool c) => (float[2,4,5,5] y) {
            a = Conv(x, w)
            y = If(c) <then_branch = t () => (float[2,4,5,5] p) { p = Identity(a) },
                       else_branch = e () => (float[2,4,5,5] q) { q = Identity(x) }>
        }""",
        **W,
    )
    for choice in (True, False):
        assert_same_function(before, prepare(before), x=X, c=np.array(choice))


@pytest.mark.parametrize(
    "node",
    [
        "q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)",
        "d = DequantizeLinear(i, s) y = Conv(x, d)",  # weights only
        "q, t, u = DynamicQuantizeLinear(x) y = DequantizeLinear(q, t, u)",
        "y = com.microsoft.QGemm(x, s, z, x, s, z)",
        "y = com.microsoft.MatMulNBits<K=4, N=4, bits=4, block_size=16>(x, i, s)",
    ],
)
def test_a_quantized_model_is_refused(node: str) -> None:
    model = build(
        f"g (float[2,4,5,5] x) => (float y) {{ {node} }}", extra='"com.microsoft": 1',
        s=np.float32(0.1), z=np.uint8(128), i=np.ones((4, 4, 1, 1), np.int8),
    )  # fmt: skip
    with pytest.raises(ModelError, match="already quantized"):
        prepare(model)


def test_the_model_given_is_not_changed() -> None:
    model = build(
        "g (float[2,4,5,5] x) => (float[2,4,5,5] y)"
        "{ a = Conv(x, w) b = Add(a, c) y = Identity(b) }",
        c=normal(4, 1, 1), **W,
    )  # fmt: skip
    before = operators(model)
    prepared = prepare(model)
    kept = operators(prepared)
    transform(prepared, tuple(TRANSFORMS))
    assert (operators(model), operators(prepared)) == (before, kept)


def test_local_functions_are_inlined() -> None:
    before = build(
        """g (float[2,4,5,5] x) => (float[2,4,5,5] y) { a = Conv(x, w) y = mine.twice(a) }
        <domain: "mine", opset_import: ["": 21]> twice (v) => (u) { u = Add(v, v) }""",
        extra='"mine": 1', **W,
    )  # fmt: skip
    after = prepare(before)
    assert operators(after) == ["Conv", "Add"]
    assert_same_function(before, after, x=X)


def test_initializers_that_ir_3_lists_as_inputs() -> None:
    model = build(
        "g (float[2,4,5,5] x, float[4,4,1,1] w) => (float[2,4,5,5] y) { y = Conv(x, w) }", **W
    )
    after = prepare(model)
    assert [v.name for v in after.graph.inputs] == ["x"]
    assert_same_function(model, after, x=X)


def test_dead_nodes_go() -> None:
    model = build(
        "g (float[2,4,5,5] x) => (float[2,4,5,5] y) { y = Conv(x, w) d = Relu(y) e = Neg(d) }", **W
    )
    assert operators(prepare(model)) == ["Conv"]
