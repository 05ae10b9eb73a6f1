"""Dynamic quantization of an LSTM: the runtime's own operator, with all that an LSTM may have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from qtool import workflow
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.models import Array, as_run, normal, operators, save, sqnr, weight
from tests.recurrent import BATCH, BOTH, STEPS, WIDTH, saved, worst

OWN = "DynamicQuantizeLSTM"


def made(path: Path, scheme: str = "w8a8", **more: Any) -> workflow.Quantized:
    recipe = Recipe(scheme=scheme, mode="dynamic", contrib=True, algorithms=())
    return workflow.build(
        workflow.open_job(path, recipe, load_target("cpu"), threads=1, **more), None
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"direction": "reverse", "given": "b"},
        {"direction": BOTH, "given": "b"},
        {"given": "bs"},
        {"given": "hc"},
        {"given": "c"},
        {"given": "p"},
        {"direction": BOTH, "given": "bshcp", "outputs": "y, h, c"},
        {"attributes": "clip=0.4", "given": "b"},
        {"attributes": "input_forget=1"},
        {"attributes": 'activations=["HardSigmoid","Elu","Tanh"], activation_alpha=[0.3,0.7]'},
        {"outputs": "y"},
        {"outputs": " , h"},
        {"outputs": " , , c"},
        {"attributes": "layout=0"},
    ],
    ids=str,
)
def test_whatever_an_lstm_may_have(options: dict[str, Any], tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", **options)
    found = made(path)
    assert operators(as_run(found.data, tmp_path)) == [OWN]
    assert {w.encoding for w in found.plan.weights.values()} == {"gates"}
    assert not found.plan.notes
    assert Session(found.data).signature == Session(path).signature
    assert worst(path, found.data) > 37


@pytest.mark.parametrize(
    ("scheme", "scales", "least"),
    [
        ("w8a8", (2, 80), 38),
        ("w8ta8", (2,), 35),
        ("w8ua8", (2,), 35),
        ("w8uta8", (2,), 35),
        ("w6a8", (2, 80), 31),
        ("wl10a8", (2, 80), 16),
        ("w4a8", (2, 80), 19),
        ("w4ua8", (2,), 15),
        ("w2a8", (2, 80), 6),
    ],
)
def test_each_scheme_becomes_bytes_and_what_scales_the_kernel_takes(
    scheme: str, scales: tuple[int, ...], least: int, tmp_path: Path
) -> None:
    path = saved(tmp_path / "m.onnx", direction=BOTH, given="b", outputs="y, h, c")
    found = made(path, scheme)
    (node,) = (ran := as_run(found.data, tmp_path)).graph.node
    assert node.op_type == OWN
    constants = {each.name: each for each in ran.graph.initializer}
    for position in (1, 2):
        codes, scale, zero = (constants[node.input[i]] for i in (position, *_PARAMS[position]))
        assert codes.data_type == zero.data_type
        assert codes.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
        assert tuple(scale.dims) == tuple(zero.dims) == scales
    assert worst(path, found.data) > least


_PARAMS = {1: (8, 9), 2: (10, 11)}

IF = """g (bool c, float[T,3,12] x) => (float[1,3,20] h) {
    h = If(c) <
        then_branch = t () => (a) { , a = LSTM<hidden_size=20>(x, w, r) },
        else_branch = e () => (z) { , z = LSTM<hidden_size=20>(x, v, r) }
    > }"""
LOOP = """g (int64 n, float[7,3,12] x, float[1,3,20] h) => (float[1,3,20] last) {
    last = Loop(n, , h) <
        body = b (int64 i, bool go, float[1,3,20] u) => (again, s) {
            again = Identity(go) , s = LSTM<hidden_size=20>(x, w, r, , , u) }
    > }"""
X = normal(STEPS, BATCH, WIDTH, seed=9)
BODIES: dict[str, tuple[str, list[dict[str, Array]]]] = {
    "If": (IF, [{"x": X, "c": np.array(c)} for c in (True, False)]),
    "Loop": (LOOP, [{"x": X, "n": np.array(2), "h": normal(1, 3, 20) / 4}]),
}
WEIGHTS: dict[str, Array] = {
    "w": weight(80, 12)[None], "r": weight(80, 20, seed=2)[None], "v": weight(80, 12, seed=7)[None],
}  # fmt: skip


@pytest.mark.parametrize(("scheme", "least"), [("w8a8", 36), ("w4a8", 17)])
@pytest.mark.parametrize("body", BODIES)
def test_in_bodies(body: str, scheme: str, least: int, tmp_path: Path) -> None:
    graph, choices = BODIES[body]
    used = {name: each for name, each in WEIGHTS.items() if f"x, {name}" in graph or name == "r"}
    path = save(tmp_path / "m.onnx", graph, **used)
    found = made(path, scheme)
    nodes = ir.from_proto(onnx.load_from_string(found.data)).graph.all_nodes()
    assert [node.op_type for node in nodes].count(OWN) == len(used) - 1
    for feeds in choices:
        before, after = Session(path).run(feeds), Session(found.data).run(feeds)
        for name, value in before.items():
            assert sqnr(value, after[name]) > least


STACK = """g (@[T,3,12] x) => (@[1,3,20] h) {
    y = LSTM<hidden_size=20>(x, w, r, b) s = Squeeze(y, one)
    , h = LSTM<hidden_size=20>(s, v, r) }"""


def test_a_stack_in_float16_computes_in_float32(tmp_path: Path) -> None:
    more = {"v": weight(80, 20, seed=7)[None], "b": normal(1, 160, seed=3) / 4}
    half = {name: each.astype(np.float16) for name, each in (WEIGHTS | more).items()}
    wide = {name: each.astype(np.float32) for name, each in half.items()}
    one = np.array([1])
    path = save(tmp_path / "m.onnx", STACK.replace("@", "float16"), one=one, **half)
    reference = save(tmp_path / "wide.onnx", STACK.replace("@", "float"), one=one, **wide)
    found = made(path)
    written = onnx.load_from_string(found.data)
    assert operators(written).count(OWN) == 2
    codes = {node.input[2] for node in written.graph.node if node.op_type == OWN}
    assert len(codes) == 1  # of equal weights
    short = X.astype(np.float16)
    expected = Session(reference).run({"x": short.astype(np.float32)})["h"]
    assert sqnr(expected, Session(found.data).run({"x": short})["h"]) > 36


@pytest.mark.parametrize("scheme", ["w8a8", "w8ua8", "w4a8"])
def test_it_can_be_quantized_again(scheme: str, tmp_path: Path) -> None:
    given = {"direction": BOTH, "given": "bshcp", "outputs": "y, h, c"}
    first = made(saved(tmp_path / "m.onnx", **given), scheme)
    path = tmp_path / "q.onnx"
    path.write_bytes(first.data)
    again = made(path, requantize=True)
    assert operators(onnx.load_from_string(again.data)) == [OWN]
    assert worst(path, again.data) > 38


def test_two_runs_are_equal_and_say_which_operators_they_need(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", direction=BOTH, given="bshcp")
    one, other = made(path).data, made(path).data
    assert one == other
    written = onnx.load_from_string(one)
    assert {each.domain: each.version for each in written.opset_import}["com.microsoft"] == 1
    (node,) = written.graph.node
    assert node.input[9] == node.input[11]  # all zero points are 0
    assert len(one) < 0.5 * path.stat().st_size
