"""Signed bytes that are moved where nothing quantizes behind, weights of two bits for any runtime,
and clamped values that are moved: the file loads, and the runtime computes what is written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qtool import model as models
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.cases import KERNELS, quantized
from tests.models import Array, normal, save, sqnr, weight

PORTABLE = load_target("portable")
X = normal(16, 4, 8, 8, seed=20)
MOVES = {
    "MaxPool": "MaxPool<kernel_shape=[2,2]>({})",
    "Transpose": "Transpose<perm=[0,2,3,1]>({})",
    "Reshape": "Reshape({}, to)",
}
CONSTANTS: dict[str, Array] = {
    "w": weight(8, 4, 3, 3), "v": weight(8, 8, 1, 1), "to": np.array([0, 8, 4, -1]),
    "low": np.float32(-0.7), "high": np.float32(0.9),
}  # fmt: skip


def saved(path: Path, nodes: str, opset: int = 21) -> Path:
    words = set(nodes.replace(",", " ").replace(")", " ").replace("(", " ").split())
    used = {name: values for name, values in CONSTANTS.items() if name in words}
    graph = f"g (float[N,4,8,8] x) => (float[N,C,H,W] y) {{ {nodes} }}"
    return save(path, graph, opset=opset, **used)


@pytest.mark.parametrize("target", [KERNELS, PORTABLE], ids=["cpu", "portable"])
@pytest.mark.parametrize("kind", ["8s", pytest.param("6s", marks=pytest.mark.slow)])
@pytest.mark.parametrize("move", MOVES)
def test_signed_bytes_that_are_moved_to_a_float_layer_can_be_loaded(
    move: str, kind: str, target: object, tmp_path: Path
) -> None:
    m, n = (MOVES[move].format(name) for name in "am")
    path = saved(tmp_path / "model.onnx", f"a = Conv(x, w) m = {m} n = {n} y = Tanh(n)")
    rules = [{"match": name, "scheme": "float"} for name in "ny"]
    recipe = Recipe.model_validate(
        {"scheme": f"w8a{kind}", "placement": "all", "algorithms": [], "rules": rules}
    )
    result = quantized(path, recipe, X, target)  # type: ignore[arg-type]
    models.check(result.data)
    written, found = (
        Session(result.data, threads=1, optimize=o).run({"x": X})["y"] for o in (False, True)
    )
    assert result.plan.moved
    assert sqnr(written, found) > 40
    assert sqnr(Session(path, threads=1).run({"x": X})["y"], found) > (15 if kind == "6s" else 25)


LOAD = "import sys, onnxruntime; onnxruntime.InferenceSession(sys.argv[1])"


def test_what_is_moved_into_a_branch_does_not_end_the_process(tmp_path: Path) -> None:
    graph = """g (float[N,4,8,8] x) => (float[N,4,8,8] y, float[N,4,8,8] t) {
        a = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x)
        e = Transpose<perm=[0,1,3,2]>(x) t = MaxPool<kernel_shape=[1,1]>(e)
        m = ReduceMax<keepdims=0>(a) c = Greater(m, low) y = If (c) <
            then_branch = p () => (float[N,4,8,8] q) { q = Tanh(a) },
            else_branch = r () => (float[N,4,8,8] s) { s = Tanh(t) }>
    }"""
    path = save(tmp_path / "model.onnx", graph, low=np.float32(-0.7))
    rules = [{"match": name, "scheme": "float"} for name in "tmqs"]
    recipe = Recipe.model_validate({"placement": "all", "algorithms": [], "rules": rules})
    result = quantized(path, recipe, X, KERNELS)
    assert list(result.plan.moved) == ["t"]
    path.write_bytes(result.data)
    given = [sys.executable, "-c", LOAD, str(path)]
    assert subprocess.run(given, capture_output=True).returncode == 0


@pytest.mark.parametrize("scheme", ["w2a8", "wl3a8", "w4a8"])
def test_weights_of_two_bits_run_behind_activations_for_any_runtime(
    scheme: str, tmp_path: Path
) -> None:
    path = saved(tmp_path / "model.onnx", "a = Conv(x, w) r = Relu(a) y = Conv(r, v)")
    data = quantized(path, Recipe(scheme=scheme, algorithms=()), X, PORTABLE).data
    written, found = (Session(data, threads=1, optimize=o).run({"x": X}) for o in (False, True))
    assert sqnr(written["y"], found["y"]) > 40


@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_what_is_moved_behind_a_clamp_has_the_parameters_of_the_clamp(
    method: str, tmp_path: Path
) -> None:
    nodes = (
        "a = Conv(x, w) c = Clip(a, low, high) m = MaxPool<kernel_shape=[2,2]>(c) y = Conv(m, v)"
    )
    path = saved(tmp_path / "model.onnx", nodes)
    plan = quantized(path, Recipe(method=method, algorithms=()), X, KERNELS).plan
    clamped, pooled = plan.activations["c"].params, plan.activations["m"].params
    assert (clamped.scale, clamped.zero_point) == (pooled.scale, pooled.zero_point)
