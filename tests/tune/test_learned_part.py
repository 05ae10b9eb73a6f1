"""Where the part that learns begins and ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from qtool.errors import ModelError
from qtool.recipe import Recipe
from qtool.refine.taps import Taps
from qtool.tune.cut import Part, part_of
from tests.models import build, normal, save, weight
from tests.tune.nets import assert_the_net_is_the_file, net_of, started, written

W, V = weight(16, 16), weight(16, 16, seed=2)


def names(part: Part) -> list[str]:
    return [node.op_type for node in part.nodes]


def cut(graph: str, *first: str, extra: str = "") -> Part:
    """The part from the nodes on that give these values."""
    made = build(graph, extra=extra, w=W, v=V)
    for node in made.graph.all_nodes():
        node.name = node.outputs[0].name
    return part_of(made.graph, first)


def test_what_is_before_the_first_weight_is_given() -> None:
    part = cut(
        """g (float[N,16] x) => (float[N,16] y) {
        a = ai.onnx.ml.Scaler <scale = [0.5], offset = [1.0]> (x) b = Relu(a)
        c = MatMul(b, w) d = Tanh(c) y = Add(d, b) }""",
        "c", extra='"ai.onnx.ml": 3',
    )  # fmt: skip
    assert names(part) == ["MatMul", "Tanh", "Add"]
    assert (part.given, part.ends) == (("b",), ("y",))


def test_what_is_behind_the_last_row_is_left_out_and_what_it_reads_is_an_end() -> None:
    part = cut(
        """g (float[N,16] x) => (float[N,16] y, float[N,16] z) {
        c = MatMul(x, w) d = Relu(c) e = my.own.Blub(d) y = Add(e, c) z = Tanh(c) }""",
        "c", extra='"my.own": 1',
    )  # fmt: skip
    assert names(part) == ["MatMul", "Relu", "Tanh"]
    assert sorted(part.ends) == ["c", "d", "z"]


def test_an_end_is_told_once_and_integers_are_none() -> None:
    part = cut(
        """g (float[N,16] x) => (float[N,16] c, int64[N] k) {
        c = MatMul(x, w) k = ArgMax <axis = 1, keepdims = 0> (c) e = my.own.Blub(c, k) }""",
        "c", extra='"my.own": 1',
    )  # fmt: skip
    assert part.ends == ("c",)


BLOCKED = [
    ("b = my.own.Blub(a)", ["my.own.Blub"]),
    ("h = my.own.Blub(a) b = Relu(h)", ["my.own.Blub"]),
    ("h = my.own.Blub(a) i = Add(h, a) j = my.own.Blurb(i) b = Relu(j)",
     ["my.own.Blub", "my.own.Blurb"]),
]  # fmt: skip


@pytest.mark.parametrize(("between", "said"), BLOCKED)
def test_a_node_without_a_row_between_two_weights_is_one_error(
    between: str, said: list[str]
) -> None:
    with pytest.raises(ModelError) as raised:
        cut(
            f"""g (float[N,16] x) => (float[N,16] z) {{
            o = my.own.Before(x) a = MatMul(o, w) {between} y = MatMul(b, v)
            z = my.own.Behind(y) }}""",
            "a", "y", extra='"my.own": 1',
        )  # fmt: skip
    assert raised.value.what == f"qtool tune cannot differentiate {', '.join(said)}"
    assert "--layerwise" in raised.value.fix


IF = """g (float[N,16] x, bool t) => (float[N,16] y) {{
    a = MatMul(x, w)
    b = If (t) <then_branch = g1 () => (float[N,16] p) {{ p = {then} }},
        else_branch = g2 () => (float[N,16] q) {{ q = Neg({read}) }}>
    {last} }}"""


def test_a_body_that_captures_what_is_learned_is_behind() -> None:
    part = cut(IF.format(then="Relu(a)", read="a", last="y = Add(b, a)"), "a")
    assert names(part) == ["MatMul"]
    assert part.ends == ("a",)


def test_a_body_that_captures_what_is_learned_before_a_weight_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"cannot differentiate If$"):
        cut(IF.format(then="Relu(a)", read="a", last="y = MatMul(b, v)"), "a", "y")


def test_a_body_that_reads_nothing_learned_is_before() -> None:
    part = cut(IF.format(then="Relu(x)", read="x", last="y = Add(b, a)"), "a")
    assert names(part) == ["MatMul", "Add"]
    assert part.given == ("x", "b")


def test_a_weight_in_a_body_is_not_learned_and_none_may_be_behind() -> None:
    then = "MatMul(x, v)"
    part = cut(IF.format(then=then, read="x", last="y = Add(b, a)"), "a", "p")
    assert names(part) == ["MatMul"]
    with pytest.raises(ModelError, match=r"cannot differentiate If$"):
        cut(IF.format(then=then, read="x", last="y = MatMul(b, v)"), "a", "p", "y")


LOOP = """g (float[N,16] x) => (float[N,16] y) {
    a = MatMul(x, w) n = Constant <value = int64 {3}> () t = Constant <value = bool {1}> ()
    b = Loop (n, t, a) <body = g1 (int64 i, bool c, float[N,16] s) => (bool d, float[N,16] r) {
        d = Identity(c) h = Mul(s, a) r = MatMul(h, v) }>
    y = Relu(b) }"""


def test_a_loop_behind_keeps_its_weights(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", LOOP, w=W, v=V)
    np.save(tmp_path / "x.npy", normal(40, 16, seed=8))
    job, state, data = started(path, tmp_path / "x.npy", Recipe(scheme="w4"))
    assert len(state.plan.weights) == 2
    net = net_of(job, state)
    assert net.part.ends == ("a",)
    net({"x": torch.ones(2, 16)})["a"].sum().backward()
    assert [each.grad is None for each in net.weights] == [False, True]
    feeds = {"x": np.load(tmp_path / "x.npy")}
    before, after = (
        Taps(model, ["y"], threads=1).run(feeds)["y"]
        for model in (state.quantized(), written(job, state, net))
    )
    np.testing.assert_array_equal(after, before)
    assert_the_net_is_the_file(job, state, data, net)


def test_who_reads_the_squares_of_a_weight_learns_with_it(tmp_path: Path) -> None:
    # |x - v|^2 as the machines of ai.onnx.ml are written: the squares stand in front of the weight.
    folder = Path("sample_models/wine_svm")
    job, state, data = started(folder / "model.onnx", folder / "calib", Recipe(scheme="w4"))
    net = net_of(job, state)
    assert "ReduceSumSquare" in names(net.part)
    assert "SVMClassifier" not in names(net.part)
    with torch.no_grad():
        net.weights[0] *= 1.5
    assert_the_net_is_the_file(job, state, data, net)


def test_a_bias_that_is_read_in_front_too_is_not_learned(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        """g (float[N,16] x) => (float[N,16] y) {
        o = Max(x, c) a = MatMul(o, w) r = Relu(a) b = Add(r, c) y = MatMul(b, v) }""",
        w=W, v=V, c=normal(16, seed=5),
    )  # fmt: skip
    np.save(tmp_path / "x.npy", normal(40, 16, seed=8))
    job, state, _ = started(path, tmp_path / "x.npy", Recipe(scheme="w4"))
    net = net_of(job, state)
    assert names(net.part) == ["MatMul", "Relu", "Add", "MatMul"]
    assert set(net.learned_constants()) == {"w", "v"}
