"""Each row of targets/cpu.toml, looked for in the graph as onnxruntime will run it.

A failure here says that this onnxruntime no longer fuses what an older one did (or the reverse).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from qtool.errors import UsageError
from qtool.ops import OPS
from qtool.recipe import Recipe
from qtool.target import available, load_target
from tests.cases import CASES, quantized
from tests.models import as_run, normal, operators, save, weight

CPU = load_target("cpu")
SAMPLES = normal(16, 4, 8, 8, seed=20)
MOVED = {"uint8", "int8"}


def types(model: onnx.ModelProto) -> dict[str, str]:
    """Value name -> element type, also for the integers of kernels that onnx does not know."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    found = {t.name: onnx.TensorProto.DataType.Name(t.data_type).lower() for t in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        kind = value.type.tensor_type.elem_type
        found[value.name] = onnx.TensorProto.DataType.Name(kind).lower()
    for node in graph.node:
        if node.op_type == "QuantizeLinear" or node.op_type.startswith("QLinear"):
            found[node.output[0]] = "uint8"
    return found


@pytest.mark.parametrize("operator", CPU.integer)
def test_the_integer_kernel_is_there(operator: str, tmp_path: Path) -> None:
    path = CASES[operator].save(tmp_path / "model.onnx")
    model = as_run(quantized(path, Recipe(), SAMPLES).data, tmp_path)
    kernels = operators(model)
    # Q and DQ only at the borders: one for the input, at most one for the output
    assert kernels.count("QuantizeLinear") == 1
    assert kernels.count("DequantizeLinear") <= 1
    assert "QuantizeLinear" in kernels[:2]
    if CPU.integer[operator] in ("moves", "reads"):
        kinds = types(model)
        moving = [n for n in model.graph.node if n.op_type in (operator, f"Nhwc{operator}")]
        assert moving
        for node in moving:
            assert kinds.get(node.input[0], "uint8") in MOVED
            assert CPU.integer[operator] == "reads" or "float" not in {
                kinds.get(name, "uint8") for name in node.output
            }
    else:
        assert operator not in kernels


@pytest.mark.parametrize("operator", [n for n, kernel in CPU.integer.items() if kernel == "open"])
def test_open_kernels_end_in_float(operator: str, tmp_path: Path) -> None:
    path = CASES[operator].save(tmp_path / "model.onnx")
    model = as_run(quantized(path, Recipe(), SAMPLES).data, tmp_path)
    kernels = operators(model)
    assert operator not in kernels
    assert "DequantizeLinear" not in kernels
    assert types(model)["y"] == "float"


@pytest.mark.parametrize("operator", ["Conv", "Gemm", "MatMul"])
@pytest.mark.parametrize("scheme", ["w4a8", "w2a8", "w3a8", "w6a8"])
def test_narrow_weights_reach_the_integer_kernels_too(
    operator: str, scheme: str, tmp_path: Path
) -> None:
    path = CASES[operator].save(tmp_path / "model.onnx")
    data = quantized(path, Recipe(scheme=scheme), SAMPLES).data
    kernels = operators(as_run(data, tmp_path))
    assert operator not in kernels
    assert "Cast" not in kernels


@pytest.mark.parametrize("activation", CPU.fuses.unless_read_by["Gemm"])
def test_an_activation_does_not_take_a_gemm_away(activation: str, tmp_path: Path) -> None:
    # Left to itself the runtime makes a float FusedGemm of the two, with its weight unpacked anew
    # on every run.
    graph = f"g (float[N,64] x) => (float[N,8] y) {{ a = Gemm(x, m, b) y = {activation}(a) }}"
    path = save(tmp_path / "m.onnx", graph, m=weight(8, 64).T.copy(), b=normal(8))
    made = quantized(path, Recipe(), normal(64, 64))
    kernels = operators(as_run(made.data, tmp_path))
    assert "QGemm" in kernels
    assert not {"FusedGemm", "Gemm"} & set(kernels)


@pytest.mark.parametrize("activation", ["Clip(a, low, high)", "Relu(a)"])
@pytest.mark.parametrize("scheme", ["w8a8", "w8"])
def test_a_clamp_does_not_take_a_matmul_away(activation: str, scheme: str, tmp_path: Path) -> None:
    graph = f"""g (float[N,3,512] x) => (float[N,3,512] y) {{
        a = MatMul(x, m) c = {activation} y = Softmax(c) }}"""
    bounds: dict[str, Any] = {"low": np.float32(0), "high": np.float32(6)}
    bounds = bounds if "low" in activation else {}
    path = save(tmp_path / "m.onnx", graph, m=weight(512, 512), **bounds)
    samples = normal(64, 3, 512) if scheme == "w8a8" else None
    kernels = operators(as_run(quantized(path, Recipe(scheme=scheme), samples).data, tmp_path))
    assert kernels.count("DequantizeLinear") == (1 if samples is not None else 0)
    assert ("QLinearMatMul" in kernels) == (samples is not None)


@pytest.mark.parametrize("operator", CPU.weights)
@pytest.mark.parametrize("scheme", ["w8", "w4b32", "w2b32", "w8u"])
def test_weights_alone_are_fused_or_folded(operator: str, scheme: str, tmp_path: Path) -> None:
    path = CASES[operator].save(tmp_path / "model.onnx")
    data = quantized(path, Recipe(scheme=scheme), None).data
    kernels = operators(as_run(data, tmp_path))
    # A DequantizeLinear that is left runs every time, and is slower than float.
    assert not {"DequantizeLinear", "Cast", "Mul", "Sub"} & set(kernels)


def test_the_table_names_operators_that_have_rows() -> None:
    assert set(CPU.integer) <= set(OPS)
    assert set(CPU.weights) == {name for name, spec in OPS.items() if spec.weights}
    assert set(CPU.integer.values()) <= {"closed", "open", "moves", "reads"}
    assert CPU.dynamic | set(CPU.slow_dynamic) <= set(CPU.weights)
    moving = {n for n, kernel in CPU.integer.items() if kernel == "moves"}
    assert moving <= {n for n, spec in OPS.items() if spec.shares}


def test_every_target_is_whole() -> None:
    assert available() == ["cpu", "portable"]
    for name in available():
        target = load_target(name)
        assert target.name == name
        assert set(target.weights) == set(CPU.weights)


def test_an_unknown_target_is_named_with_what_there_is() -> None:
    assert "cpu" in available()
    with pytest.raises(UsageError) as caught:
        load_target("cpy")
    assert "cpu" in caught.value.why
    assert "cpu" in caught.value.fix
