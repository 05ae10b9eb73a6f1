"""Dynamic quantization: what a plan says "integer" of becomes an integer product."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from qtool import workflow
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.models import Array, as_run, normal, operators, save, sqnr, weight

W: dict[str, Array] = {
    "w": weight(48, 64).T.copy(), "v": weight(48, 64, seed=2).T.copy(), "b": normal(48, seed=3),
}  # fmt: skip
MATMUL = "g (float[N,T,64] x) => (float[N,T,48] y) { y = MatMul(x, w) }"
GEMM = "g (float[N,64] x) => (float[N,48] y) { y = Gemm(x, w, b) }"
TWO = "g (float[N,T,64] x) => (float[N,T,48] y) { p = MatMul(x, w) q = MatMul(x, v) y = Mul(p, q) }"


def dynamic(path: Path, scheme: str = "w8a8") -> workflow.Quantized:
    recipe = Recipe(scheme=scheme, mode="dynamic", algorithms=())
    return workflow.build(workflow.open_job(path, recipe, load_target("cpu")), None)


def written(data: bytes) -> list[str]:
    return operators(onnx.load_from_string(data))


@pytest.mark.parametrize("scheme", ["w8a8", "w8ua8", "w8ta8", "w4a8", "w4ua8"])
@pytest.mark.parametrize("graph", [MATMUL, GEMM], ids=["MatMul", "Gemm"])
def test_the_runtime_makes_one_kernel_of_it(scheme: str, graph: str, tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", graph, **{n: c for n, c in W.items() if f" {n}" in graph})
    made = dynamic(path, scheme)
    kernels = {"DynamicQuantizeMatMul", "DynamicQuantizeLinear", "MatMulIntegerToFloat"}
    assert set(operators(as_run(made.data, tmp_path))) <= kernels
    x = normal(5, 7, 64) if graph == MATMUL else normal(5, 64)
    before, after = Session(path).run({"x": x})["y"], Session(made.data).run({"x": x})["y"]
    assert sqnr(before, after) > (33 if "w8" in scheme else 15)


def test_the_product_is_the_integer_one(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", GEMM, w=W["w"], b=W["b"])
    made = dynamic(path)
    x = normal(1, 64, seed=9)
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    step = (high - low) / 255
    codes = np.clip(np.rint(x / step) + np.rint(-low / step), 0, 255) - np.rint(-low / step)
    (plan,) = made.plan.weights.values()
    stored = np.clip(np.rint(W["w"] / plan.params.scale), -127, 127)
    expected = (codes @ stored) * step * plan.params.scale + W["b"]
    found = Session(made.data, threads=1).run({"x": x})["y"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_readers_of_one_tensor_measure_it_once(tmp_path: Path) -> None:
    made = dynamic(save(tmp_path / "m.onnx", TWO, w=W["w"], v=W["v"]))
    assert written(made.data).count("DynamicQuantizeLinear") == 1
    assert written(made.data).count("MatMulInteger") == 2
    assert made.plan.schemes == dict.fromkeys(made.plan.schemes, "w8sca8u dynamic")


def test_an_output_keeps_its_name_and_readers(tmp_path: Path) -> None:
    graph = "g (float[N,64] x) => (float[N,48] a, float[N,48] y) { a = MatMul(x, w) y = Neg(a) }"
    path = save(tmp_path / "m.onnx", graph, w=W["w"])
    session = Session(dynamic(path).data)
    assert session.signature == Session(path).signature
    found = session.run({"x": normal(3, 64)})
    assert (found["y"] == -found["a"]).all()


@pytest.mark.parametrize(
    ("nodes", "constants", "scheme", "why"),
    [
        (
            "y = Conv(x, c)",
            {"c": weight(4, 3, 1, 1)},
            "w8a8",
            "dynamic Conv is 4 to 8 times slower",
        ),
        ("y = ConvTranspose(x, c)", {"c": weight(3, 4, 1, 1)}, "w8a8", "no dynamic kernel"),
        ("y = MatMul(x, c)", {"c": weight(8, 8)}, "w4b16a8", "blocks"),
        ("y = MatMul(x, c)", {"c": weight(3, 8, 8)}, "w8a8", "no matrix"),
        ("y = MatMul(x, c)", {"c": weight(8, 8)}, "w16a8", "take bytes"),
    ],
)
def test_what_stays_weights_only_says_so(
    nodes: str, constants: dict[str, Array], scheme: str, why: str, tmp_path: Path
) -> None:
    graph = f"g (float[N,3,8,8] x) => (float[N,C,H,W] y) {{ {nodes} }}"
    made = dynamic(save(tmp_path / "m.onnx", graph, **constants), scheme)
    (note,) = made.plan.notes.values()
    assert why in note
    assert "MatMulInteger" not in written(made.data)
    assert made.plan.weights
