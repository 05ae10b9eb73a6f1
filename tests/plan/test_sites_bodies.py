"""What is quantized inside If, Loop and Scan, and where bodies end what lies in integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qtool.numeric.histogram import Histogram
from qtool.passes import prepare
from qtool.plan.decide import decide
from qtool.plan.sites import Sites, find_sites, fitting
from qtool.recipe import Recipe
from tests.cases import KERNELS
from tests.models import Array, build, normal, weight

W: dict[str, Any] = {"w": weight(8, 8, 1, 1), "v": weight(8, 8, 1, 1, seed=2)}
BRANCH = """g (float[1,8,6,6] x, bool c) => (float[1,8,H,K] y) {{
    {}
    y = If(c) <then_branch = t () => (float[1,8,H,K] p) {{ {} }},
               else_branch = e () => (float[1,8,H,K] q) {{ {} }}>
}}"""
LOOP = """g (float[1,8,6,6] x, int64 n) => (float[1,8,H,K] y) {{
    y = Loop(n, , x) <body = b (int64 i, bool c, float[1,8,H,K] s) => (bool d, float[1,8,H,K] r)
        {{ d = Identity(c) {} }}>
}}"""


def sites(graph: str, **constants: Array) -> Sites:
    """The sites of a model whose nodes are called after their first output."""
    model = build(graph, **constants)
    for node in model.graph.all_nodes():
        node.name = f"n_{node.outputs[0].name}"
    return find_sites(prepare(model), Recipe(), KERNELS)


def static(found: Sites) -> set[str]:
    return {site.node for site in found.weights if site.form == "static"}


def branches(outside: str, then: str, other: str, **constants: Array) -> Sites:
    return sites(BRANCH.format(outside, then, other), **constants)


def test_codes_go_into_both_branches() -> None:
    found = branches("m = Conv(x, w)", "p = Conv(m, v)", "q = Conv(m, w)", **W)
    assert list(found.activations) == ["x", "m", "p", "q"]
    assert static(found) == {"n_m", "n_p", "n_q"}
    assert found.activations["m"].readers is None  # the product gives integers alone


def test_a_clamp_in_a_branch_does_not_stand_for_the_quantizer_outside() -> None:
    """What the product gives leaves its graph, and the runtime fuses within one."""
    found = branches("m = Conv(x, w)", "r = Relu(m) p = Conv(r, v)", "q = Neg(x)", **W)
    assert list(found.activations) == ["x", "m", "r", "p"]


def test_what_a_loop_carries_is_float_where_it_comes_in() -> None:
    """A passenger that reads it has nothing in integers before it, though the body ends in some."""
    found = sites(LOOP.format("a = Conv(s, w) r = Add(a, s)"), **W)
    assert found.skipped["n_r"] == "what it reads is float"
    assert static(found) == {"n_a"}


def test_what_a_loop_carries_is_read_as_integers_beside_a_product_that_does() -> None:
    found = sites(LOOP.format("a = Conv(s, w) t = Add(a, s) r = Conv(t, v)"), **W)
    assert "n_t" not in found.skipped
    assert list(found.activations) == ["s", "a", "t", "r"]
    assert found.activations["s"].readers == (("n_a", 0), ("n_t", 1))


def test_what_only_moves_is_quantized_before_a_product_in_a_body_too() -> None:
    found = sites(LOOP.format("t = Transpose<perm=[0,1,3,2]>(s) r = Conv(t, w)"), **W)
    assert found.activations["t"].source == "s"
    assert list(found.activations) == ["s", "t", "r"]


def test_integers_go_through_bodies_in_bodies() -> None:
    inner = """e = Equal(i, zero)
        r = If(e) <then_branch = t () => (float[1,8,6,6] p) { p = Conv(a, v) },
                   else_branch = o () => (float[1,8,6,6] q) {
                       q = MaxPool<kernel_shape=[1,1]>(a) }>"""
    found = sites(LOOP.format(f"a = Conv(s, w) {inner}"), zero=np.array(0), **W)
    assert static(found) == {"n_a", "n_p"}
    assert list(found.activations) == ["s", "a", "p", "q"]
    assert found.activations["q"].source == "a"


def test_bodies_of_others_stay_as_they_are() -> None:
    found = sites(
        """g (seq(float[1,8,6,6]) x) => (seq(float[1,8,6,6]) y) {
            y = SequenceMap(x)
                <body = b (float[1,8,6,6] s) => (float[1,8,6,6] r) { r = Conv(s, w) }>
        }""",
        w=W["w"],
    )
    assert found.skipped["n_r"] == "it is inside a body that is not of If, Loop or Scan"
    assert not found.weights
    assert not found.activations


@pytest.mark.parametrize(
    ("unseen", "left", "activations"),
    [
        ({"p"}, {"n_m", "n_k", "n_q"}, ["x", "m", "k", "q"]),
        ({"k", "p"}, {"n_m", "n_q"}, ["x", "m", "q"]),
        ({"m", "k", "p", "q"}, set(), []),
        ({"x", "m", "k", "p", "q"}, set(), []),
    ],
    ids=["the last", "a branch", "all but the input", "all"],
)
def test_what_no_sample_reached_computes_in_float(
    unseen: set[str], left: set[str], activations: list[str]
) -> None:
    graph = BRANCH.format("m = Conv(x, w)", "k = Conv(m, v) p = Conv(k, w)", "q = Conv(m, v)")
    model = build(graph, **W)
    for node in model.graph.all_nodes():
        node.name = f"n_{node.outputs[0].name}"
    model = prepare(model)
    first = find_sites(model, Recipe(), KERNELS)
    empty, full = Histogram.empty(), Histogram.unit().observe(normal(64))
    ranges = {name: empty if name in unseen else full for name in first.sources}
    found = fitting(first, ranges, model, Recipe(), KERNELS)
    assert static(found) == left
    assert list(found.activations) == activations
    gone = static(first) - left
    assert {found.notes[name] for name in gone} == {"no sample reached it"}
    plan = decide(model, found, ranges, KERNELS)
    assert set(plan.schemes) == {"n_m", "n_k", "n_p", "n_q"}  # the weights of all are stored
    assert all(np.isfinite(t.params.scale).all() for t in plan.activations.values())


def test_sites_that_were_all_reached_are_left_alone() -> None:
    model = prepare(build(BRANCH.format("", "p = Conv(x, w)", "q = Conv(x, v)"), **W))
    first = find_sites(model, Recipe(), KERNELS)
    ranges = dict.fromkeys(first.sources, Histogram.unit())
    assert fitting(first, ranges, model, Recipe(), KERNELS) is first
