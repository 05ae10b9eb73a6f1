"""Layers of models that were folded, equalized, masked, cut short, or written by other tools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from qtool import model as model_files
from qtool.compare.layers import compare_layers
from qtool.data import open_dataset
from qtool.numeric.metrics import sqnr_db
from qtool.passes import prepare
from qtool.runtime import Session
from tests.compare.layered import INF, assert_errors, models, relu, rounded, table
from tests.data.stateful import GRAPH as RECURRENT
from tests.data.stateful import files, loop, recurrent
from tests.models import normal, save, weight

X = normal(40, 8)
W1, W2 = weight(8, 6), weight(6, 4, seed=2)
GAIN = np.array([0.1, 8, 1, 30, 0.5, 2], np.float32)
MLP = """g (float[N,8] x) => (float[N,4] y) {
    [first] h = MatMul(x, W1)
    [act] r = Relu(h)
    [second] y = MatMul(r, W2)
}"""


def test_scaled_channels_are_compared_unscaled(tmp_path: Path) -> None:
    graph = MLP.replace("W1", "S1").replace("W2", "S2")
    constants = {"W1": W1, "W2": W2, "S1": W1 * GAIN, "S2": W2 / GAIN[:, None]}
    found = table(models(tmp_path, (MLP, graph), constants), X)
    assert {name for name, row in found.items() if row.rescaled} == {"h", "r"}
    assert all(row.own_db > 100 and row.sqnr_db > 100 for row in found.values())


def test_errors_of_scaled_channels(tmp_path: Path) -> None:
    """Quantized as it is scaled: the step is what it is in the reference's unit."""
    graph = """g (float[N,8] x) => (float[N,4] y) {
        [first] h = MatMul(x, S1)
        [act] r = Relu(h)
        rq = QuantizeLinear(r, s, z)
        rd = DequantizeLinear(rq, s, z)
        [second] y = MatMul(rd, S2)
    }"""
    gain = np.array([0.4, 4, 1, 8, 0.5, 2], np.float32)
    constants = {"W1": W1, "W2": W2, "S1": W1 * gain, "S2": W2 / gain[:, None]}
    constants |= {"s": np.float32(0.07), "z": np.uint8(0)}
    found = table(models(tmp_path, (MLP, graph), constants), X)
    r = relu(X @ W1)
    expected = rounded(r * gain, 0.07) / gain
    assert found["r"].rescaled
    assert found["r"].own_db == pytest.approx(sqnr_db(r, expected), abs=0.01)
    expected_share = float((r * gain > 17.885).mean())
    assert 0 < expected_share == pytest.approx(found["r"].clipped, abs=0.005)
    assert found["y"].own_db > 100 > found["y"].sqnr_db


def test_an_error_that_looks_like_scaling(tmp_path: Path) -> None:
    """The reader does not undo it, so it is an error, and stays one behind the ReLU."""
    pair = models(tmp_path, (MLP, MLP.replace("W1", "S1")), {"W1": W1, "W2": W2, "S1": W1 * GAIN})
    found = table(pair, X)
    assert not any(row.rescaled for row in found.values())
    h = X @ W1
    assert_errors(found["h"], h, h * GAIN)
    assert_errors(found["y"], relu(h) @ W2, relu(h * GAIN) @ W2, exact=relu(h) @ W2)


CONV = """g (float[N,3,6,6] x) => (float[N,4] y) {
    [conv] c = Conv<pads = [1, 1, 1, 1]>(x, w)
    [norm] b = BatchNormalization(c, gamma, beta, mean, var)
    [act] r = Relu(b)
    [pool] p = GlobalAveragePool(r)
    [flat] f = Flatten(p)
    [last] y = MatMul(f, v)
}"""
IMAGES = normal(6, 3, 6, 6)
NORM = {
    "w": weight(5, 3, 3, 3),
    "v": weight(5, 4, seed=3),
    "gamma": np.array([1, 2, 0.5, 1, 3], np.float32),
    "beta": np.array([1, -1, 2, 0, 0.5], np.float32),
    "mean": np.array([0.1, 0.2, -0.3, 0, 1], np.float32),
    "var": np.array([1, 0.5, 2, 0.1, 1], np.float32),
}


def test_a_folded_norm(tmp_path: Path) -> None:
    """The fold leaves the convolution's name to what the norm gave."""
    reference = save(tmp_path / "reference.onnx", CONV, **NORM)
    folded = prepare(model_files.load(reference))
    assert "b" not in {v.name for node in folded.graph for v in node.outputs}
    candidate = tmp_path / "candidate.onnx"
    candidate.write_bytes(model_files.serialize(folded))
    found = table((reference, candidate), IMAGES)
    assert set(found) == {"b", "r", "p", "f", "y"}
    assert all(row.own_db > 100 for row in found.values())
    assert (found["b"].node, found["b"].op_type) == ("conv", "Conv")


def test_a_norm_under_another_name(tmp_path: Path) -> None:
    """Then the convolution's name means what it says."""
    graph = CONV.replace("(x, w)", "(x, bent)").replace("] b =", "] other =")
    graph = graph.replace("Relu(b)", "Relu(other)")
    pair = models(tmp_path, (CONV, graph), NORM | {"bent": NORM["w"] + 0.02 * normal(5, 3, 3, 3)})
    found = table(pair, IMAGES)
    assert set(found) == {"c", "r", "p", "f", "y"}
    assert 10 < found["c"].own_db < 40 and found["r"].own_db == INF


MASKED = """g (float[N,5,8] x, int64[N,5] mask) => (float[N,5,8] y) <float low = {-3.4e38}> {
    s = MatMul(x, W)
    m = Cast<to = 1>(mask)
    n = Unsqueeze(m, axis)
    inverse = Sub(one, n)
    far = Mul(inverse, low)
    masked = Add(s, far)
    y = Softmax<axis = 1>(masked)
}"""
MASK = {"W": weight(8, 8), "one": np.float32(1), "axis": np.array([2])}


def test_masks_count_for_nothing(tmp_path: Path) -> None:
    bent = MASK["W"] + 0.02 * normal(8, 8, seed=7)
    pair = models(tmp_path, (MASKED, MASKED.replace("W)", "BENT)")), MASK | {"BENT": bent})
    x, mask = normal(12, 5, 8), np.ones((12, 5), np.int64)
    mask[4:, 3:] = 0  # at first there is nothing masked
    folder = tmp_path / "data"
    folder.mkdir()
    np.savez(folder / "all.npz", x=x, mask=mask)
    data = open_dataset(folder, Session(pair[0], threads=1).signature)
    found = {row.tensor: row for row in compare_layers(*pair, data, threads=1).errors}
    kept = mask.astype(bool)
    s, wrong = x @ MASK["W"], x @ bent
    assert_errors(found["s"], s, wrong)
    assert found["masked"].sqnr_db == pytest.approx(sqnr_db(s[kept], wrong[kept]), abs=1e-3)
    assert found["masked"].own_db == INF
    assert found["masked"].values == kept.sum() * 8
    assert found["far"].sqnr_db == found["far"].own_db == INF
    assert np.isfinite(found["y"].sqnr_db) and found["y"].values == x.size


def test_nan_in_the_candidate_is_infinitely_wrong(tmp_path: Path) -> None:
    reference = MLP.replace("r = Relu(h)", "a = Mul(h, zero) r = Add(h, a)")
    graph = reference.replace("a = Mul(h", "l = Log(h) a = Mul(l")
    constants = {"W1": W1, "W2": W2, "zero": np.float32(0)}
    found = table(models(tmp_path, (reference, graph), constants), X)
    assert found["h"].sqnr_db == INF
    assert found["a"].sqnr_db == found["a"].own_db == -INF
    assert found["a"].inherited_db == INF, "it came from nowhere else"
    for name in ("r", "y"):
        assert found[name].sqnr_db == found[name].inherited_db == -INF
        assert found[name].own_db == INF


def test_nan_in_the_reference_is_left_out(tmp_path: Path) -> None:
    reference = "g (float[N,8] x) => (float[N,6] y) { l = Log(x) y = MatMul(l, W1) }"
    bent = reference.replace("l = Log(x)", "k = Log(x) l = Mul(k, more)")
    pair = models(tmp_path, (reference, bent), {"W1": W1, "more": np.float32(1.01)})
    found = table(pair, X)
    with np.errstate(invalid="ignore"):
        logs = np.log(X)
    assert found["l"].values == np.isfinite(logs).sum()
    assert found["l"].sqnr_db == pytest.approx(40, abs=0.01)


def test_each_model_carries_its_own_states(tmp_path: Path) -> None:
    weaker = RECURRENT.replace("c = Add(a, b)", "w = Mul(b, weak)\n c = Add(a, w)").replace(
        "float tenth = {0.1}", "float tenth = {0.1}, float weak = {0.8}"
    )
    pair = recurrent(tmp_path), recurrent(tmp_path, weaker, "weaker")
    data = open_dataset(files(tmp_path / "data"), Session(pair[0]).signature)
    found = {row.tensor: row for row in compare_layers(*pair, data, threads=1).errors}
    left, right = (loop(Session(path, threads=1)) for path in pair)
    for name in ("y", "state_out"):
        values = (np.concatenate([each[name] for each in side]) for side in (left, right))
        assert found[name].sqnr_db == pytest.approx(sqnr_db(*values), abs=1e-3)
    # The product with the weaker state is wrong by a fifth wherever there is a state.
    assert found["c"].own_db < found["c"].inherited_db
    assert found["y"].own_db > 100 and found["b"].own_db > 100
    assert found["state_in"].own_db == INF and found["state_in"].node == ""
    assert found["state_in"].sqnr_db == found["state_in"].inherited_db < 40


def test_floats_of_another_width(tmp_path: Path) -> None:
    graph = """g (float16[N,8] x) => (float16[N,4] y) {
        [first] h = MatMul(x, H1)
        [act] r = Relu(h)
        wide = Cast<to = 1>(r)
        rq = QuantizeLinear(wide, s, z)
        rd = DequantizeLinear(rq, s, z)
        r_half = Cast<to = 10>(rd)
        [second] y = MatMul(r_half, H2)
    }"""
    constants = {"W1": W1, "W2": W2, "H1": W1.astype(np.float16), "H2": W2.astype(np.float16)}
    constants |= {"s": np.float32(0.05), "z": np.uint8(0)}
    found = table(models(tmp_path, (MLP, graph), constants), X)
    assert set(found) == {"x", "h", "r", "y"}
    assert found["x"].own_db == pytest.approx(sqnr_db(X, X.astype(np.float16)), abs=0.01)
    r = relu(X @ W1)
    assert found["r"].own_db == pytest.approx(sqnr_db(r, rounded(r, 0.05)), abs=0.1)
    assert found["r"].clipped == 0
    assert found["y"].own_db > 60 > found["y"].sqnr_db


def test_a_double_keeps_its_digits(tmp_path: Path) -> None:
    graph = "g (double[N,8] x) => (double[N,8] y) { h = Tanh(x) y = Mul(h, one) }"
    constants = {"one": np.float64(3), "more": np.float64(3 + 3e-9)}
    pair = models(tmp_path, (graph, graph.replace("one", "more")), constants)
    found = table(pair, X.astype(np.float64))
    assert found["y"].own_db == pytest.approx(180, abs=0.01)


def test_bodies_read_exact_values_too(tmp_path: Path) -> None:
    graph = """g (float[N,8] x) => (float[N,6] y) {
        [first] h = MatMul(x, W1)
        [top] top = ReduceMax<keepdims = 0>(x)
        [ask] yes = Greater(top, low)
        [choice] r = If(yes)
            <then_branch = a () => (float[N,6] p) { p = Relu(h) },
             else_branch = b () => (float[N,6] q) { q = Neg(h) }>
        [last] y = Tanh(r)
    }"""
    bent = W1 + 0.02 * normal(8, 6, seed=5)
    constants = {"W1": W1, "BENT": bent, "low": np.float32(0)}
    found = table(models(tmp_path, (graph, graph.replace("W1", "BENT")), constants), X)
    r = np.concatenate([relu(row @ W1) if row.max() > 0 else -(row @ W1) for row in X[:, None]])
    q = np.concatenate([relu(row @ bent) if row.max() > 0 else -(row @ bent) for row in X[:, None]])
    assert_errors(found["r"], r, q, exact=r)
    assert found["r"].own_db == INF and found["y"].own_db == INF
    assert not {"p", "q"} & set(found)


def test_functions_are_opened(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 21, "local": 1]>
    g (float[N,8] x) => (float[N,8] y)
    { h = local.twice(x) y = Tanh(h) }
    <domain: "local", opset_import: ["": 21]>
    twice (a) => (c) { b = Add(a, a) c = Mul(b, b) }"""
    paths = []
    for name, body in (("reference", text), ("candidate", text.replace("Add(a, a)", "Sub(a, a)"))):
        paths.append(tmp_path / f"{name}.onnx")
        paths[-1].write_bytes(onnx.parser.parse_model(body).SerializeToString())
    found = table((paths[0], paths[1]), X)
    assert found["h"].inherited_db < 1 and found["y"].own_db == INF
    assert len(found) == 3, "what is in the function has a row too"


QOPERATOR = """g (float[N,8] x) => (float[N,4] y) {
    [q] x_quantized = QuantizeLinear(x, sx, zx)
    [first_quant] h_quantized = QLinearMatMul(x_quantized, sx, zx, B1, sb, zb, sh, zh)
    [second_quant] y_quantized = QLinearMatMul(h_quantized, sh, zh, B2, sb, zb, sy, zy)
    [d] y = DequantizeLinear(y_quantized, sy, zy)
}"""


def test_integer_operators(tmp_path: Path) -> None:
    """As onnxruntime's QOperator format has them: Relu is gone into the quantizer."""
    codes = [np.clip(np.rint(w / 0.01), -128, 127).astype(np.int8) for w in (W1, W2)]
    constants = {"W1": W1, "W2": W2, "B1": codes[0], "B2": codes[1]}
    constants |= {n: np.float32(s) for n, s in (("sx", 0.03), ("sh", 0.02), ("sy", 0.02))}
    constants |= {"zx": np.uint8(128), "zh": np.uint8(0), "zy": np.uint8(120)}
    constants |= {"sb": np.float32(0.01), "zb": np.int8(0)}
    found = table(models(tmp_path, (MLP, QOPERATOR), constants), X)
    assert set(found) == {"x", "r", "y"}, "h_quantized holds what Relu gives"
    b1, b2 = (each * np.float32(0.01) for each in codes)
    exact, xd = relu(X @ W1), rounded(X, 0.03, 128)
    rd = rounded(xd @ b1, 0.02)
    # Integers read integers: what is exact is rounded on its way in.
    assert_errors(found["r"], exact, rd, exact=rounded(xd @ b1, 0.02))
    own = rounded(rounded(exact, 0.02) @ b2, 0.02, 120)
    # The integer kernel breaks ties in its own way.
    assert found["y"].own_db == pytest.approx(sqnr_db(exact @ W2, own), abs=0.2)
    y = rounded(rd @ b2, 0.02, 120)
    assert found["y"].sqnr_db == pytest.approx(sqnr_db(exact @ W2, y), abs=0.2)
    assert found["r"].clipped == pytest.approx(float((exact > 5.11).mean()), abs=1e-6)
    assert (found["r"].node, found["y"].node) == ("first", "second")
