"""Bias correction: means as in float, on the samples and on others, and nothing made of noise."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx_ir as ir
import pytest

from qtool.numeric.histogram import Histogram
from qtool.passes import prepare
from qtool.plan.decide import decide
from qtool.plan.sites import find_sites
from qtool.recipe import Recipe
from qtool.refine.bias import bias, shrunk
from qtool.refine.samples import Samples
from qtool.refine.state import State
from qtool.refine.taps import Taps
from tests.cases import KERNELS
from tests.models import Array, build, normal, run, sqnr, weight


def state(model: ir.Model, samples: Array, recipe: Recipe) -> State:
    """What a quantization of a model with one input `x` starts its refinements from."""
    prepared = prepare(model, 21)
    sites = find_sites(prepared, recipe, KERNELS)
    feeds = tuple({"x": samples[i : i + 1]} for i in range(len(samples)))
    taps = Taps(prepared, sites.sources, optimize=True)
    ranges = dict.fromkeys(sites.sources, Histogram.empty())
    for each in feeds:
        for name, values in taps.run(each).items():
            ranges[name] = ranges[name].observe(values)
    deciding = partial(decide, sites=sites, ranges=ranges, target=KERNELS)
    return State(prepared, deciding(prepared), Samples(feeds, feeds[:1]), 1, deciding)


LAYERS = ("a", "d", "p", "e", "q", "y")


def mobile() -> ir.Model:
    """Depthwise and pointwise layers, some without a bias, and a Gemm."""
    graph = """g (float[N,3,12,12] x) => (float[N,10] y) {
        a = Conv<pads=[1,1,1,1]>(x, w0, b0) ar = Relu(a)
        d = Conv<group=16, pads=[1,1,1,1]>(ar, w1) dr = Relu(d)
        p = Conv(dr, w2, b2) pr = Relu(p)
        e = Conv<group=16, pads=[1,1,1,1], strides=[2,2]>(pr, w3, b3) er = Relu(e)
        q = Conv(er, w4) qr = Relu(q)
        m = GlobalAveragePool(qr) f = Flatten(m) y = Gemm<transB=1>(f, w5) }"""
    shapes = {
        "w0": (16, 3, 3, 3), "w1": (16, 1, 3, 3), "w2": (16, 16, 1, 1), "w3": (16, 1, 3, 3),
        "w4": (32, 16, 1, 1), "w5": (10, 32),
    }  # fmt: skip
    weights = {name: weight(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}
    # Channels that one scale per tensor does not fit, as real depthwise layers have them.
    for name in ("w1", "w3"):
        weights[name] = weights[name] * np.exp(normal(16, 1, 1, 1, seed=9))
    return build(
        graph, **weights, **{b: normal(16, seed=i) / 4 for i, b in enumerate(["b0", "b2", "b3"])}
    )


IMAGES = np.abs(normal(96, 3, 12, 12, seed=3))
FIT, OTHERS = IMAGES[:32], IMAGES[32:]
PER_TENSOR = Recipe(scheme="w4ta8", algorithms=())


def off(start: State, found: State) -> dict[str, float]:
    """Layer -> how far the means of its channels are from float's, on the samples, squared."""
    taps = Taps(start.model, LAYERS), Taps(found.quantized(), LAYERS)
    given = [[each.run(feeds) for each in taps] for feeds in start.samples.fit]
    return {
        name: float(
            np.square(np.mean([_mean(a[name]) - _mean(b[name]) for a, b in given], 0)).sum()
        )
        for name in LAYERS
    }


def _mean(values: Array) -> Array:
    return values.reshape(*values.shape[:2], -1).mean(axis=(0, 2), dtype=np.float64)


def quality(found: State, model: ir.Model, samples: Array) -> float:
    return sqnr(run(model, x=samples)["y"], run(found.quantized(), x=samples)["y"])


def test_a_network_of_depthwise_layers_gains_several_decibels() -> None:
    start = state(mobile(), FIT, PER_TENSOR)
    found = bias(start)
    assert quality(found, start.model, OTHERS) > quality(start, start.model, OTHERS) + 4


def test_means_agree_better_than_without_it() -> None:
    start = state(mobile(), FIT, PER_TENSOR)
    before, after = off(start, start), off(start, bias(start))
    assert all(after[name] < before[name] / 4 for name in LAYERS)


def test_layers_without_a_bias_get_one_in_integers() -> None:
    found = bias(state(mobile(), FIT, PER_TENSOR))
    nodes = {node.outputs[0].name: node for node in found.model.graph}
    assert all(len(nodes[name].inputs) == 3 for name in LAYERS)
    assert all((nodes[name].name, 2) in found.plan.biases for name in LAYERS)


def test_values_and_names_of_the_start_stay() -> None:
    start = state(mobile(), FIT, PER_TENSOR)
    expected = run(start.model, x=OTHERS)["y"]
    plan = start.plan.as_dict()
    bias(start)
    np.testing.assert_array_equal(run(start.model, x=OTHERS)["y"], expected)
    assert start.plan.as_dict() == plan


def test_nothing_done_is_the_same_state() -> None:
    start = state(mobile(), FIT, Recipe(scheme="float", algorithms=()))
    assert bias(start) is start
    alone = state(mobile(), FIT[:1], PER_TENSOR)  # of one sample no error is known
    assert bias(alone) is alone


def test_the_same_samples_give_the_same_model() -> None:
    first, second = (bias(state(mobile(), FIT, PER_TENSOR)) for _ in range(2))
    for a, b in zip(first.model.graph, second.model.graph, strict=True):
        for x, y in zip(a.inputs, b.inputs, strict=True):
            if x is not None and y is not None and x.const_value is not None:
                assert y.const_value is not None
                np.testing.assert_array_equal(x.const_value.numpy(), y.const_value.numpy())


def test_noise_is_not_fitted() -> None:
    # Channels of mean 0: what two samples differ by is chance.
    lost = normal(2, 1000, seed=5).astype(np.float64)
    assert np.square(shrunk(lost)).sum() < np.square(lost.mean(axis=0)).sum() / 2
    many = normal(64, 1000, seed=6).astype(np.float64)
    assert np.count_nonzero(shrunk(many)) < 60  # one of twenty is beyond two errors
    assert np.square(shrunk(many)).sum() < np.square(many.mean(axis=0)).sum() / 10


def test_what_is_sure_is_taken_whole() -> None:
    lost = 1 + normal(64, 100, seed=7).astype(np.float64) / 100
    np.testing.assert_allclose(shrunk(lost), lost.mean(axis=0), rtol=1e-4)
    np.testing.assert_array_equal(shrunk(np.ones((4, 3))), np.ones(3))
    np.testing.assert_array_equal(shrunk(np.zeros((4, 3))), np.zeros(3))


PRODUCT = """g (float[N,5,16] x) => (float[N,5,8] y) {
    h = MatMul(x, w) a = Add(h, b) r = Relu(a) k = MatMul(r, v) s = Relu(k) y = MatMul(s, u) }"""


@pytest.mark.parametrize("scheme", ["w4ta8", "w3t"])
@pytest.mark.parametrize("shape", [(16,), (1, 1, 16), (1,)])
def test_the_constant_that_is_added_to_a_product(shape: tuple[int, ...], scheme: str) -> None:
    weights = {n: weight(16, 8 if n == "u" else 16, seed=i) for i, n in enumerate("wvu")}
    model = build(PRODUCT, **weights, b=normal(*shape, seed=4))
    samples = np.abs(normal(96, 5, 16))
    start = state(model, samples[:32], Recipe(scheme=scheme, algorithms=()))
    found = bias(start)
    changed = {n.name for n in found.model.graph if n.op_type == "Add"}
    assert changed  # behind the other products nothing is added, and nothing will be
    assert [n.op_type for n in found.model.graph] == [n.op_type for n in start.model.graph]
    add = next(n for n in found.model.graph if n.op_type == "Add")
    constant = next(v for v in add.inputs if v is not None and v.const_value is not None)
    assert constant.const_value is not None
    assert constant.const_value.numpy().size == 16
    reference, before, after = (
        Taps(m, ["a"]) for m in (start.model, start.quantized(), found.quantized())
    )
    apart = [
        np.mean(
            [reference.run(f)["a"] - each.run(f)["a"] for f in start.samples.fit], axis=(0, 1, 2)
        )
        for each in (before, after)
    ]
    assert np.square(apart[1]).sum() < np.square(apart[0]).sum() / 4
