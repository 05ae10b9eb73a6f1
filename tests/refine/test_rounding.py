"""Rounding steps: columns are what layers multiply, codes get into the file, outputs gain by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import onnx_ir as ir
import pytest

from qtool import model as models
from qtool import workflow
from qtool.data import open_dataset
from qtool.numeric.affine import quantize
from qtool.passes import prepare
from qtool.recipe import Recipe
from qtool.refine import REFINEMENTS
from qtool.refine.columns import chosen
from qtool.refine.forms import Product
from qtool.refine.judge import Judge
from qtool.refine.layers import Layer, find_layers, in_groups, in_loads
from qtool.refine.moments import Moments
from qtool.refine.samples import Samples, drawn
from qtool.refine.state import State
from qtool.target import load_target
from tests.models import Array, build, normal, run, save, weight

each = pytest.mark.parametrize("name", ["gptq", "adaround"])


def state_of(folder: Path, graph: str, shape: tuple[int, ...], scheme: str = "w8a8",
             count: int = 60, **constants: Array) -> tuple[workflow.Job, State]:  # fmt: skip
    """As `workflow.build` starts to refine it, on inputs that share a good deal."""
    folder.mkdir(exist_ok=True)
    path = save(folder / "model.onnx", graph, **constants)
    (folder / "data").mkdir()
    common = normal(1, *shape, seed=90)
    for i in range(count):
        rows = normal(1, *shape, seed=100 + i) / 2 + common * (1 + i % 3)
        np.save(folder / "data" / f"{i:03}.npy", np.maximum(rows[0], -1))
    recipe = Recipe(scheme=scheme, samples=count, algorithms=(), method="minmax")
    job = workflow.open_job(path, recipe, load_target("cpu"))
    data = open_dataset(folder / "data", job.signature)
    ranges = workflow.measure(job, data).histograms if "a" in scheme else {}
    decide, plan = workflow._decided(job, ranges)
    return job, State(job.model, plan, drawn(data), 1, decide)


CNN = """g (float[N,3,12,12] x) => (float[N,5] y) {
    a0 = Conv<pads=[1,1,1,1]>(x, w0, b0) a = Relu(a0)
    d0 = Conv<group=16, pads=[1,1,1,1], strides=[2,2]>(a, wd, bd) d = Relu(d0)
    e0 = Conv(d, we, be) e = Relu(e0)
    q = GlobalAveragePool(e) f = Flatten(q) y = Gemm<transB=1>(f, wf, bf) }"""
WEIGHTS: dict[str, Any] = {
    "w0": weight(16, 3, 3, 3), "b0": normal(16) / 4, "wd": weight(16, 1, 3, 3, seed=2),
    "bd": normal(16, seed=3) / 4, "we": weight(24, 16, 1, 1, seed=4), "be": normal(24, seed=5) / 4,
    "wf": weight(5, 24, seed=6), "bf": normal(5, seed=7),
}  # fmt: skip


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> tuple[workflow.Job, State]:
    return state_of(tmp_path_factory.mktemp("cnn"), CNN, (3, 12, 12), **WEIGHTS)


CONVS = {
    "plain": ("", (2, 4, 9, 8), (6, 4, 3, 3)),
    "grouped": ("group=2", (2, 4, 9, 8), (6, 2, 3, 3)),
    "depthwise": ("group=4, pads=[1,1,1,1]", (2, 4, 9, 8), (4, 1, 3, 3)),
    "depth multiplied": ("group=4", (2, 4, 9, 8), (8, 1, 3, 3)),
    "strided": ("strides=[2,3], pads=[0,2,1,1]", (2, 4, 9, 8), (6, 4, 3, 3)),
    "dilated": ("dilations=[2,3], pads=[1,2,3,1]", (2, 4, 9, 8), (6, 4, 3, 2)),
    "all of it": ("group=2, dilations=[2,1], strides=[2,2], pads=[1,0,0,2]", (2, 4, 9, 8),
                  (6, 2, 3, 3)),
    "same upper": ('auto_pad="SAME_UPPER", strides=[2,2]', (2, 4, 9, 8), (6, 4, 4, 3)),
    "same lower": ('auto_pad="SAME_LOWER", strides=[2,3]', (2, 4, 9, 8), (6, 4, 4, 4)),
    "valid": ('auto_pad="VALID", strides=[2,2]', (2, 4, 9, 8), (6, 4, 3, 3)),
    "one axis": ("strides=[2], pads=[1,1]", (2, 4, 9), (6, 4, 3)),
    "three axes": ("group=2, strides=[1,2,1], pads=[1,0,1,0,1,1]", (2, 4, 5, 6, 5),
                   (6, 2, 2, 3, 2)),
}  # fmt: skip


def layer_of(model: ir.Model, weight: Array) -> Layer:
    """The one layer of a model, found as it is in a plan for its weights."""
    from qtool.plan.decide import decide
    from qtool.plan.sites import find_sites

    prepared = prepare(model)
    target = load_target("cpu")
    plan = decide(prepared, find_sites(prepared, Recipe(scheme="w8"), target), {}, target)
    [layer] = find_layers(prepared, plan)
    assert layer.weight.size == weight.size
    return layer


@pytest.mark.parametrize("case", CONVS)
def test_columns_times_weights_are_the_convolution(case: str) -> None:
    attributes, shape, kernel = CONVS[case]
    x, w = normal(*shape), weight(*kernel)
    sizes, ranks = ",".join(map(str, shape)), ",".join("?" * len(shape))
    text = f"g (float[{sizes}] x) => (float[{ranks}] y) {{ y = Conv<{attributes}>(x, w) }}"
    model = build(text.replace("Conv<>", "Conv").replace("?", "N"), w=w)
    expected = run(model, x=x)["y"]
    layer = layer_of(model, w)
    [form] = layer.forms
    found = layer.matrices(layer.weight) @ form.columns([x], 10**6)  # (groups, rows, places)
    found = found.reshape(kernel[0], shape[0], *expected.shape[2:]).swapaxes(0, 1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    some = layer.matrices(layer.weight) @ form.columns([x], 7)
    flat = expected.swapaxes(0, 1).reshape(layer.groups, kernel[0] // layer.groups, -1)
    np.testing.assert_allclose(some, flat[:, :, chosen(flat.shape[2], 7)], atol=1e-5)


@pytest.mark.parametrize(
    ("node", "shape"),
    [("MatMul(x, w)", (6, 4)), ("Gemm(x, w)", (6, 4)), ("Gemm<transB=1>(x, w)", (4, 6))],
)
def test_columns_times_weights_are_the_product(node: str, shape: tuple[int, ...]) -> None:
    x, w = normal(10, 6), weight(*shape)
    model = build(f"g (float[N,6] x) => (float[N,4] y) {{ y = {node} }}", w=w)
    layer = layer_of(model, w)
    found = layer.matrices(layer.weight) @ layer.forms[0].columns([x], 100)
    np.testing.assert_allclose(found[0].T, run(model, x=x)["y"], atol=1e-5)
    whole = np.arange(w.size).reshape(layer.weight.shape).astype(np.int32)
    np.testing.assert_array_equal(layer.restored(layer.matrices(whole)), whole)


def test_places_are_spread_over_rows_and_columns() -> None:
    places = chosen(32 * 32, 64)
    assert len(set(places.tolist())) == 64 and places.max() < 1024
    assert len(set((places % 32).tolist())) == 32
    counts = np.bincount(places // 128, minlength=8)
    assert counts.min() >= 6 and counts.max() <= 10
    np.testing.assert_array_equal(chosen(10, 64), np.arange(10))


@pytest.mark.parametrize("odd", [np.inf, np.nan, -3.4e38])
def test_moments_are_those_of_all_columns_whatever_their_order(odd: float) -> None:
    x, y = normal(2, 5, 3000), normal(2, 5, 3000, seed=1)
    y[1, 2, 7] = odd
    parts, backwards = Moments(2, 5), Moments(2, 5)
    for start in range(0, 3000, 100):
        parts.add(x[:, :, start : start + 100], y[:, :, start : start + 100])
        stop = 3000 - start
        backwards.add(x[:, :, stop - 100 : stop], y[:, :, stop - 100 : stop])
    x, y = np.delete(x, 7, 2).astype(float), np.delete(y, 7, 2).astype(float)
    expected = y @ y.swapaxes(1, 2) / 2999
    np.testing.assert_allclose(parts.second(0), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(parts.second(0), backwards.second(0), rtol=1e-5, atol=1e-5)
    w = weight(2, 3, 5)
    # of least squares: W* y is as near W x as can be
    best = np.stack([np.linalg.lstsq(b.T, (m @ a).T)[0].T for m, a, b in zip(w, x, y, strict=True)])
    np.testing.assert_allclose(parts.target(w, 1.0, 0.0), best, atol=1e-4)
    np.testing.assert_array_equal(parts.target(w, 0.0, 0.0), w)


@each
@pytest.mark.parametrize("scheme", ["w8a8", "w4"])
def test_outputs_gain_by_it_on_samples_that_it_has_not_seen(
    name: str, scheme: str, tmp_path: Path, cnn: tuple[workflow.Job, State]
) -> None:
    state = cnn[1] if scheme == "w8a8" else state_of(
        tmp_path / "w4", CNN, (3, 12, 12), scheme, **WEIGHTS)[1]  # fmt: skip
    judge = Judge(state.model, state.samples.check, 1)
    before = judge.sqnr_db(state.quantized())
    after = judge.sqnr_db(REFINEMENTS[name](state).quantized())
    assert np.mean(after - before) > 1


@each
def test_the_codes_chosen_are_those_in_the_file(
    name: str, cnn: tuple[workflow.Job, State], tmp_path: Path
) -> None:
    state = REFINEMENTS[name](cnn[1])
    assert len(state.rounded) == 4 and all(r.by == name for r in state.rounded.values())
    moved = 0
    graph = onnx.load_model_from_string(models.serialize(state.quantized())).graph
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    for key, plan in state.plan.weights.items():
        chosen_codes = state.rounded[key].codes
        np.testing.assert_array_equal(stored[f"{plan.tensor}_q"], chosen_codes)
        node = next(n for n in state.model.graph if n.name == key[0])
        value = node.inputs[key[1]]
        assert value is not None and value.const_value is not None
        moved += int((quantize(value.const_value.numpy(), plan.params) != chosen_codes).sum())
    assert moved > 50


@each
def test_the_order_of_samples_does_not_matter(name: str, cnn: tuple[workflow.Job, State]) -> None:
    state = cnn[1]
    turned = Samples(state.samples.fit[::-1], state.samples.check)
    one, two = (REFINEMENTS[name](s).rounded for s in (state, replace(state, samples=turned)))
    for key, rounded in one.items():
        np.testing.assert_array_equal(rounded.codes, two[key].codes)


def test_nodes_that_share_a_weight_share_its_codes(tmp_path: Path) -> None:
    graph = """g (float[N,8] x) => (float[N,8] y) {
        a = MatMul(x, w) b = Relu(a) c = MatMul(b, w) y = Relu(c) }"""
    _, state = state_of(tmp_path, graph, (8,), "w4", w=weight(8, 8))
    [layer] = find_layers(state.model, state.plan)
    assert len(layer.keys) == 2
    found = REFINEMENTS["gptq"](state)
    one, two = found.rounded.values()
    np.testing.assert_array_equal(one.codes, two.codes)
    assert [n for n in found.quantized().graph.initializers if n.startswith("w")].count("w_q") == 1


def test_what_has_no_layers_stays_as_it_is(tmp_path: Path) -> None:
    graph = """g (float[N,4] x) => (float[N,3] y) { s = Cast<to=7>(x)
        r = Gather(table, s) y = ReduceSum<keepdims=0>(r, one) }"""
    table = {"table": weight(300, 3), "one": np.array([1])}
    _, state = state_of(tmp_path, graph, (4,), "w8", count=4, **table)
    assert state.plan.weights
    assert REFINEMENTS["gptq"](state) is state


def test_groups_are_few_and_their_moments_fit() -> None:
    def layer(width: int) -> Layer:
        return Layer((), np.zeros((1, width), np.float32), None, (Product(True),))  # type: ignore[arg-type]

    many = [layer(8) for _ in range(50)]
    groups = in_groups(many, 16)
    assert [len(group) for group in groups] == [4] * 12 + [2]
    assert [each for group in groups for each in group] == many
    wide = [layer(100) for _ in range(4)]
    assert wide[0].bytes == 320_000
    assert [len(load) for load in in_loads(wide, 650_000)] == [2, 2]
    assert [len(load) for load in in_loads([*wide, many[0]], 330_000)] == [1, 1, 1, 2]
    assert not in_groups([], 16) and not in_loads([], 1000)


def test_a_product_with_inputs_measured_on_the_run_is_rounded_too(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", "g (float[N,32] x) => (float[N,8] y) { y = MatMul(x, w) }",
                w=weight(32, 8))  # fmt: skip
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "x.npy", np.abs(normal(40, 32)))
    job = workflow.open_job(path, Recipe(mode="dynamic", algorithms=()), load_target("cpu"))
    decide, plan = workflow._decided(job, {})
    data = open_dataset(tmp_path / "data", job.signature)
    found = REFINEMENTS["gptq"](State(job.model, plan, drawn(data), 1, decide))
    assert list(found.rounded) == list(plan.weights)
    [chosen_codes] = (r.codes for r in found.rounded.values())
    stored = [v.const_value.numpy() for v in found.quantized().graph.initializers.values()
              if v.const_value is not None and v.const_value.size == 256]  # fmt: skip
    assert any(np.array_equal(codes, chosen_codes) for codes in stored)


def test_levels_are_fitted_and_all_few_bits_are_rounded_with_them(tmp_path: Path) -> None:
    # w0 is too small for a book, and rounded by gptq in its turn.
    big = {**WEIGHTS, "we": weight(96, 16, 1, 1, seed=4), "be": normal(96, seed=5) / 4,
           "wf": weight(40, 96, seed=6), "bf": normal(40, seed=7)}  # fmt: skip
    _, state = state_of(tmp_path, CNN.replace("N,5", "N,40"), (3, 12, 12), "w4k", **big)
    booked = [key for key, plan in state.plan.weights.items() if plan.params.book is not None]
    assert 0 < len(booked) < 4
    judge = Judge(state.model, state.samples.check, 1)
    found = REFINEMENTS["levels"](state)
    assert len(found.rounded) == 4 and {r.by for r in found.rounded.values()} == {"levels"}
    assert np.mean(judge.sqnr_db(found.quantized()) - judge.sqnr_db(state.quantized())) > 1
    for key in booked:
        book, before = found.plan.weights[key].params.book, state.plan.weights[key].params.book
        assert book is not None and not book.same(before)
        np.testing.assert_array_equal(book.levels, book.levels.astype(np.float16))
    assert REFINEMENTS["gptq"](found) is found  # all of it is done
    turned = replace(state, samples=Samples(state.samples.fit[::-1], state.samples.check))
    for key, rounded in REFINEMENTS["levels"](turned).rounded.items():
        np.testing.assert_array_equal(rounded.codes, found.rounded[key].codes)


def test_levels_do_nothing_where_there_is_no_book(cnn: tuple[workflow.Job, State]) -> None:
    assert REFINEMENTS["levels"](cnn[1]) is cnn[1]
