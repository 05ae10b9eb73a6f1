"""Smoothing makes skewed models better, keeps their function, and leaves even ones alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from qtool.passes import prepare, transform
from qtool.passes.edit import array
from qtool.passes.streams import apply, streams
from qtool.recipe import Recipe
from qtool.refine.judge import Judge
from qtool.refine.samples import Samples
from qtool.refine.smooth import MARGIN, smooth
from qtool.refine.trial import trial
from qtool.target import load_target
from tests.models import assert_same_function, build, normal, run, weight

MINMAX = Recipe(method="minmax")  # takes less time to find than the least error
CPU = load_target("cpu")
SIX: dict[str, Any] = {"zero": np.float32(0), "six": np.float32(6)}


def mobile(bound: str = "Clip(@, zero, six)") -> ir.Model:
    """A stem and two inverted residuals, as in a MobileNet."""
    nodes = "h = Conv<pads=[1,1,1,1]>(x, stem, b0)"
    constants: dict[str, Any] = {"stem": weight(8, 3, 3, 3), "b0": normal(8) / 8, **SIX}
    values = "h"
    for i in range(1):
        nodes += f"""
            e{i} = Conv({values}, we{i}, be{i}) f{i} = {bound.replace("@", f"e{i}")}
            d{i} = Conv<group=16, pads=[1,1,1,1]>(f{i}, wd{i}, bd{i})
            g{i} = PRelu(d{i}, slope) p{i} = Conv(g{i}, wp{i}, bp{i}) s{i} = Add({values}, p{i})"""
        values = f"s{i}"
        constants |= {
            f"we{i}": weight(16, 8, 1, 1, seed=10 + i), f"be{i}": normal(16, seed=20 + i) / 4,
            f"wd{i}": weight(16, 1, 3, 3, seed=30 + i), f"bd{i}": normal(16, seed=40 + i) / 4,
            f"wp{i}": weight(8, 16, 1, 1, seed=50 + i), f"bp{i}": normal(8, seed=60 + i) / 4,
        }  # fmt: skip
    nodes += f" q = GlobalAveragePool({values}) t = Flatten(q) y = Gemm(t, last, none)"
    constants |= {"slope": np.abs(normal(16, 1, 1)) / 4, "last": weight(8, 5), "none": normal(5)}
    return prepare(build(f"g (float[N,3,10,10] x) => (float[N,5] y) {{ {nodes} }}", **constants))


def block() -> ir.Model:
    """A pre-norm transformer block, values of attention included."""
    names = {n: weight(16, 16, seed=i) for i, n in enumerate(("wq", "wk", "wv", "wo"))}
    made = build(
        """g (float[N,6,16] x) => (float[N,6,16] y) {
            n = LayerNormalization(x, g, s) q = MatMul(n, wq) k = MatMul(n, wk) v0 = MatMul(n, wv)
            v = Add(v0, bv) kt = Transpose<perm=[0,2,1]>(k) a = MatMul(q, kt) p = Softmax(a)
            c = MatMul(p, v) o = MatMul(c, wo) h = Add(x, o) m = LayerNormalization(h, g2, s2)
            i = MatMul(m, w1) r = Relu(i) u = MatMul(r, w2) y = Add(h, u) }""",
        g=1 + normal(16) / 8, s=normal(16, seed=5) / 8, g2=1 + normal(16, seed=6) / 8,
        s2=normal(16, seed=7) / 8, bv=normal(16, seed=8) / 4, w1=weight(32, 16, seed=9).T.copy(),
        w2=weight(16, 32, seed=10).T.copy(), **names,
    )  # fmt: skip
    return prepare(made)


def samples_of(model: ir.Model, count: int = 24, seed: int = 100) -> Samples:
    shape = [d if isinstance(d, int) else 1 for d in model.graph.inputs[0].shape or ()]
    feeds = tuple({"x": normal(*shape, seed=seed + i)} for i in range(count))
    return Samples(feeds[: count * 2 // 3], feeds[count * 2 // 3 :])


def skewed(model: ir.Model, span: float = 1.5) -> ir.Model:
    """The same function, channels 10^-span to 10^span apart."""
    made = model.clone()
    for seed, stream in enumerate(streams(made.graph)):
        factors = 10 ** np.random.default_rng(seed).uniform(-span, span, len(stream.free))
        apply(stream, np.where(stream.free, factors, 1.0), "skewed")
    return made


def smoothed(model: ir.Model, recipe: Recipe | None = None) -> ir.Model:
    return smooth(model, samples_of(model), recipe or MINMAX, CPU, 1)


def quality(model: ir.Model, recipe: Recipe | None = None) -> float:
    """SQNR once quantized, on samples that nothing has seen before."""
    judge = Judge(model, samples_of(model, seed=900).fit, 1)
    return float(trial(model, judge, samples_of(model), recipe or MINMAX, CPU, 1).mean())


MODELS: dict[str, Callable[[], ir.Model]] = {
    "Relu6": mobile,
    "Relu": lambda: mobile("Relu(@)"),
    "transformer": block,
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("by", ["equalize", "smooth"])
def test_skewed_models_become_better(name: str, by: str) -> None:
    before = skewed(MODELS[name]())
    after = smoothed(before) if by == "smooth" else transform(before, ("equalize",))
    assert quality(after) > quality(before) + 6
    x = np.concatenate([feeds["x"] for feeds in samples_of(before, 60).fit])
    assert_same_function(before, after, x=x)


@pytest.mark.parametrize("name", MODELS)
def test_smoothing_is_about_as_good_as_if_nothing_had_been_skewed(name: str) -> None:
    model = MODELS[name]()
    assert quality(smoothed(skewed(model))) > quality(model) - 4


@pytest.mark.parametrize("bound", ["Relu(a)", "Clip(a, zero, six)"])
def test_even_models_stay_as_they_are(bound: str) -> None:
    signs = hadamard(16)
    made = build(
        f"g (float[N,16,5,5] x) => (float[N,16,5,5] y) {{ a = Conv(x, w) r = {bound}"
        " d = Conv<group=16, pads=[1,1,1,1]>(r, k) e = Relu(d) y = Conv(e, v) }",
        w=signs[:, :, None, None] / 4, v=signs.T[:, :, None, None] / 4,
        k=np.ones((16, 1, 3, 3), np.float32) / 3, **SIX,
    )  # fmt: skip
    model = prepare(made)
    assert len(streams(model.graph, bounded=True)) == 2
    assert smoothed(model) is model


def hadamard(size: int) -> Any:
    """Rows of +1 and -1, orthogonal: no channel differs from another."""
    made = np.ones((1, 1), np.float32)
    while len(made) < size:
        made = np.block([[made, made], [made, -made]])
    return made


@pytest.mark.parametrize("name", MODELS)
def test_a_second_time_changes_little(name: str) -> None:
    once = smoothed(skewed(MODELS[name]()))
    assert abs(quality(smoothed(once)) - quality(once)) < 2


@pytest.mark.parametrize("recipe", [Recipe(scheme="w8"), Recipe(scheme="float")])
def test_without_quantized_activations_there_is_nothing_to_smooth(recipe: Recipe) -> None:
    model = skewed(block())
    assert smoothed(model, recipe) is model


def test_weights_per_tensor_and_symmetric_activations() -> None:
    recipe = Recipe(scheme="w8ta8s", method="minmax")
    before = skewed(block())
    after = smoothed(before, recipe)
    assert quality(after, recipe) > quality(before, recipe) + 6


def clipped() -> ir.Model:
    """Channels behind a Relu6: the first four reach 6, the others not 0.1."""
    low = np.where(np.arange(16) < 4, 8.0, 0.02).astype(np.float32)[:, None, None, None]
    constants = {"w": weight(16, 3, 1, 1) * low, "v": weight(6, 16, 3, 3, seed=2), **SIX}
    constants["v"] = constants["v"] / low[None, :, 0]
    nodes = "a = Conv(x, w) r = Clip(a, zero, six) y = Conv(r, v)"
    made = build(f"g (float[N,3,9,9] x) => (float[N,6,7,7] y) {{ {nodes} }}", **constants)
    return prepare(made)


def test_what_reaches_a_bound_keeps_its_factor_and_the_rest_is_amplified_below_it() -> None:
    before = clipped()
    after = smoothed(before)
    assert quality(after) > quality(before) + 6
    old, new = (array(m.graph.node(0).inputs[1]).reshape(16, -1) for m in (before, after))
    np.testing.assert_array_equal(old[:4], new[:4])
    assert (np.abs(new[4:]) > 4 * np.abs(old[4:])).all()
    x = np.concatenate([feeds["x"] for feeds in samples_of(before).fit])
    opened = after.clone()
    opened.graph.outputs[0] = opened.graph.node(1).outputs[0]
    largest = run(opened, x=x)["r"].max(axis=(0, 2, 3))
    assert (largest[:4] == 6).all()
    assert (largest[4:] <= 6 / MARGIN * 1.001).all()


def test_the_same_samples_give_the_same_bytes() -> None:
    model = skewed(mobile())
    one, other = (ir.to_proto(smoothed(model)).SerializeToString() for _ in range(2))
    assert one == other


def test_no_samples_to_judge_on_change_nothing() -> None:
    model = skewed(block())
    assert smooth(model, Samples(samples_of(model).fit, ()), Recipe(), CPU, 1) is model
