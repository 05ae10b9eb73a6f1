"""Odd models: each is quantized, loads and keeps its signature, or ends in one clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner, Result

from qtool.cli.app import app
from qtool.runtime import Session
from tests.models import normal, proto, weight
from tests.reliability.odd_models import FAILS, WORKS


def qtool(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


# No data folder can feed an input of unknown rank, or a batch of 2^40.
UNFED = {"unknown ranks", "2^40 rows in a batch"}


@pytest.mark.parametrize(
    ("name", "static"), [(n, s) for n in WORKS for s in (False, True) if not (s and n in UNFED)]
)
def test_it_works(name: str, static: bool, tmp_path: Path) -> None:
    model, output = tmp_path / "m.onnx", tmp_path / "o.onnx"
    model.write_bytes(WORKS[name]().SerializeToString())
    assert qtool("inspect", model).exit_code == 0
    options: list[object] = ["--allow-empty", "--allow-larger", "-o", output]
    if static:
        kind = {"float16": np.float16, "double": np.float64}.get(name, np.float32)
        np.save(tmp_path / "x.npy", normal(40, 24).astype(kind))
        options += ["--data", tmp_path / "x.npy"]
    result = qtool("quantize", model, *options)
    assert result.exit_code == 0, result.stderr
    assert Session(output).signature == Session(model).signature


@pytest.mark.parametrize("name", FAILS)
def test_it_ends_in_one_error(name: str, tmp_path: Path) -> None:
    build, words = FAILS[name]
    model = tmp_path / "m.onnx"
    model.write_bytes(build().SerializeToString())
    result = qtool("quantize", model)
    assert result.exit_code == 3, result.stderr
    assert sum(s.startswith("error: ") for s in result.stderr.splitlines()) == 1
    assert words in result.stderr
    assert "onnxruntime_src" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 26])
def test_opsets(opset: int, tmp_path: Path) -> None:
    graph = """g (float[N,4,8,8] x) => (float[N,8] y) { c = Conv<pads=[1,1,1,1]>(x, k) r = Relu(c)
        p = GlobalAveragePool(r) f = Flatten(p) y = Gemm(f, v, b) }"""
    made = proto(graph, opset=opset, k=weight(8, 4, 3, 3), v=weight(8, 8), b=normal(8))
    if opset < 9:  # IR 3: initializers are inputs too
        made.ir_version = 3
        for each in made.graph.initializer:
            made.graph.input.append(onnx.helper.make_tensor_value_info(each.name, 1, each.dims))
    model = tmp_path / "m.onnx"
    model.write_bytes(made.SerializeToString())
    np.save(tmp_path / "x.npy", normal(40, 4, 8, 8))
    result = qtool("quantize", model, "--data", tmp_path / "x.npy", "--allow-larger")
    assert result.exit_code == 0, result.stderr
    assert "quantized 2 layers: 2 w8sca8u" in result.stderr
    found, expected = Session(tmp_path / "m.int8.onnx").signature, Session(model).signature
    assert found.outputs == expected.outputs
    assert [spec.name for spec in found.inputs] == ["x"]
