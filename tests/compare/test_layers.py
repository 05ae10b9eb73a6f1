"""Layer by layer, where the right answer is known: own error, inherited error, clipping."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qtool.compare.layers import compare_layers
from qtool.errors import DataError, ModelError
from tests.compare.layered import INF, assert_errors, dataset, models, relu, rounded, table
from tests.models import normal, save, weight

TWO = """g (float[N,8] x) => (float[N,4] y) {
    [first] h = MatMul(x, W1)
    [act] r = Relu(h)
    [second] y = MatMul(r, W2)
}"""
W1, W2 = weight(8, 6).copy(), weight(6, 4, seed=2)
X = normal(40, 8)
BENT1, BENT2 = W1 + 0.02 * normal(8, 6, seed=5), W2 + 0.02 * normal(6, 4, seed=6)
CONSTANTS = {"W1": W1, "W2": W2, "BENT1": BENT1, "BENT2": BENT2}


def test_an_error_in_one_layer_is_its_own_and_inherited_behind_it(tmp_path: Path) -> None:
    pair = models(tmp_path, (TWO, TWO.replace("W1", "BENT1")), CONSTANTS)
    found = table(pair, X)
    assert next(iter(found)) == "h"
    assert set(found) == {"h", "r", "y"}, "an input that is taken as it is has no row"
    h, bent = X @ W1, X @ BENT1
    assert_errors(found["h"], h, bent)
    assert_errors(found["r"], relu(h), relu(bent), exact=relu(h))
    assert_errors(found["y"], relu(h) @ W2, relu(bent) @ W2, exact=relu(h) @ W2)
    assert found["h"].inherited_db == INF
    assert found["r"].own_db == found["y"].own_db == INF, "the same kernels, to the last bit"
    nodes = {name: (row.node, row.op_type) for name, row in found.items()}
    assert nodes == {"h": ("first", "MatMul"), "r": ("act", "Relu"), "y": ("second", "MatMul")}
    assert all(row.clipped is None and not row.rescaled for row in found.values())


def test_two_errors_are_told_apart(tmp_path: Path) -> None:
    graph = TWO.replace("W1", "BENT1").replace("W2", "BENT2")
    found = table(models(tmp_path, (TWO, graph), CONSTANTS), X)
    exact, bent = relu(X @ W1), relu(X @ BENT1)
    assert_errors(found["y"], exact @ W2, bent @ BENT2, exact=exact @ BENT2)


@pytest.mark.parametrize("batch_size", [3, 40])
def test_batches_change_nothing(batch_size: int, tmp_path: Path) -> None:
    graph = TWO.replace("W1", "BENT1").replace("W2", "BENT2")
    pair = models(tmp_path, (TWO, graph), CONSTANTS)
    one, many = table(pair, X), table(pair, X, batch_size=batch_size)
    for name, row in one.items():
        assert many[name].own_db == pytest.approx(row.own_db, abs=1e-3)
        assert many[name].sqnr_db == pytest.approx(row.sqnr_db, abs=1e-3)
        assert many[name].values == row.values


def test_a_model_and_itself(tmp_path: Path) -> None:
    found = table(models(tmp_path, (TWO, TWO), CONSTANTS), X)
    assert {(r.sqnr_db, r.own_db, r.inherited_db) for r in found.values()} == {(INF, INF, INF)}


def test_progress_counts_samples(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    pair = models(tmp_path, (TWO, TWO), CONSTANTS)
    table(pair, X, batch_size=16, progress=lambda *step: seen.append(step))
    assert seen == [(16, 40), (32, 40), (40, 40)]


# x, h and y behind Q and DQ; y_float and y as our rewrite writes an output.
QDQ = """g (float[N,8] x) => (float[N,4] y) {
    xq = QuantizeLinear(x, sx, zx)
    xd = DequantizeLinear(xq, sx, zx)
    h = MatMul(xd, W1)
    hq = QuantizeLinear(h, sh, zh)
    hd = DequantizeLinear(hq, sh, zh)
    r = Relu(hd)
    y_float = MatMul(r, W2)
    yq = QuantizeLinear(y_float, sy, zy)
    y = DequantizeLinear(yq, sy, zy)
}"""
STEPS = {
    **{name: np.float32(s) for name, s in (("sx", 0.03), ("sh", 0.01), ("sy", 0.02))},
    **{name: np.uint8(z) for name, z in (("zx", 128), ("zh", 100), ("zy", 120))},
}


def test_what_readers_get_is_compared(tmp_path: Path) -> None:
    found = table(models(tmp_path, (TWO, QDQ), CONSTANTS | STEPS), X)
    assert set(found) == {"x", "h", "r", "y"}
    h, xd = X @ W1, rounded(X, 0.03, 128)
    hd = rounded(xd @ W1, 0.01, 100)
    assert_errors(found["x"], X, xd)
    assert_errors(found["h"], h, hd, exact=rounded(h, 0.01, 100))
    assert_errors(found["r"], relu(h), relu(hd), exact=relu(h))
    y = rounded(relu(hd) @ W2, 0.02, 120)
    assert_errors(found["y"], relu(h) @ W2, y, exact=rounded(relu(h) @ W2, 0.02, 120))
    assert (found["x"].node, found["x"].op_type) == ("", "")


def test_the_clipped_share(tmp_path: Path) -> None:
    found = table(models(tmp_path, (TWO, QDQ), CONSTANTS | STEPS), X)
    h, y = X @ W1, relu(X @ W1) @ W2
    for name, value, scale, zero in (
        ("x", X, 0.03, 128), ("h", h, 0.01, 100), ("y", y, 0.02, 120),
    ):  # fmt: skip
        low, high = (-zero - 0.5) * scale, (255 - zero + 0.5) * scale
        expected = float(((value < low) | (value > high)).mean())
        assert found[name].clipped == pytest.approx(expected, abs=1e-6), name
    assert found["h"].clipped and found["h"].clipped > 0.1
    assert found["r"].clipped is None


def test_a_channel_each(tmp_path: Path) -> None:
    graph = TWO.replace("r = Relu(h)", """hq = QuantizeLinear<axis = 1>(h, s, z)
        hd = DequantizeLinear<axis = 1>(hq, s, z)
        r = Relu(hd)""")  # fmt: skip
    s, z = (
        np.array([0.01, 0.02, 0.03, 0.01, 0.02, 0.03], np.float32),
        np.array([0, 1, 2, 3, 4, 5], np.int8),
    )
    found = table(models(tmp_path, (TWO, graph), CONSTANTS | {"s": s, "z": z}), X)
    h = X @ W1
    columns = [rounded(h[:, i], s[i], z[i], -128, 127) for i in range(6)]
    assert_errors(found["h"], h, np.stack(columns, axis=1))
    low, high = (-128.5 - z) * s, (127.5 - z) * s
    assert found["h"].clipped == pytest.approx(float(((h < low) | (h > high)).mean()), abs=1e-6)


def test_several_quantizers_of_one_tensor(tmp_path: Path) -> None:
    reference = "g (float[N,8] x) => (float[N,6] y, float[N,6] z) {" + """
        h = Tanh(x)
        y = MatMul(h, W1)
        z = MatMul(h, BENT1) }"""  # fmt: skip
    candidate = "g (float[N,8] x) => (float[N,6] y, float[N,6] z) {" + """
        h = Tanh(x)
        a = QuantizeLinear(h, sh, zh)
        b = DequantizeLinear(a, sh, zh)
        c = QuantizeLinear(h, sx, zx)
        d = DequantizeLinear(c, sx, zx)
        y = MatMul(b, W1)
        z = MatMul(d, BENT1) }"""  # fmt: skip
    found = table(models(tmp_path, (reference, candidate), CONSTANTS | STEPS), X)
    h = np.tanh(X)
    assert_errors(found["h"], h, rounded(h, 0.01, 100))
    assert found["y"].own_db > 100 and found["z"].own_db > 100, "both readers got exact values"
    assert_errors(found["z"], h @ BENT1, rounded(h, 0.03, 128) @ BENT1, exact=h @ BENT1)


def test_the_layer_that_wants_integers_is_named(tmp_path: Path) -> None:
    """Excluding a node of floats would change nothing where the next one rounds what it reads."""
    reference = """g (float[N,8] x) => (float[N,4] y) {
        [wave] t = Tanh(x)
        [layer] h = MatMul(t, W1)
        [last] y = MatMul(h, W2) }"""
    candidate = """g (float[N,8] x) => (float[N,4] y) {
        [wave] t = Tanh(x)
        tq = QuantizeLinear(t, sh, zh)
        td = DequantizeLinear(tq, sh, zh)
        [layer] h = MatMul(td, W1)
        [last] y = MatMul(h, W2) }"""
    found = table(models(tmp_path, (reference, candidate), CONSTANTS | STEPS), X)
    assert {name: row.node for name, row in found.items()} == {
        "t": "layer", "h": "layer", "y": "last",
    }  # fmt: skip


def test_moved_values_are_not_rounded_again(tmp_path: Path) -> None:
    reference = """g (float[N,8] x) => (float[M,4] y) {
        h = Reshape(x, shape)
        y = MatMul(h, W2) }"""
    candidate = """g (float[N,8] x) => (float[M,4] y) {
        xq = QuantizeLinear(x, sx, zx)
        xd = DequantizeLinear(xq, sx, zx)
        h = Reshape(xd, shape)
        hq = QuantizeLinear(h, SCALE, zx)
        hd = DequantizeLinear(hq, SCALE, zx)
        y = MatMul(hd, W2) }"""
    constants = CONSTANTS | STEPS | {"shape": np.array([-1, 2]), "W2": weight(2, 4)}
    pair = models(tmp_path, (reference, candidate.replace("SCALE", "sx")), constants)
    found = table(pair, X)
    assert found["h"].own_db == INF
    assert found["h"].sqnr_db == found["h"].inherited_db == pytest.approx(found["x"].own_db)
    other = models(tmp_path, (reference, candidate.replace("SCALE", "sy")), constants)
    assert table(other, X)["h"].own_db < 60, "another scale rounds"


def test_unlike_models(tmp_path: Path) -> None:
    other = """g (float[N,8] x) => (float[N,4] y) {
        a = MatMul(x, BENT1)
        b = Relu(a)
        y = MatMul(b, BENT2) }"""
    pair = models(tmp_path, (TWO, other), CONSTANTS)
    found = compare_layers(*pair, dataset(pair[0], X), threads=1)
    (row,) = found.errors
    assert row.tensor == "y"
    assert_errors(row, relu(X @ W1) @ W2, relu(X @ BENT1) @ BENT2)
    assert found.unmatched == ("h", "r")


def test_the_same_name_for_another_shape(tmp_path: Path) -> None:
    other = """g (float[N,8] x) => (float[N,4] y) {
        h = MatMul(x, WIDE)
        r = Relu(h)
        y = MatMul(r, TALL) }"""
    constants = CONSTANTS | {"WIDE": weight(8, 7), "TALL": weight(7, 4)}
    found = table(models(tmp_path, (TWO, other), constants), X)
    assert list(found) == ["y"]
    assert_errors(found["y"], relu(X @ W1) @ W2, relu(X @ weight(8, 7)) @ weight(7, 4))


def test_nothing_in_common(tmp_path: Path) -> None:
    graph = "g (float[N,8] x) => (float[A,B] y) { y = Transpose<perm = [1, 0]>(x) }"
    pair = models(tmp_path, (graph, graph.replace("[1, 0]", "[0, 1]")), {})
    found = compare_layers(*pair, dataset(pair[0], X), threads=1)
    assert found.errors == () and found.unmatched == ("y",)


def test_what_is_no_activation_has_no_row(tmp_path: Path) -> None:
    graph = """g (float[N,8] x) => (float[N,4] y, int64[N] best) {
        scaled = Mul(W1, W1)
        h = MatMul(x, scaled)
        over = Greater(h, h)
        y = MatMul(h, W2)
        best = ArgMax<axis = 1, keepdims = 0>(y) }"""
    found = table(models(tmp_path, (graph, graph), CONSTANTS), X)
    assert set(found) == {"h", "y"}


def test_opsets_meet(tmp_path: Path) -> None:
    squeezed = "g (float[N,8] x) => (float[N,8] y) { u = Unsqueeze<axes = [0]>(x) h = Tanh(u)"
    old = save(tmp_path / "old.onnx", squeezed + " y = Squeeze<axes = [0]>(h) }", opset=11)
    new = save(
        tmp_path / "new.onnx",
        "g (float[N,8] x) => (float[N,8] y) { u = Unsqueeze(x, axes) h = Tanh(u) "
        "d = Add(h, small) y = Squeeze(d, axes) }",
        axes=np.array([0]),
        small=np.full(8, 0.01, np.float32),
    )
    found = table((old, new), X)
    assert_errors(found["y"], np.tanh(X), np.tanh(X) + np.float32(0.01))
    assert found["h"].sqnr_db == INF


def test_opsets_that_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: object, wanted: int) -> None:
        raise ModelError(f"cannot raise opset 21 to {wanted}", "no adapter")

    monkeypatch.setattr("qtool.model.raise_opset", refuse)
    with pytest.raises(ModelError, match="layers cannot be compared") as caught:
        table(models(tmp_path, (TWO, TWO), CONSTANTS), X)
    assert "no adapter" in caught.value.why and "at opset 21" in caught.value.fix


def test_no_samples(tmp_path: Path) -> None:
    pair = models(tmp_path, (TWO, TWO), CONSTANTS)
    data = dataset(pair[0], X)
    with pytest.raises(DataError, match="no samples"):
        compare_layers(*pair, data.take([]), threads=1)
