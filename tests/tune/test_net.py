"""The model in torch is the file that its plan gives: before learning, and after it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from qtool.errors import MachineError, ModelError
from qtool.recipe import Recipe, Rule
from qtool.refine.rounding import gptq
from qtool.refine.state import State
from qtool.tune.carry import carried
from qtool.tune.losses import Loss
from qtool.tune.net import Net
from qtool.tune.operators import run
from tests.models import Array, build, normal, save, weight
from tests.tune.nets import (
    TARGET,
    WITHIN,
    assert_the_net_is_the_file,
    lessons_of,
    net_of,
    started,
)

SAMPLES = Path("sample_models")
FAST = [("digits_mlp", "w3a8"), ("cancer_logistic", "w4a4"), ("diabetes_linear", "w8a8"),
        ("wine_svm", "w4a8"), ("text_lstm", "w4"), ("text_gru", "w4k")]  # fmt: skip
SLOW = ["digits_cnn", "digits_mobile", "digits_decoder", "digits_detector", "text_transformer",
        "text_decoder", "text_lstm", "text_gru"]  # fmt: skip


def nudged(net: Net, seed: int = 0) -> Net:
    """The net with all that is learned moved a little, as learning would."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for each in net.parameters():
            if each.requires_grad:
                each.add_(0.03 * each.abs().mean() * torch.randn_like(each))
    net.settle()
    return net


@pytest.mark.parametrize(
    ("name", "scheme"),
    [*FAST, *(pytest.param(name, "w4a4", marks=pytest.mark.slow) for name in SLOW)],
)
def test_the_net_is_the_file(name: str, scheme: str) -> None:
    folder = SAMPLES / name
    job, state, data = started(folder / "model.onnx", folder / "calib", Recipe(scheme=scheme))
    assert_the_net_is_the_file(job, state, data, nudged(net_of(job, state)))
    floats = nudged(net_of(job, state, floats=True))
    assert_the_net_is_the_file(job, state, data, floats, floats=True)


LAYERS = """g (float[N,3,8,8] x) => (float[N,10] y) {
    c = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) r = Relu(c)
    d = Conv <pads = [1, 1, 1, 1]> (r, w2, b2) s = Add(d, r) q = Sigmoid(s)
    f = Flatten(q) y = Gemm <transB = 1> (f, w3, b3) }"""


def layers(folder: Path) -> tuple[Path, Path]:
    path = save(
        folder / "m.onnx", LAYERS,
        w1=weight(32, 3, 3, 3), b1=normal(32, seed=4) / 4,
        w2=weight(32, 32, 3, 3, seed=2), b2=normal(32, seed=5) / 4,
        w3=weight(10, 2048, seed=3), b3=normal(10, seed=6),
    )  # fmt: skip
    np.save(folder / "x.npy", normal(40, 3, 8, 8, seed=8))
    return path, folder / "x.npy"


HALF = """g (float[N,64] x) => (float[N,10] y) {
    h = Cast <to = 10> (x) a = MatMul(h, w1) b = Add(a, c1) r = Relu(b) m = MatMul(r, w2)
    y = Cast <to = 1> (m) }"""
DOUBLE = """g (double[N,64] x) => (double[N,10] y) {
    a = MatMul(x, w1) b = Add(a, c1) r = Relu(b) y = MatMul(r, w2) }"""


@pytest.mark.parametrize("scheme", ["w4a8", "w4", "w2k"])
@pytest.mark.parametrize(
    ("graph", "dtype", "within"),
    [
        (HALF, "float16", 2.0**-8),
        (DOUBLE.replace("double", "float16"), "float16", 2.0**-8),
        (DOUBLE, "float64", WITHIN),
    ],
    ids=["casts", "float16", "double"],
)
def test_of_models_in_other_floats(
    graph: str, dtype: str, within: float, scheme: str, tmp_path: Path
) -> None:
    weights = {"w1": weight(64, 64), "c1": normal(64, seed=4) / 4, "w2": weight(64, 10, seed=2)}
    path = save(tmp_path / "m.onnx", graph, **{n: x.astype(dtype) for n, x in weights.items()})
    np.save(tmp_path / "x.npy", normal(40, 64, seed=8))
    job, state, data = started(path, tmp_path / "x.npy", Recipe(scheme=scheme, placement="all"))
    net = nudged(net_of(job, state))
    assert_the_net_is_the_file(job, state, data, net, within=within)
    lesson = next(iter(lessons_of(job, state, data, net).batches(8)))
    Loss(net.part.ends, net.layers).of(net, lesson).backward()
    assert len(net.weights) == 3
    assert all(each.grad is not None and each.grad.any() for each in net.weights)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(scheme="w4a4", placement="all"),
        Recipe(scheme="w8a16", placement="all"),
        Recipe(scheme="wl10al200", placement="all"),
        Recipe(scheme="w4sa8s", scale="pow2", placement="all"),
        Recipe(scheme="w4ta8", range=(-0.5, 0.5), placement="all"),
        Recipe(scheme="w8a8", activation_range=(0.0, 3.0), placement="all"),
        Recipe(scheme="w8a8", mode="dynamic"),
        Recipe(scheme="w4b32"),
        Recipe(scheme="w4ub16"),
        Recipe(scheme="w3kg8"),
        Recipe(scheme="w4p"),
        Recipe(scheme="w4a8", rules=(Rule(match="op:Gemm", scheme="w2k"),)),
    ],
    ids=lambda recipe: "-".join(map(str, recipe.model_dump(exclude_defaults=True).values())),
)
def test_under_every_kind_of_scheme(recipe: Recipe, tmp_path: Path) -> None:
    job, state, data = started(*layers(tmp_path), recipe)
    assert_the_net_is_the_file(job, state, data, nudged(net_of(job, state)))


@pytest.mark.parametrize("scheme", ["w4", "w4b32", "w2k", "w4a8"])
@pytest.mark.parametrize("rules", [(), (Rule(match="op:Gather", scheme="w8"),)], ids=["", "apart"])
def test_of_a_table_that_is_the_head_too(
    scheme: str, rules: tuple[Rule, ...], tmp_path: Path
) -> None:
    path = save(
        tmp_path / "m.onnx",
        """g (int64[N,5] i) => (float[N,5,40] y) {
        e = Gather(t, i) a = MatMul(e, w) b = Add(a, c) r = Relu(b)
        u = Transpose <perm = [1, 0]> (t) y = MatMul(r, u) }""",
        t=weight(40, 64), w=weight(64, 64, seed=3), c=normal(64, seed=5),
    )  # fmt: skip
    np.save(tmp_path / "i.npy", np.random.default_rng(0).integers(0, 40, (40, 5)))
    job, state, data = started(path, tmp_path / "i.npy", Recipe(scheme=scheme, rules=rules))
    net = nudged(net_of(job, state))
    assert_the_net_is_the_file(job, state, data, net)
    again = carried(state, net, TARGET)
    assert again.plan.tied == state.plan.tied


def chosen(state: State) -> dict[tuple[str, int], Array]:
    constants = state.model.graph.initializers
    return {
        key: each.codes(constants[each.tensor].const_value.numpy())  # type: ignore[union-attr]
        for key, each in state.plan.weights.items()
    }


@pytest.mark.parametrize("scheme", ["w4a8", "w2a8", "w4b32", "w3k", "w4u"])
def test_codes_that_were_chosen_are_kept(scheme: str, tmp_path: Path) -> None:
    job, state, data = started(*layers(tmp_path), Recipe(scheme=scheme))
    refined = gptq(state)
    codes = chosen(refined)
    assert any((codes[key] != each).any() for key, each in chosen(state).items())
    net = net_of(job, refined)
    for key, found in chosen(carried(refined, net, TARGET)).items():
        np.testing.assert_array_equal(found, codes[key])
    assert_the_net_is_the_file(job, refined, data, net)


def test_of_a_weight_that_two_nodes_read_each_in_its_scheme(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        """g (float[N,64] x) => (float[N,64] y) {
        a = MatMul(x, w) b = Add(a, c) r = Relu(b) d = MatMul(r, w) e = Add(d, c)
        h = Tanh(e) y = MatMul(h, w) }""",
        w=weight(64, 64), c=normal(64, seed=5),
    )  # fmt: skip
    np.save(tmp_path / "x.npy", normal(40, 64, seed=8))
    for scheme in ("w2", "float"):
        recipe = Recipe(scheme="w4", rules=(Rule(match="d", scheme=scheme),))
        job, state, data = started(path, tmp_path / "x.npy", recipe)
        for each in (state, gptq(state)):
            assert_the_net_is_the_file(job, each, data, nudged(net_of(job, each)))


def test_an_operator_without_a_row_is_named() -> None:
    model = build("g (float[N,4] x) => (float[N,4] y) { a = Relu(x) y = my.own.Blub(a) }",
                  extra='"my.own": 1')  # fmt: skip
    with pytest.raises(ModelError, match=r"my\.own\.Blub"):
        Net(model)


def test_what_torch_cannot_compute_is_an_error_with_the_name_of_the_node() -> None:
    (node,) = build("g (float[2,3] x) => (float[2,3] y) { y = Tile(x, x) }").graph
    node.name = "here"
    with pytest.raises(ModelError, match=r"Tile of float32.*node 'here'") as raised:
        run(node, [torch.ones(2, 3), torch.tensor([-1, 2])])
    assert raised.value.why.startswith("torch: ")
    with pytest.raises(MachineError, match="no memory"):
        run(node, [torch.ones(2), torch.tensor([2**55])])


def test_lessons_fill_the_batches_that_a_model_takes(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        "g (float[4,64] x) => (float[4,64] y) { a = MatMul(x, w) r = Relu(a) y = MatMul(r, v) }",
        w=weight(64, 64), v=weight(64, 64, seed=2),
    )  # fmt: skip
    np.save(tmp_path / "x.npy", normal(42, 64, seed=8))
    job, state, data = started(path, tmp_path / "x.npy", Recipe(scheme="w4"))
    net = net_of(job, state)
    lessons = lessons_of(job, state, data, net)
    assert len(lessons) == 40
    assert {len(each.plain) for each in lessons.batches(32)} == {4}
    assert_the_net_is_the_file(job, state, data, net)


def test_what_an_add_has_that_is_no_bias_is_not_learned(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        """g (float[N,16] x) => (float[N,16] y) {
        a = MatMul(x, w) m = ReduceMean <axes = [1]> (a) s = Mul(m, m) e = Add(s, eps)
        r = Sqrt(e) d = Div(a, r) k = Add(d, mask) p = Softmax(k) o = Mul(p, a)
        b = Add(o, bias) y = MatMul(b, v) }""",
        opset=17, w=weight(16, 16), v=weight(16, 16, seed=2), bias=normal(16, seed=3),
        eps=np.array([1e-5], np.float32),
        mask=np.where(np.arange(16) % 5, 0, np.finfo(np.float32).min).astype(np.float32),
    )  # fmt: skip
    np.save(tmp_path / "x.npy", normal(40, 16, seed=8))
    job, state, data = started(path, tmp_path / "x.npy", Recipe(scheme="w4"))
    net = net_of(job, state)
    assert set(net.learned_constants()) == {"w", "v", "bias"}
    assert_the_net_is_the_file(job, state, data, nudged(net))
    of_one = save(tmp_path / "one.onnx",
                  "g (float[N,16] x) => (float[N,1] y) { a = MatMul(x, w) y = Add(a, c) }",
                  w=weight(16, 1), c=normal(1))  # fmt: skip
    job, state, _ = started(of_one, tmp_path / "x.npy", Recipe(scheme="w4"))
    assert len(net_of(job, state).learned_constants()) == 2
