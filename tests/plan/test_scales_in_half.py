"""Scales of 16 bits: where they are written, and what a file then takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from qtool import workflow
from qtool.numeric.affine import QParams, dequantize
from qtool.numeric.granularity import PerChannel
from qtool.numeric.types import IntType
from qtool.plan.weights import halved, in_half
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.models import Array, as_run, normal, operators, save, sqnr, weight

LAYERS = {
    "MatMul": "y = MatMul(x, w)", "Gemm": "y = Gemm(x, w, b)",
    "Gemm, transposed": "y = Gemm<transB=1>(x, w, b)",
}  # fmt: skip
SLOW = [
    pytest.param(each, marks=pytest.mark.slow)
    for each in (
        "w2b16",
        "w2b256",
        "w4b16",
        "w4b256",
        "w4ub64",
        "w8b16",
        "w8ub256",
        "w3b64",
        "w6b32",
    )
]


def made(path: Path, scheme: str, target: str = "cpu") -> workflow.Quantized:
    recipe = Recipe(scheme=scheme, algorithms=("equalize",)).weights_only()
    return workflow.build(workflow.open_job(path, recipe, load_target(target)), None)


def params(scales: Array) -> QParams:
    return QParams(IntType(4, True), scales, np.zeros(scales.shape, np.int32), PerChannel(0))


def test_they_are_rounded_where_float16_holds_them_and_there_are_enough() -> None:
    many = np.geomspace(1e-4, 1e4, 400, dtype=np.float32) * np.where(np.arange(400) % 2, 1, -1)
    many = many.astype(np.float32)
    found = in_half(params(many))
    assert not halved(params(many)) and halved(found)
    np.testing.assert_allclose(found.scale, many, rtol=2**-11)
    for bad in (3e-5, 7e4, -1e-7, 3e38):
        beyond = many.copy()
        beyond[7] = bad
        assert (in_half(params(beyond)).scale == beyond).all()
        assert not halved(params(beyond))
    assert (in_half(params(many[:128])).scale == many[:128]).all()
    assert not halved(params(found.scale[:128]))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    "scheme",
    [
        "w4b32",
        "w4c",
        *(pytest.param(s, marks=pytest.mark.slow) for s in ("w2b32", "w4ub32", "w8b32")),
        *SLOW,
    ],
)
def test_a_cast_scale_is_fused_all_the_same(layer: str, scheme: str, tmp_path: Path) -> None:
    graph = f"g (float[N,256] x) => (float[N,512] y) {{ {LAYERS[layer]} }}"
    w = weight(512, 256)
    constants = {"w": w if "trans" in layer else w.T.copy()}
    if "Gemm" in layer:
        constants["b"] = normal(512)
    path = save(tmp_path / "m.onnx", graph, **constants)
    result = made(path, scheme)
    model = onnx.load_from_string(result.data)
    assert [t.data_type for t in model.graph.initializer if t.name.endswith("_scale")] == [10]
    assert operators(as_run(result.data, tmp_path)) == ["MatMulNBits"]
    x = normal(32, 256)
    before, after = Session(path).run({"x": x})["y"], Session(result.data).run({"x": x})["y"]
    assert sqnr(before, after) > {"2": 8, "3": 14, "4": 19, "6": 31, "8": 40}[scheme[1]]


def test_in_a_body_and_for_what_unpacks_a_weight(tmp_path: Path) -> None:
    graph = """g (float[N,256] x, bool c) => (float[N,512] y) {
        y = If (c) <then_branch = t () => (float[N,512] a) { a = MatMul(x, w) },
                    else_branch = e () => (float[N,512] b) { n = Neg(x) b = MatMul(n, v) }> }"""
    path = save(
        tmp_path / "m.onnx", graph, w=weight(512, 256).T.copy(), v=weight(512, 256).T.copy()
    )
    result = made(path, "w4b32")
    assert all(each.half for each in result.plan.weights.values())
    x = normal(8, 256)
    for taken in (True, False):
        feeds = {"x": x, "c": np.array(taken)}
        before, after = Session(path).run(feeds)["y"], Session(result.data).run(feeds)["y"]
        assert sqnr(before, after) > 19
    conv = "g (float[N,64,6,6] x) => (float[N,256,6,6] y) { y = Conv(x, w) }"
    path = save(tmp_path / "c.onnx", conv, w=weight(256, 64, 1, 1))
    result = made(path, "w4u")
    assert [each.half for each in result.plan.weights.values()] == [True]
    assert operators(as_run(result.data, tmp_path))[-2:].count("Conv") == 1
    x = normal(2, 64, 6, 6)
    before, after = Session(path).run({"x": x})["y"], Session(result.data).run({"x": x})["y"]
    assert sqnr(before, after) > 19


def test_integer_kernels_and_other_runtimes_get_float32(tmp_path: Path) -> None:
    graph = f"g (float[N,256] x) => (float[N,512] y) {{ {LAYERS['MatMul']} }}"
    path = save(tmp_path / "m.onnx", graph, w=weight(512, 256).T.copy())
    portable = made(path, "w4b32", "portable")
    (plan,) = portable.plan.weights.values()
    assert not plan.half and (plan.params.scale > 0).all()
    kinds = {t.name: t.data_type for t in onnx.load_from_string(portable.data).graph.initializer}
    assert kinds["w_scale"] == 1


def test_a_stored_code_means_what_the_plan_says(tmp_path: Path) -> None:
    w = weight(512, 256).T.copy()
    graph = f"g (float[N,256] x) => (float[N,512] y) {{ {LAYERS['MatMul']} }}"
    result = made(save(tmp_path / "m.onnx", graph, w=w), "w4b32")
    (plan,) = result.plan.weights.values()
    exact = np.eye(256, dtype=np.float32) @ dequantize(plan.codes(w), plan.params)
    found = Session(result.data, optimize=False).run({"x": np.eye(256, dtype=np.float32)})["y"]
    np.testing.assert_allclose(found, exact, atol=1e-6)


TABLES = ("w8", "w6", "w4b32", "w4ub32", "w4b128", "w4c", "w3", "w2", "w2b16")


@pytest.mark.parametrize("scheme", TABLES)
def test_a_file_takes_its_codes_and_scales(scheme: str, tmp_path: Path) -> None:
    graph = """g (float[N,1024] x) => (float[N,1024] y) {
        a = MatMul(x, w) b = Tanh(a) c = Gemm(b, v, k) d = Tanh(c) y = Gemm<transB=1>(d, u) }"""
    w, v, u = (weight(1024, 1024) * (i + 1) for i in range(3))
    path = save(tmp_path / "m.onnx", graph, w=w, v=v, u=u, k=normal(1024))
    result = made(path, scheme)
    takes = 4 * 1024  # of the bias
    for each in result.plan.weights.values():
        kind, scales = each.params.type, each.params.scale.size
        takes += kind.container * w.size // 8 + 2 * scales
        takes += 0 if each.params.symmetric else kind.container * scales // 8
    assert len(result.plan.weights) == 3
    assert takes <= len(result.data) <= 1.03 * takes
