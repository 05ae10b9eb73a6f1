"""What is quantized in small graphs, and why the rest is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qtool.passes import prepare
from qtool.plan.sites import Sites, find_sites
from qtool.recipe import Recipe, Rule
from qtool.target import load_target
from tests.models import Array, build, normal, weight

CPU = load_target("cpu")
X = "float[N,8,6,6] x"
W: dict[str, Any] = {"w": weight(8, 8, 1, 1), "v": weight(8, 8, 1, 1, seed=2), "b": normal(8)}


def sites(graph: str, recipe: Recipe | None = None, opset: int = 21, **constants: Array) -> Sites:
    """The sites of a model whose nodes are called after their first output."""
    model = build(graph, opset=opset, **constants)
    for node in model.graph.all_nodes():
        node.name = f"n_{node.outputs[0].name}"
    return find_sites(prepare(model), recipe or Recipe(), CPU)


def conv(nodes: str, outputs: str = "float[N,C,H,W] y", inputs: str = X, **more: Array) -> Sites:
    return sites(f"g ({inputs}) => ({outputs}) {{ {nodes} }}", **W, **more)


def static(found: Sites) -> set[str]:
    return {site.node for site in found.weights if site.form == "static"}


def test_conv_relu_conv_is_one_island_and_relu_is_swallowed() -> None:
    found = conv("a = Conv(x, w, b) r = Relu(a) y = Conv(r, v)")
    assert list(found.activations) == ["x", "r", "y"]
    assert static(found) == {"n_a", "n_y"}
    assert not found.skipped
    assert found.activations["r"].readers is None  # nobody has it in float
    assert found.activations["x"].readers == (("n_a", 0),)


def test_a_clip_between_convs_is_swallowed_too() -> None:
    found = conv(
        "a = Conv(x, w) r = Clip(a, z, s) y = Conv(r, v)", z=np.float32(0), s=np.float32(6)
    )
    assert list(found.activations) == ["x", "r", "y"]


def test_a_relu_that_is_not_alone_is_not_swallowed() -> None:
    found = conv("a = Conv(x, w) r = Relu(a) s = Add(a, r) y = Conv(s, v)")
    assert list(found.activations) == ["x", "a", "r", "s", "y"]


def test_a_relu_before_an_output_of_its_own_is_not_swallowed() -> None:
    found = conv("a = Conv(x, w) r = Relu(a) y = Conv(r, v)", "float[N,8,6,6] a, float[N,8,6,6] y")
    assert list(found.activations) == ["x", "a", "r", "y"]


def test_a_transposed_input_moves_behind_its_quantizer() -> None:
    found = conv("t = Transpose<perm=[0,3,1,2]>(x) y = Conv(t, w)", inputs="float[N,6,6,8] x")
    assert list(found.activations) == ["x", "t", "y"]
    assert found.activations["x"].readers == (("n_t", 0),)
    assert found.activations["t"].source == "x"
    assert found.sources == ["x", "y"]


def test_a_transposed_input_that_float_reads_stays() -> None:
    found = conv("t = Transpose(x) y = Neg(t)")
    assert not found.activations
    assert found.skipped["n_t"] == "what it reads is float"


def test_moved_tensors_share_the_scale_of_where_they_came_from() -> None:
    found = conv(
        "a = Conv(x, w) p = MaxPool<kernel_shape=[2,2]>(a) t = Transpose<perm=[0,1,3,2]>(p)"
        "y = Conv(t, v)"
    )
    assert {n: s.source for n, s in found.activations.items()} == {
        "x": "x", "a": "a", "p": "a", "t": "a", "y": "y",
    }  # fmt: skip


def test_a_residual_with_three_readers() -> None:
    found = conv(
        "a = Conv(x, w) r = Relu(a) c = Conv(r, v) s = Add(c, r) e = Exp(r) q = Conv(s, w)"
        "y = Add(q, e)"
    )
    assert found.activations["r"].readers is None  # the Exp reads it dequantized
    assert {"s", "c", "r", "q"} <= set(found.activations)
    assert found.skipped["n_y"] == "what it reads is float"
    assert "n_e" in found.skipped


def test_an_output_that_others_read_as_well() -> None:
    found = conv("a = Conv(x, w) y = Conv(a, v)", "float[N,8,6,6] a, float[N,8,6,6] y")
    assert found.activations["a"].readers is None
    assert list(found.activations) == ["x", "a", "y"]


def test_concat_with_one_float_branch() -> None:
    found = conv("a = Conv(x, w) e = Exp(x) c = Concat<axis=0>(a, e) y = Conv(c, v)")
    assert found.skipped["n_c"] == "what it reads is float"
    assert found.activations["c"].readers == (("n_y", 0),)
    assert static(found) == {"n_a", "n_y"}


M: dict[str, Any] = {
    "wq": weight(16, 16), "wk": weight(16, 16, seed=2), "wv": weight(16, 16, seed=3),
    "wo": weight(16, 16, seed=4), "g": normal(16), "one": np.float32(1), "many": np.float32(-1e9),
}  # fmt: skip
ATTENTION = """g (float[N,5,16] x, float[N,5] mask) => (float[N,5,16] y) {
    q = MatMul(x, wq) k = MatMul(x, wk) v = MatMul(x, wv) kt = Transpose<perm=[0,2,1]>(k)
    qk = MatMul(q, kt)
    m1 = Unsqueeze(mask, ax) m2 = Sub(one, m1) m3 = Mul(m2, many)
    s = Add(qk, m3) p = Softmax(s) c = MatMul(p, v) o = MatMul(c, wo) r = Add(o, x)
    y = LayerNormalization(r, g)
}"""


def test_the_attention_of_a_transformer_stays_float() -> None:
    found = sites(ATTENTION, ax=np.array([1]), **M)
    assert static(found) == {"n_q", "n_k", "n_v", "n_o"}
    assert set(found.activations) == {"x", "c"}
    assert found.activations["x"].readers == (("n_k", 0), ("n_q", 0), ("n_v", 0))
    assert found.activations["c"].readers == (("n_o", 0),)
    for node in ("n_m1", "n_m2", "n_m3", "n_s", "n_p", "n_qk", "n_c", "n_r", "n_y", "n_kt"):
        assert found.skipped[node]
    assert found.skipped["n_qk"] == found.skipped["n_c"] == "both inputs are activations"


def test_a_matmul_before_a_layer_normalization_ends_in_float() -> None:
    found = sites(
        "g (float[N,5,16] x) => (float[N,5,16] y)"
        "{ a = MatMul(x, wq) y = LayerNormalization(a, g) }",
        **M,
    )
    assert list(found.activations) == ["x"]


def test_two_matmuls_in_a_row() -> None:
    found = sites(
        "g (float[N,5,16] x) => (float[N,5,16] y) { a = MatMul(x, wq) y = MatMul(a, wk) }", **M
    )
    assert found.activations["a"].readers == (("n_y", 0),)


def test_a_weight_of_two_nodes_has_two_sites() -> None:
    found = conv("a = Conv(x, w) y = Conv(a, w)")
    assert [(s.node, s.tensor) for s in found.weights] == [("n_a", "w"), ("n_y", "w")]


COMPUTED = "g (float[8,16] x) => (float[8,16] y) { u = Abs(x) y = NODE }"
IF = """y = If(c) <then_branch = t () => (float[N,8,6,6] p) { p = Conv(a, v) },
                   else_branch = e () => (float[N,8,6,6] q) { q = Neg(a) }>"""

REASONS: dict[str, tuple[str, str, str]] = {
    "alpha": (COMPUTED.replace("NODE", "Gemm<alpha=0.5>(x, u)"), "n_y", "alpha, beta or transA"),
    "beta": (COMPUTED.replace("NODE", "Gemm<beta=0.5>(u, wq, u)"), "n_y", "alpha, beta or transA"),
    "beyond float32": (
        "g (double[8,16] x) => (double[8,16] y) { y = MatMul(x, d) }", "n_y", "beyond float32",
    ),
    "integers": ("g (int32[8,16] x) => (int32[8,16] y) { y = MatMul(x, whole) }", "n_y", "int32"),
    "no row": (f"g ({X}) => (float[N,8,6,6] y) {{ y = Round(x) }}", "n_y", "left as it is"),
    "another domain": (f"g ({X}) => (float y) {{ y = other.Conv(x, w) }}", "n_y", "left as it is"),
    "computed weight": (
        f"g ({X}) => (float y) {{ u = Mul(x, x) y = Conv(x, u) }}", "n_y", "its weight is computed",
    ),
    "a vector": ("g (float[N,8] x) => (float[N] y) { y = MatMul(x, b) }", "n_y", "vector"),
    "not finite": (f"g ({X}) => (float[N,8,6,6] y) {{ y = Conv(x, nan) }}", "n_y", "NaN or Inf"),
    "bias not finite": (
        f"g ({X}) => (float[N,8,6,6] y) {{ y = Conv(x, w, inf) }}", "n_y", "NaN or Inf",
    ),
    "empty": ("g (float[N,0] x) => (float[N,8] y) { y = MatMul(x, none) }", "n_y", "empty"),
    "a constant": (
        "g (float[16,16] x) => (float[16,16] y, float[16,16] k) { y = Neg(x) k = MatMul(wq, wk) }",
        "n_k", "constant",
    ),
    "a constant of NaN": (
        f"g ({X}) => (float[N,8,6,8] y) {{ a = Conv(x, w) r = Add(a, inf) y = Conv(r, v) }}",
        "n_r", "inf holds NaN or Inf",
    ),
    "a constant at the end": (
        f"g ({X}) => (float[N,8,6,6] y) {{ a = Conv(x, w) r = Relu(a) y = Mul(r, one) }}",
        "n_y", "nothing behind it runs in integers",
    ),
    "a bias of an open kernel": (
        """g (float[N,4,16] x) => (float[N,4,16] y) {
            a = MatMul(x, wq) r = Add(a, row) y = MatMul(r, wk) }""",
        "n_r", "in float",
    ),
    "probabilities at the end": (
        f"g ({X}) => (float[N,8,6,6] y) {{ a = Conv(x, w) y = Softmax(a) }}", "n_y", "coarse grid",
    ),
    "read indices": (
        f"""g ({X}) => (float y, int64 i) {{
            a = Conv(x, w) p, i = MaxPool<kernel_shape=[2,2]>(a) y = Conv(p, v) }}""",
        "n_p", "its indices are read",
    ),
    "it interpolates": (
        f"""g ({X}) => (float[N,8,12,12] y) {{
            a = Conv(x, w) r = Resize<mode="linear">(a, , twice) y = Conv(r, v) }}""",
        "n_r", "it interpolates",
    ),
    "whole numbers": (
        "g (float[8,16] x) => (float[8,16] y, int64[1] s)"
        "{ y = Gemm(x, wq) z = Shape(x) s = Gather(z, first) }",
        "n_s", "int64",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REASONS)
def test_why_not(name: str) -> None:
    graph, node, words = REASONS[name]
    model = build(
        graph, extra='"other": 1', **W, **M,
        d=M["wq"].astype(np.float64) * 1e300, whole=np.ones((16, 16), np.int32),
        none=np.zeros((0, 8), np.float32),
        nan=np.where(W["w"] > 0, W["w"], np.nan).astype(np.float32),
        inf=np.where(W["b"] > 0, W["b"], np.inf).astype(np.float32),
        row=normal(16),
        twice=np.array([1, 1, 2, 2], np.float32), first=np.array([0]),
    )  # fmt: skip
    for each in model.graph.all_nodes():
        each.name = f"n_{each.outputs[0].name}"
    found = find_sites(prepare(model), Recipe(), CPU)
    assert words in found.skipped[node]
    assert node not in {site.node for site in found.weights}


def test_a_body_keeps_names_apart() -> None:
    found = sites(f"g ({X}, bool c) => (float[N,8,6,6] y) {{ a = Conv(x, w) {IF} }}", **W)
    assert static(found) == {"n_a", "n_p"}
    assert {"n_q", "n_y"} == set(found.skipped)
    assert found.activations["a"].readers is None


def test_rules_reach_nodes() -> None:
    graph = f"g ({X}) => (float[N,8,6,6] y) {{ a = Conv(x, w) r = Relu(a) y = Conv(r, v) }}"
    kept = Recipe(rules=(Rule(match="n_a", scheme="float"),))
    found = sites(graph, kept, **W)
    assert found.skipped["n_a"] == "kept in float as asked"
    assert static(found) == {"n_y"}
    assert found.skipped["n_r"] == "what it reads is float"
    assert found.activations["r"].readers == (("n_y", 0),)
    half = sites(graph, Recipe(rules=(Rule(match="n_a", scheme="w8"),)), **W)
    assert [(s.node, s.form) for s in half.weights] == [("n_a", "stored"), ("n_y", "static")]


def test_weights_only_needs_no_data() -> None:
    graph = f"g ({X}) => (float[N,8,6,6] y) {{ a = Conv(x, w) r = Relu(a) y = Conv(r, v) }}"
    found = sites(graph, Recipe(scheme="w8"), **W)
    assert not found.activations
    assert [s.form for s in found.weights] == ["stored", "stored"]
    assert found.skipped == {"n_r": "it has no weights"}


def test_without_an_integer_kernel_only_the_weights() -> None:
    found = conv("a = Conv(x, w) t = ConvTranspose(a, v) y = Conv(t, w)")
    assert [(s.node, s.form) for s in found.weights] == [
        ("n_a", "static"), ("n_t", "stored"), ("n_y", "static"),
    ]  # fmt: skip
    assert found.activations["t"].readers == (("n_y", 0),)


def test_every_node_is_a_site_a_passenger_or_skipped_with_a_reason() -> None:
    found = sites(ATTENTION, ax=np.array([1]), **M)
    named = set(found.skipped) | {site.node for site in found.weights}
    outputs = ["q", "k", "v", "kt", "qk", "m1", "m2", "m3", "s", "p", "c", "o", "r", "y"]
    assert named == {f"n_{output}" for output in outputs}
    assert all(found.skipped.values())


def test_what_joins_unlike_tensors_at_the_end_stays_float() -> None:
    found = conv("a = Conv(x, w) c = Conv(x, v) y = Concat<axis=2>(a, c)")
    assert found.skipped == {"n_y": "one scale would have to serve all that it joins"}
    assert list(found.activations) == ["x", "a", "c"]
    wanted = conv("a = Conv(x, w) c = Conv(x, v) t = Concat<axis=2>(a, c) y = Conv(t, v)")
    assert not wanted.skipped
