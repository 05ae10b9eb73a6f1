"""The whole story on tiny models: same bytes for the same data, and models that broke it once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qtool import model as models
from qtool import workflow
from qtool.data import open_dataset
from qtool.errors import DataError
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.cases import CASES, quantized
from tests.models import Array, normal, save, sqnr, weight

SAMPLES = normal(48, 4, 8, 8, seed=20)
ROWS = normal(64, 24, seed=21)
GEMM = "g (float[N,24] x) => (float[N,8] y) {{ {} }}"


def noise(path: Path, data: bytes, x: Array) -> float:
    """What quantization cost on the samples themselves."""
    return sqnr(Session(path).run({"x": x})["y"], Session(data).run({"x": x})["y"])


def test_the_same_data_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    path = CASES["Add"].save(tmp_path / "model.onnx")
    first = quantized(path, Recipe(), SAMPLES).data
    assert quantized(path, Recipe(), SAMPLES).data == first
    assert quantized(path, Recipe(), SAMPLES[::-1]).data == first
    assert quantized(path, Recipe(), SAMPLES[:24]).data != first


SMALL: dict[str, tuple[str, dict[str, Array]]] = {
    "one MatMul": ("y = MatMul(x, w)", {}),  # nothing inside is measured
    "a dead channel with a bias": ("y = Gemm(x, dead, b)", {"dead": weight(24, 8) * np.eye(1, 8)}),
    "a bias of one": ("y = Gemm(x, w, one)", {"one": normal(1)}),
    "a bias that is a row": ("y = Gemm(x, w, row)", {"row": normal(1, 8)}),
    "a scalar bias": ("y = Gemm(x, w, scalar)", {"scalar": np.float32(0.3)}),
    "weights of zero": ("y = Gemm(x, zeros, b)", {"zeros": np.zeros((24, 8), np.float32)}),
}


@pytest.mark.parametrize("name", SMALL)
def test_small_models(name: str, tmp_path: Path) -> None:
    nodes, more = SMALL[name]
    constants = {"w": weight(24, 8), "b": normal(8), **more}
    used = {n: c.astype(np.float32) for n, c in constants.items() if f" {n}" in nodes}
    path = save(tmp_path / "model.onnx", GEMM.format(nodes), **used)
    result = quantized(path, Recipe(), ROWS)
    models.check(result.data)
    assert noise(path, result.data, ROWS) > 30


STATIC = ["w8a8", "w8ua8", "w8ta8", "w8a8s", "w8a16", "w16a16", "w4a8", "w4b32a8", "w3a8", "w2a8"]


@pytest.mark.parametrize("scheme", STATIC)
@pytest.mark.parametrize("operator", ["Conv", "Gemm", "MatMul"])
def test_schemes_with_activations(scheme: str, operator: str, tmp_path: Path) -> None:
    path = CASES[operator].save(tmp_path / "model.onnx")
    result = quantized(path, Recipe(scheme=scheme), SAMPLES)
    models.check(result.data)
    # Uniform rounding costs 6.02 dB a bit: about 6 n - 7 for Gaussian values, less what layers add.
    bits = int(scheme[1 : 3 if scheme[2].isdigit() else 2])
    assert noise(path, result.data, SAMPLES) > 6 * min(bits, 8) - 20


def test_the_input_is_not_written_to(tmp_path: Path) -> None:
    path = CASES["Conv"].save(tmp_path / "model.onnx")
    before = path.read_bytes()
    tmp_path.chmod(0o555)
    try:
        workflow.dry_run(workflow.open_job(path, Recipe(), load_target("cpu"), threads=1))
    finally:
        tmp_path.chmod(0o755)
    assert path.read_bytes() == before


@pytest.mark.usefixtures("any_size")
def test_nan_inside_the_model_is_named_with_its_tensor(tmp_path: Path) -> None:
    graph = """g (float[N,24] x) => (float[N,8] y) {
        r = Sqrt(x) a = Gemm(r, w, b) y = Relu(a)
    }"""
    path = save(tmp_path / "model.onnx", graph, w=weight(24, 8), b=normal(8))
    good = np.abs(ROWS)
    good[40, 3] = -1
    job = workflow.open_job(path, Recipe(), load_target("cpu"), threads=1)
    np.save(tmp_path / "x.npy", good)
    with pytest.raises(DataError) as caught:
        workflow.measure(job, open_dataset(tmp_path / "x.npy", job.signature), batch_size=8)
    assert "NaN in tensor 'r'" in caught.value.what
    assert "samples 40 to 47" in caught.value.why


@pytest.mark.parametrize("operator", ["Add", "Concat", "Split", "Resize", "Squeeze"])
def test_16_bits_are_nearly_float(operator: str, tmp_path: Path) -> None:
    path = CASES[operator].save(tmp_path / "model.onnx")
    result = quantized(path, Recipe(scheme="w16a16", method="minmax"), SAMPLES)
    # half a step of 2^-16 of the range in each of a few tensors
    assert noise(path, result.data, SAMPLES) > 70
