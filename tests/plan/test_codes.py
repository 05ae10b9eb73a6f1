"""Any number of codes: that no more of them appear than were asked for, whatever comes in; ranges
that are given; scales that are powers of two; and what each costs in kernels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from qtool import model as models
from qtool import workflow
from qtool.data import open_dataset
from qtool.numeric.affine import dequantize, lowest, quantize
from qtool.numeric.scheme import Scheme, parse_scheme
from qtool.passes.dequantize import dequantize as floats_of
from qtool.plan.plan import Plan
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import Target
from tests.cases import CASES, KERNELS, quantized
from tests.models import Array, as_run, normal, operators, save, sqnr, weight

X = normal(16, 4, 8, 8, seed=20)
ROWS = normal(16, 24, seed=21)
FAR = np.array([1000.0, -1000.0], np.float32)
PORTABLE = replace(KERNELS, clips="reals")
RESIDUAL = """g (float[N,4,8,8] x) => (float[N,8,8,8] y) {
    a = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(a) c = Conv(r, v) s = Add(r, c)
    m = MaxPool<kernel_shape=[1,1]>(s) t = Relu(m) y = Conv(t, u)
}"""
CONV = {"w": weight(8, 4, 3, 3), "b": normal(8), "v": weight(8, 8, 1, 1), "u": weight(8, 8, 1, 1)}
PRODUCTS = """g (float[N,24] x) => (float[N,8] y) {
    a = Gemm(x, w, b) r = Relu(a) m = MatMul(r, v) h = Tanh(m) y = Gemm(h, u)
}"""
ROWED = {"w": weight(24, 32), "b": normal(32), "v": weight(32, 16), "u": weight(16, 8)}
GRAPHS: dict[str, tuple[str, dict[str, Array], Array]] = {
    "residual": (RESIDUAL, CONV, X), "products": (PRODUCTS, ROWED, ROWS),
}  # fmt: skip
FEW = ["2u", "6u", "12u", "l10u", "l5s", "8s"]
MORE = ["3u", "4u", "8u", "16u", "l2u", "l200u", "l1000u"]
MORE += ["2s", "4s", "6s", "9s", "l10s", "l255s", "l1001s"]
ACTIVATIONS = [*FEW, *(pytest.param(kind, marks=pytest.mark.slow) for kind in MORE)]


def made(
    name: str, tmp_path: Path, recipe: Recipe, target: Target = KERNELS
) -> tuple[workflow.Quantized, Array]:
    graph, constants, x = GRAPHS[name]
    path = save(tmp_path / "model.onnx", graph, **constants)
    return quantized(path, recipe, x, target), x


def with_codes_out(data: bytes) -> tuple[bytes, list[str]]:
    """The model with all codes that are restored as outputs, but for constants."""
    model = onnx.load_from_string(data)
    computed = {name for node in model.graph.node for name in node.output}
    read = (n.input[0] for n in model.graph.node if n.op_type == "DequantizeLinear")
    names = list(dict.fromkeys(name for name in read if name in computed))
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return model.SerializeToString(), names


@pytest.mark.parametrize("target", [KERNELS, PORTABLE], ids=["codes", "reals"])
@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("name", GRAPHS)
def test_no_more_codes_appear_than_there_are_whatever_comes_in(
    name: str, kind: str, target: Target, tmp_path: Path
) -> None:
    scheme = parse_scheme(f"w8a{kind}")
    assert isinstance(scheme, Scheme)
    assert scheme.activation is not None
    result, x = made(name, tmp_path, Recipe(scheme=f"w8a{kind}", algorithms=()), target)
    models.check(result.data)
    data, names = with_codes_out(result.data)
    assert len(names) >= 3
    far = np.concatenate([x, *(x * by for by in FAR)])
    plain, fused = (Session(data, threads=1, optimize=o).run({"x": far}) for o in (False, True))
    reached, wide = 0, scheme.activation.type.container > 8
    for tensor in names:
        codes = plain[tensor]
        if wide:  # onnxruntime 1.32 multiplies these packed, what it reads in 8 bits
            assert sqnr(codes.astype(np.float32), fused[tensor].astype(np.float32)) > 35
        else:  # an integer kernel may round another way what lies just between two codes
            assert (codes != fused[tensor]).mean() < 0.005
        assert codes.dtype == np.dtype(scheme.activation.type.onnx_name)
        found = np.unique(codes)
        assert scheme.activation.type.minimum <= found.min()
        assert found.max() <= scheme.activation.type.maximum
        assert len(found) <= scheme.activation.type.codes
        reached = max(reached, len(found))
    # That the bound was met at all: some tensor takes up nearly all codes that there are.
    assert reached >= min(0.75 * scheme.activation.type.codes, 200)
    alone = Session(result.data, threads=1).run({"x": far})  # the outputs split no kernel
    assert sqnr(plain["y"], alone["y"]) > (35 if wide else 45)


def test_fewer_codes_keep_the_kernels_of_bytes(tmp_path: Path) -> None:
    for name in GRAPHS:
        kernels = {}
        for scheme in ("w8a8", "w8a6", "w8al10", "w4a2"):
            result, _ = made(name, tmp_path, Recipe(scheme=scheme, algorithms=()))
            found = operators(as_run(result.data, tmp_path))
            kernels[scheme] = sorted(op for op in found if op not in ("Clip", "Transpose"))
        assert len({tuple(found) for found in kernels.values()}) == 1, kernels
        assert any(op in ("QLinearConv", "QGemm") for op in kernels["w8a8"])


def test_a_softmax_of_signed_bytes_has_a_scale_that_its_kernel_computes_with(
    tmp_path: Path,
) -> None:
    nodes = "a = Gemm(x, w) s = Softmax(a) y = MatMul(s, v)"
    constants = {"w": 6 * weight(24, 64), "v": weight(64, 8)}
    path = save(
        tmp_path / "model.onnx", f"g (float[N,24] x) => (float[N,8] y) {{ {nodes} }}", **constants
    )
    recipe = Recipe(scheme="w8a8s", algorithms=(), placement="all")
    data = quantized(path, recipe, ROWS, KERNELS).data
    assert "QLinearSoftmax" in operators(as_run(data, tmp_path))
    plain, fused = (
        Session(data, threads=1, optimize=o).run({"x": ROWS})["y"] for o in (False, True)
    )
    np.testing.assert_allclose(fused, plain, rtol=0, atol=1e-6)


def test_a_softmax_of_fewer_codes_is_not_fused(tmp_path: Path) -> None:
    result = quantized(
        CASES["Softmax"].save(tmp_path / "model.onnx"), Recipe(scheme="w8a6"), X, KERNELS
    )
    assert "QLinearSoftmax" not in operators(as_run(result.data, tmp_path))


@pytest.mark.parametrize(
    ("scheme", "target", "words"),
    [
        ("w8a8", KERNELS, ""),
        ("w8a6", KERNELS, ""),
        ("w8a12", KERNELS, "activations of 12 bits have no integer kernels"),
        ("w8a16", KERNELS, "activations of 16 bits have no integer kernels"),
        ("w8al300", KERNELS, "activations of 300 levels have no integer kernels"),
        ("w8a8s", KERNELS, "symmetric activations of 8 bits cannot stand for 2 clamps"),
        ("w8a6", PORTABLE, "activations of 6 bits get a Clip in front"),
        ("w8", KERNELS, ""),
    ],
)
def test_what_types_cost_is_said_once(
    scheme: str, target: Target, words: str, tmp_path: Path
) -> None:
    path = save(tmp_path / "model.onnx", RESIDUAL, **CONV)
    notes = workflow.open_job(path, Recipe(scheme=scheme), target, threads=1).notes
    assert len(notes) == bool(words)
    assert all(words in note for note in notes)


def test_restored_to_float_fewer_codes_leave_nothing_behind(tmp_path: Path) -> None:
    result, x = made("residual", tmp_path, Recipe(scheme="w8a6", algorithms=()))
    back = floats_of(ir.serde.deserialize_model(onnx.load_from_string(result.data)))
    assert not {"Clip", "QuantizeLinear"} & set(operators(back))
    path = save(tmp_path / "model.onnx", *GRAPHS["residual"][:1], **CONV)
    before, after = (
        Session(m, threads=1).run({"x": x})["y"] for m in (path, models.serialize(back))
    )
    assert sqnr(before, after) > 35


# -- weights


@pytest.mark.parametrize("levels", [2, 3, 5, 10, 16, 100, 257, 5000, 65535])
@pytest.mark.parametrize("letter", ["s", "u"])
@pytest.mark.parametrize("form", ["", "b16", "a8"])
def test_a_weight_has_no_more_codes_than_levels(
    levels: int, letter: str, form: str, tmp_path: Path
) -> None:
    levels += (levels, letter) == (2, "s")  # two would hold nothing but 0
    scheme = f"wl{levels}{letter}{form}"
    graph = "g (float[N,24] x) => (float[N,512] y) { y = MatMul(x, w) }"
    path = save(tmp_path / "model.onnx", graph, w=weight(24, 512))
    result = quantized(path, Recipe(scheme=scheme), ROWS if form == "a8" else None)
    (plan,) = result.plan.weights.values()
    stored = next(
        t for t in onnx.load_from_string(result.data).graph.initializer if t.name == "w_q"
    )
    codes = onnx.numpy_helper.to_array(stored).astype(np.int64)
    assert lowest(plan.params) <= codes.min() <= codes.max() <= plan.params.type.maximum
    assert len(np.unique(codes)) <= levels
    if levels <= 257 and letter == "u":
        assert len(np.unique(codes)) == levels
    assert plan.params.symmetric == (letter == "s")
    bits = max(2, (levels - 1).bit_length())
    assert stored.data_type == getattr(
        onnx.TensorProto,
        f"{'' if letter == 's' else 'U'}INT{next(c for c in (2, 4, 8, 16) if c >= bits)}",
    )


# -- ranges and scales


def scales(plan: Plan) -> list[Any]:
    parts = (plan.weights, plan.biases, plan.operands, plan.activations)
    return [each.params.scale for part in parts for each in part.values()]


SLOW = [pytest.param(m, marks=pytest.mark.slow) for m in ("minmax", "entropy")]


@pytest.mark.parametrize("method", ["mse", *SLOW])
@pytest.mark.parametrize("scheme", ["w8a8", "w8ua8s", "wl10tal10", "w8b16"])
@pytest.mark.parametrize("name", ["residual", "Softmax", "Clip", "Concat", "LSTM"])
def test_powers_of_two_are_exact_everywhere(
    name: str, scheme: str, method: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    if name in GRAPHS:
        save(path, RESIDUAL, **CONV)
    else:
        CASES[name].save(path)
    recipe = Recipe(scheme=scheme, method=method, scale="pow2", algorithms=("equalize",))
    result = quantized(path, recipe, X)
    found = scales(result.plan)
    assert found
    assert all((np.frexp(each)[0] == 0.5).all() for each in found)
    free = quantized(path, recipe.model_copy(update={"scale": "free"}), X)
    for key, weights in result.plan.weights.items():  # next to what they would be
        ratio = np.log2(weights.params.scale / np.abs(free.plan.weights[key].params.scale))
        assert (np.abs(ratio) < 1).all()
    y, z = (Session(each.data, threads=1).run({"x": X}) for each in (result, free))
    out = next(iter(y))
    if scheme in ("w8a8", "w8ua8s"):
        assert sqnr(z[out], y[out]) > 20


@pytest.mark.parametrize("scheme", ["w8a8", "w4ua8", "wl10a6", "w8b16a8s", "w16a12", "wl7ua5"])
def test_ranges_are_what_was_asked(scheme: str, tmp_path: Path) -> None:
    low, high = (-3.0, 3.0) if scheme.endswith("s") else (-1.0, 2.5)
    recipe = Recipe(
        scheme=scheme, range=(-0.25, 0.25), activation_range=(low, high), algorithms=("equalize",)
    ).checked()
    result, _ = made("residual", tmp_path, recipe)

    def holds(params: Any, least: float, most: float) -> None:
        """To half a step: the zero point is a whole number."""
        codes = np.array([lowest(params), params.type.maximum])
        ends = dequantize(codes, params)
        assert np.abs(ends - [least, most]).max() <= 0.501 * params.scale

    for plan in result.plan.weights.values():
        assert plan.params.scale.shape == ()  # one scale, whatever was asked
        holds(plan.params, -0.25, 0.25)
    for tensor in result.plan.activations.values():
        holds(tensor.params, low, high)


def test_a_range_in_powers_of_two_is_covered(tmp_path: Path) -> None:
    recipe = Recipe(range=(-0.3, 0.3), activation_range=(-1.0, 2.0), scale="pow2")
    result, _ = made("residual", tmp_path, recipe)
    assert {float(w.params.scale) for w in result.plan.weights.values()} == {2.0**-8}
    assert {float(t.params.scale) for t in result.plan.activations.values()} == {2.0**-6}


def test_what_a_kernel_needs_wins_over_a_range(tmp_path: Path) -> None:
    path = CASES["Softmax"].save(tmp_path / "model.onnx")
    result = quantized(path, Recipe(activation_range=(-4.0, 4.0)), X)
    found = {float(t.params.scale) for t in result.plan.activations.values()}
    assert found <= {float(np.float32(8 / 255)), 1 / 512, 1 / 256, 1 / 128}
    assert len(found) == 2


def test_the_better_of_two_powers(tmp_path: Path) -> None:
    graph = "g (float[N,24] x) => (float[N,8] y) { y = MatMul(x, w) }"
    values = weight(24, 8)
    path = save(tmp_path / "model.onnx", graph, w=values)
    result = quantized(path, Recipe(scheme="w4", scale="pow2"), None)
    ((_, plan),) = result.plan.weights.items()
    params = plan.params

    def lost(by: float) -> Any:
        tried = replace(params, scale=(params.scale * np.float32(by)).astype(np.float32))
        return ((dequantize(quantize(values, tried), tried) - values) ** 2).sum(axis=0)

    assert (lost(1) <= np.minimum(lost(2), lost(0.5)) * 1.0001).all()


def test_a_measured_file_of_numbers_serves_all(tmp_path: Path) -> None:
    """One calibration, many types: what is measured does not depend on them."""
    path = save(tmp_path / "model.onnx", RESIDUAL, **CONV)
    np.save(tmp_path / "x.npy", X)
    jobs = [
        workflow.open_job(path, Recipe(scheme=s, algorithms=()), KERNELS, threads=1)
        for s in ("w8a8", "w8a4", "w8al10", "w8a2s")
    ]
    data = open_dataset(tmp_path / "x.npy", jobs[0].signature)
    found = workflow.measure(jobs[0], data, batch_size=8)
    for job in jobs:
        models.check(workflow.build(job, found).data)
