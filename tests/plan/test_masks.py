"""Huge values that only say "not this one": ranges leave them out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from qtool import workflow
from qtool.data import open_dataset
from qtool.numeric.histogram import Histogram
from qtool.plan import masks
from qtool.plan.masks import above, ordinary
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from qtool.workflow import Quantized
from tests.models import Array, normal, save, sqnr, weight

TOKENS, WIDTH = 12, 16
OPEN = np.tri(TOKENS).astype(bool)
HUGE = [-3.4e38, -1e9, -65504.0, -10000.0]
ATTENTION = {f"w{i}": weight(WIDTH, WIDTH, seed=i) * (1.5 if i < 2 else 1) for i in range(4)}


def made(folder: Path, graph: str, recipe: Recipe, feeds: Array, **constants: Array) -> Quantized:
    folder.mkdir(exist_ok=True)
    words = set(graph.replace("(", " ").replace(")", " ").replace(",", " ").split())
    used = {name: values for name, values in constants.items() if name in words}
    path = save(folder / "m.onnx", graph, **used)
    data = folder / "data"
    data.mkdir()
    for name, values in feeds.items():
        np.save(data / f"{name}.npy", values)
    job = workflow.open_job(path, recipe, load_target("cpu"))
    return workflow.build(job, workflow.measure(job, open_dataset(data, job.signature)))


def quality(
    folder: Path, graph: str, recipe: Recipe, feeds: Array, **constants: Array
) -> tuple[float, Quantized]:
    found = made(folder, graph, recipe, feeds, **constants)
    before, after = Session(folder / "m.onnx").run(feeds), Session(found.data).run(feeds)
    return sqnr(before["y"], after["y"]), found


def attention(nodes: str, more: str = "") -> str:
    return f"""g (float[N,{TOKENS},{WIDTH}] x{more}) => (float[N,{TOKENS},{WIDTH}] y) {{
        q = MatMul(x, w0) k = MatMul(x, w1) v = MatMul(x, w2) t = Transpose<perm=[0,2,1]>(k)
        s = MatMul(q, t) {nodes} p = Softmax(z) o = MatMul(p, v) y = MatMul(o, w3) }}"""


# how a mask meets the scores
FORMS = {
    "added": attention("z = Add(s, mask)"),
    "added, then scaled": attention("a = Add(s, mask) z = Mul(a, third)"),
    "chosen": attention("z = Where(open, s, low)"),
    "a product": attention(
        "n = Transpose<perm=[0,2,1]>(m) f = Sub(one, n) h = Mul(f, low) z = Add(s, h)",
        f", float[N,{TOKENS},1] m",
    ),
}


def attended(folder: Path, form: str, huge: float, recipe: Recipe) -> tuple[float, Quantized]:
    feeds = {"x": normal(64, TOKENS, WIDTH)}
    if form == "a product":
        lengths = np.random.default_rng(5).integers(3, TOKENS + 1, (64, 1, 1))
        feeds["m"] = (np.arange(TOKENS)[None, :, None] < lengths).astype(np.float32)
    mask = np.where(OPEN, 0, huge).astype(np.float32)
    constants = {"mask": mask, "open": OPEN, "low": np.float32(huge), "one": np.float32(1)}
    third = np.float32(1 / 3)
    return quality(folder, FORMS[form], recipe, feeds, third=third, **constants, **ATTENTION)


@pytest.mark.parametrize(
    "huge", [HUGE[0], *(pytest.param(each, marks=pytest.mark.slow) for each in HUGE[1:])]
)
@pytest.mark.parametrize("form", FORMS)
def test_scores_keep_their_codes_beside_a_mask(form: str, huge: float, tmp_path: Path) -> None:
    everywhere = Recipe(placement="all", algorithms=())
    without, _ = attended(tmp_path / "a", form, huge, everywhere)
    listed = everywhere.model_copy(update={"algorithms": ("masks",)})
    found, quantized = attended(tmp_path / "b", form, huge, listed)
    assert {"s", "z"} <= set(quantized.plan.activations)
    assert without < 8
    assert found > 22


def test_where_scores_are_float_nothing_changes(tmp_path: Path) -> None:
    _, without = attended(tmp_path / "a", "added", -3.4e38, Recipe(algorithms=()))
    _, found = attended(tmp_path / "b", "added", -3.4e38, Recipe(algorithms=("masks",)))
    assert found.plan.as_dict() == without.plan.as_dict()
    assert found.data == without.data


CONV = {"w": weight(8, 8, 1, 1), "v": weight(8, 8, 1, 1, seed=2)}
APART = np.random.default_rng(1).random((1, 1, 6, 6)) > 0.2
# reader -> whether what it reads can be quantized all the same
READERS = {
    "r = ReduceMax<keepdims=1>(z, axes) y = Conv(r, v)": True,
    "r = MaxPool<kernel_shape=[6,6]>(z) y = Conv(r, v)": True,
    "r = Sigmoid(z) y = Conv(r, v)": False,
}


@pytest.mark.parametrize("huge", HUGE)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_never_the_greatest(reader: str, huge: float, tmp_path: Path) -> None:
    graph = (
        f"g (float[N,8,6,6] x) => (float y) {{ a = Conv(x, w) z = Where(open, a, low) {reader} }}"
    )
    constants = {**CONV, "open": APART, "low": np.float32(huge), "axes": np.array([2, 3])}
    feeds = {"x": normal(64, 8, 6, 6)}
    recipe = Recipe(algorithms=("masks",))
    found, quantized = quality(tmp_path / "a", graph, recipe, feeds, **constants)
    assert found > 30
    assert ("z" in quantized.plan.activations) == READERS[reader]
    reason = "it holds huge values, beside which all others would be 0"
    assert (reason in quantized.plan.skipped.values()) != READERS[reader]


def test_a_mask_that_the_model_gives_is_left_as_it_is(tmp_path: Path) -> None:
    graph = FORMS["added"].replace("] y)", f"] y, float[N,{TOKENS},{TOKENS}] z)")
    mask = np.where(OPEN, 0, -1e4).astype(np.float32)
    recipe = Recipe(placement="all", algorithms=("masks",))
    feeds = {"x": normal(16, TOKENS, WIDTH)}
    found = made(tmp_path / "a", graph, recipe, feeds, mask=mask, **ATTENTION)
    assert Session(found.data).run(feeds)["z"].min() < -9000


def test_bounds_of_a_clip_that_never_clips(tmp_path: Path) -> None:
    graph = (
        "g (float[N,8,6,6] x) => (float y) { a = Conv(x, w) z = Clip(a, low, high) y = Conv(z, v) }"
    )
    ends = {"low": np.float32(-3.4e38), "high": np.float32(3.4e38)}
    feeds = {"x": normal(64, 8, 6, 6)}
    recipe = Recipe(algorithms=("masks",))
    found, _ = quality(tmp_path / "a", graph, recipe, feeds, **CONV, **ends)
    assert found > 30


def histogram(*parts: Array) -> Histogram:
    return Histogram.empty().observe(np.concatenate([np.ravel(p) for p in parts]))


def test_ordinary_values_end_at_the_first_gap() -> None:
    scores = normal(1000) * 3
    found = ordinary(histogram(scores, np.full(500, -1e4), np.full(500, -2e4)))
    assert found is not None
    assert found.below
    assert found.ratio == 1
    np.testing.assert_allclose([found.low, found.high], [scores.min(), scores.max()], rtol=2**-7)


@pytest.mark.parametrize(
    "values",
    [
        normal(1000) * 1e4,  # large, but evenly so
        np.concatenate([normal(1000), [-40.0]]),  # far out, but not huge
        np.concatenate([np.zeros(1000), np.linspace(100, 1000, 1000)]),  # behind a Relu
        np.concatenate([[1.0], np.full(1000, -1e9)]),  # nearly all are huge
        np.zeros(0),
    ],
    ids=["large", "outlier", "relu", "nearly all", "nothing"],
)
def test_without_a_gap_all_are_ordinary(values: Array) -> None:
    assert ordinary(histogram(values)) is None


def test_huge_on_both_sides_is_no_mask() -> None:
    found = ordinary(histogram(normal(100), np.array([-1e9, 1e9])))
    assert found is not None
    assert not found.below


def test_above_keeps_the_counts_of_the_rest() -> None:
    scores = normal(1000)
    found = above(histogram(scores, np.full(10, -1e9)), -8.0)
    assert found.total == 1000
    assert (found.low, found.high) == (-8.0, float(scores.max()))
    assert above(found, -math.inf) is found


def test_a_constant_read_early_and_late_in_a_deep_model(tmp_path: Path) -> None:
    layers = [f"s{i} = LayerNormalization<axis=-1>(s{i - 1}, c)" for i in range(1, 500)]
    graph = f"g (float[N,4] x) => (float[N,4] y) {{ s0 = MatMul(x, w) {' '.join(layers)}"
    graph += " y = Softmax(s499) }"
    save(tmp_path / "m.onnx", graph, w=weight(4, 4), c=normal(4))
    job = workflow.open_job(tmp_path / "m.onnx", Recipe(), load_target("cpu"))
    assert masks.bounds(job.model, job.sites, {}) == {}
