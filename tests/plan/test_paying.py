"""Layers that are slower in integers stay float where they read floats; the target says which."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from qtool.passes import prepare
from qtool.plan.paying import FEW, SMALL
from qtool.plan.sites import Sites, find_sites
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.cases import quantized
from tests.models import Array, as_run, build, normal, operators, save, sqnr, weight

CPU = load_target("cpu")
ALL = Recipe(placement="all")


def sites(graph: str, recipe: Recipe, target: str = "cpu", **constants: Array) -> Sites:
    model = build(graph, **constants)
    for node in model.graph:
        node.name = f"n_{node.outputs[0].name}"
    return find_sites(prepare(model), recipe, load_target(target))


def forms(found: Sites) -> dict[str, str]:
    return {site.node: site.form for site in found.weights}


def first(inputs: int, outputs: int) -> tuple[str, dict[str, Array]]:
    """A Conv of the model's input, and one behind it that always pays."""
    graph = f"""g (float[N,{inputs},9,9] x) => (float[N,16,9,9] y) {{
        a = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(a) y = Conv(r, v) }}"""
    constants = {"w": weight(outputs, inputs, 3, 3), "b": normal(outputs) / 4}
    return graph, constants | {"v": weight(16, outputs, 1, 1, seed=2)}


# 1 to 3 channels seen, up to 32 of them made; few channels seen and made; the same as long as it is
# not many for each; and what pays
@pytest.mark.parametrize(
    ("inputs", "outputs", "pays"),
    [(1, 8, False), (1, 64, False), (3, 32, False), (6, 16, False),
     (1, 128, True), (3, 64, True), (4, 32, True), (8, 8, True), (16, 4, True)],
)  # fmt: skip
def test_a_first_layer_of_few_channels(inputs: int, outputs: int, pays: bool) -> None:
    graph, constants = first(inputs, outputs)
    found = sites(graph, Recipe(), **constants)
    assert forms(found) == {"n_a": "static" if pays else "stored", "n_y": "static"}
    assert found.notes == ({} if pays else {"n_a": FEW})
    assert found.skipped == ({} if pays else {"n_r": "what it reads is float"})


@pytest.mark.parametrize(("recipe", "target"), [(ALL, "cpu"), (Recipe(), "portable")])
def test_it_is_not_asked_for_everything_nor_for_other_runtimes(recipe: Recipe, target: str) -> None:
    graph, constants = first(3, 16)
    found = sites(graph, recipe, target, **constants)
    assert forms(found) == {"n_a": "static", "n_y": "static"}
    small = sites("g (float[N,8] x) => (float[N,8] y) { y = Gemm(x, w) }", recipe, target,
                  w=weight(8, 8))  # fmt: skip
    assert forms(small) == {"n_y": "static"}


def test_kept_float_it_is_better_and_converts_once(tmp_path: Path) -> None:
    graph, constants = first(3, 16)
    path = save(tmp_path / "m.onnx", graph, **constants)
    samples = normal(64, 3, 9, 9)
    expected = Session(path).run({"x": samples})["y"]
    lost = {}
    for recipe in (Recipe(), ALL):
        made = quantized(path, recipe, samples, CPU)
        kernels = operators(as_run(made.data, tmp_path))
        assert kernels.count("QuantizeLinear") == kernels.count("DequantizeLinear") == 1
        assert kernels.count("Conv") == (recipe is not ALL)
        lost[recipe.placement] = sqnr(expected, Session(made.data).run({"x": samples})["y"])
    assert lost["paying"] > lost["all"] > 25


def test_depthwise_layers_follow_what_they_read() -> None:
    graph = """g (float[N,3,8,8] x) => (float[N,16,8,8] y) {
        a = Conv(x, w) r = Relu(a) d = Conv<group=16>(r, k) q = Relu(d)
        p = Conv(q, v) e = Conv<group=16>(p, k) y = Conv(e, v) }"""
    constants = {"w": weight(16, 3, 1, 1), "k": weight(16, 1, 1, 1), "v": weight(16, 16, 1, 1)}
    found = sites(graph, Recipe(), **constants)
    # the second one is between integers: there it is cheaper than two conversions
    assert forms(found) == {
        "n_a": "stored", "n_d": "stored", "n_p": "static", "n_e": "static", "n_y": "static"
    }  # fmt: skip
    assert set(found.notes) == {"n_a", "n_d"}


@pytest.mark.parametrize(("channels", "form"), [(8, "stored"), (32, "stored"), (48, "static")])
@pytest.mark.parametrize("moved", [False, True])
def test_depthwise_layers_of_the_input(channels: int, form: str, moved: bool) -> None:
    turned = "t = Transpose<perm=[0,1,3,2]>(x)" if moved else ""
    graph = f"""g (float[N,{channels},8,8] x) => (float[N,{channels},8,8] y) {{ {turned}
        d = Conv<group={channels}>({"t" if moved else "x"}, k) y = Conv(d, v) }}"""
    constants = {"k": weight(channels, 1, 1, 1), "v": weight(channels, channels, 1, 1)}
    found = sites(graph, Recipe(), **constants)
    assert forms(found) == {"n_d": form, "n_y": "static"}
    assert ("n_t" in found.skipped) == (moved and form == "stored")


def test_few_channels_between_integers_stay_integers() -> None:
    graph = """g (float[N,16,8,8] x) => (float[N,16,8,8] y) {
        a = Conv(x, w) b = Conv(a, k) y = Conv(b, v) }"""
    constants = {"w": weight(4, 16, 1, 1), "k": weight(4, 4, 1, 1), "v": weight(16, 4, 1, 1)}
    found = sites(graph, Recipe(), **constants)
    assert set(forms(found).values()) == {"static"}


def test_a_residual_behind_a_float_layer_stays_in_integers(tmp_path: Path) -> None:
    graph = """g (float[N,3,9,9] x) => (float[N,16,9,9] y) {
        a = Conv<pads=[1,1,1,1]>(x, w) r = Relu(a) b = Conv(r, u) s = Add(b, r) y = Conv(s, v) }"""
    constants = {"w": weight(16, 3, 3, 3), "u": weight(16, 16, 1, 1), "v": weight(16, 16, 1, 1)}
    path = save(tmp_path / "m.onnx", graph, **constants)
    made = quantized(path, Recipe(), normal(64, 3, 9, 9), CPU)
    kernels = operators(as_run(made.data, tmp_path))
    assert "QLinearAdd" in kernels
    assert kernels.count("QuantizeLinear") == kernels.count("DequantizeLinear") == 1
    assert kernels.count("Conv") == 1


def chain(*widths: int) -> tuple[str, dict[str, Array]]:
    pairs = list(enumerate(pairwise(widths)))
    constants = {f"w{i}": weight(outs, ins, seed=i).T.copy() for i, (ins, outs) in pairs}
    names = ["x", *(f"h{i}" for i, _ in pairs[1:]), "y"]
    nodes = " ".join(f"{names[i + 1]} = Gemm({names[i]}, w{i})" for i, _ in pairs)
    return f"g (float[N,{widths[0]}] x) => (float[N,{widths[-1]}] y) {{ {nodes} }}", constants


@pytest.mark.parametrize(
    ("widths", "pays"),
    [((64, 32), False), ((64, 128, 64, 10), False), ((255, 256), False), ((256, 256), True),
     ((784, 128, 10), True), ((256, 256, 8, 256, 256), True)],
)  # fmt: skip
def test_rows_by_few_weights(widths: tuple[int, ...], pays: bool) -> None:
    graph, constants = chain(*widths)
    found = sites(graph, Recipe(), **constants)
    assert set(forms(found).values()) == {"static" if pays else "stored"}
    assert set(found.notes.values()) == (set() if pays else {SMALL})
    assert bool(found.activations) == pays


def test_islands_are_judged_one_by_one() -> None:
    graph = """g (float[N,256] x) => (float[N,8] y) {
        a = Gemm(x, w) s = Softplus(a) r = Gemm(s, u) c = Relu(r) y = Gemm(c, v) }"""
    found = sites(graph, Recipe(), w=weight(256, 256), u=weight(256, 16), v=weight(16, 8))
    assert forms(found) == {"n_a": "static", "n_r": "stored", "n_y": "stored"}
    assert found.notes == {"n_r": SMALL, "n_y": SMALL}
    assert "n_c" in found.skipped


def test_few_weights_pay_for_many_rows_and_behind_a_conv() -> None:
    rows = sites("g (float[N,30,64] x) => (float[N,30,64] y) { y = MatMul(x, w) }", Recipe(),
                 w=weight(64, 64))  # fmt: skip
    assert forms(rows) == {"n_y": "static"}
    one = sites("g (float[N,64] x) => (float[N,64] y) { y = MatMul(x, w) }", Recipe(),
                w=weight(64, 64))  # fmt: skip
    assert forms(one) == {"n_y": "stored"}
    behind = sites(
        """g (float[N,8,4,4] x) => (float[N,10] y) {
            a = Conv(x, w) p = GlobalAveragePool(a) f = Flatten(p) y = Gemm(f, v) }""",
        Recipe(), w=weight(16, 8, 1, 1), v=weight(16, 10),
    )  # fmt: skip
    assert forms(behind) == {"n_a": "static", "n_y": "static"}
