"""Products run in integers however many read them, whatever they hold; weights are not dequantized
on every run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qtool.recipe import Recipe
from qtool.runtime import Session
from tests.cases import quantized
from tests.models import Array, as_run, normal, operators, save, sqnr, weight

C: dict[str, Array] = {
    "w": weight(16, 16), "v": weight(16, 16, seed=2), "b": normal(16) / 4,
    "low": np.float32(0), "high": np.float32(6), "to": np.array([-1, 16]),
    "half": np.array([-1, 8]), "u": weight(8, 8, seed=3), "s": weight(4, 6, 6, seed=4),
    "k": weight(4, 4, 1, 1, seed=5), "far": np.full(16, -100, np.float32),
}  # fmt: skip


def through(nodes: str, folder: Path, x: str = "N,16", outputs: str = "float y") -> list[str]:
    """The kernels of the quantized model, which must be near the float one."""
    words = set(nodes.replace("(", " ").replace(")", " ").replace(",", " ").split())
    used = {name: value for name, value in C.items() if name in words}
    path = save(folder / "m.onnx", f"g (float[{x}] x) => ({outputs}) {{ {nodes} }}", **used)
    samples = normal(*(64 if axis == "N" else int(axis) for axis in x.split(",")))
    made = quantized(path, Recipe(), samples)
    before, after = Session(path).run({"x": samples}), Session(made.data).run({"x": samples})
    assert all(sqnr(before[name], after[name]) > 30 for name in before)
    return operators(as_run(made.data, folder))


# The runtime forms no kernel for a product that some read as integers and others as floats.
@pytest.mark.parametrize(
    "nodes",
    [
        "a = Gemm(x, w, b) c = Gemm(a, v) y = Add(a, c)",
        "a = MatMul(x, w) c = MatMul(a, v) t = Tanh(a) y = Add(t, c)",
        "a = MatMul(x, w) r = Reshape(a, to) c = MatMul(r, v) y = Add(r, c)",
        "a = Gemm(x, w, b) c = Clip(a, low, high) r = Relu(c) y = Tanh(r)",
    ],
)
def test_products_that_several_read(nodes: str, tmp_path: Path) -> None:
    assert not {"Gemm", "MatMul"} & set(through(nodes, tmp_path))


def test_a_product_that_is_an_output_too(tmp_path: Path) -> None:
    kernels = through(
        "a = MatMul(x, w) y = MatMul(a, v)", tmp_path, outputs="float[N,16] a, float y"
    )
    assert "MatMul" not in kernels


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        ("a = Reshape(x, half) y = MatMul(a, u) z = Tanh(a)", "float y, float z"),
        ("z, a = Split<axis=1, num_outputs=2>(x) y = MatMul(a, u)", "float y, float z"),
    ],
)
def test_what_is_moved_for_floats_too_is_moved_as_float(
    nodes: str, outputs: str, tmp_path: Path
) -> None:
    kernels = through(nodes, tmp_path, outputs=outputs)
    assert kernels.count("QuantizeLinear") == 1
    assert "DequantizeLinear" not in kernels


def test_a_stack_of_matrices_between_integers(tmp_path: Path) -> None:
    # QLinearMatMul takes no scale per channel for it.
    kernels = through("a = MatMul(x, s) y = Conv(a, k)", tmp_path, x="N,4,6,6")
    assert {"QLinearMatMul", "QLinearConv"} <= set(kernels)


def test_a_clip_that_gives_nothing_but_zeros(tmp_path: Path) -> None:
    graph = "g (float[N,16] x) => (float y) { a = Gemm(x, w, far) c = Clip(a, low, high) y = Gemm(c, v, b) }"  # noqa: E501
    used = {name: C[name] for name in ("w", "far", "low", "high", "v", "b")}
    made = quantized(save(tmp_path / "m.onnx", graph, **used), Recipe(), normal(64, 16))
    assert operators(as_run(made.data, tmp_path)) == ["QuantizeLinear", "QGemm", "QGemm"]


@pytest.mark.parametrize("zeros", [slice(0, 8), slice(None)])
def test_a_channel_of_zeros_keeps_its_bias(zeros: slice, tmp_path: Path) -> None:
    w, b = weight(16, 16), normal(16)
    w[:, zeros] = 0
    graph = "g (float[N,16] x) => (float[N,16] y) { y = Gemm(x, w, b) }"
    samples = normal(64, 16) * 100  # a coarse scale
    made = quantized(save(tmp_path / "m.onnx", graph, w=w, b=b), Recipe(), samples)
    found = Session(made.data).run({"x": samples})["y"]
    np.testing.assert_allclose(found[:, zeros], np.tile(b[zeros], (64, 1)), rtol=1e-5)
