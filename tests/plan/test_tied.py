"""Heads that multiply with the table that is looked up: one grid, stored once."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from qtool import workflow
from qtool.data import Dataset, open_dataset
from qtool.numeric.affine import dequantize, quantize
from qtool.plan.tied import turned
from qtool.recipe import Recipe, Rule
from qtool.runtime import Session
from qtool.target import load_target
from tests.models import Array, as_run, normal, operators, save, sqnr, weight

slow = partial(pytest.param, marks=pytest.mark.slow)
SMALL, LARGE = (96, 64), (640, 256)  # what is unpacked, and what is multiplied packed
IDS = np.array([[0, 5, 7, -1], [7, 7, 0, 60]])
# How exporters write a tied head: turned in the graph, by Gemm, or stored a second time.
HEADS = {
    "transpose": "t = Transpose<perm=[1,0]>(w) y = MatMul(h, t)",
    "gemm": "f = Reshape(h, flat) r = Gemm<transB=1>(f, w) y = Reshape(r, back)",
    "copy": "y = MatMul(h, v)",
}


def model(path: Path, shape: tuple[int, int] = SMALL, head: str = "transpose") -> Path:
    table = normal(*shape, seed=3) * np.exp(normal(shape[0], 1, seed=4))
    graph = f"""g (int64[N,4] i) => (float[N,4,{shape[0]}] y) {{
        e = Gather(w, i) h = Tanh(e) {HEADS[head]} }}"""
    more: dict[str, Array] = {}
    if head == "gemm":
        more = {"flat": np.array([-1, shape[1]]), "back": np.array([-1, 4, shape[0]])}
    elif head == "copy":
        more = {"v": np.ascontiguousarray(table.T)}
    return save(path, graph, w=table, **more)


def made(
    path: Path, recipe: Recipe, data: Dataset | None = None, target: str = "cpu"
) -> workflow.Quantized:
    job = workflow.open_job(path, recipe, load_target(target), threads=1)
    return workflow.build(job, None if data is None else workflow.measure(job, data))


def stored(data: bytes, shape: tuple[int, int]) -> int:
    """How many constants have as many values as the table."""
    sizes = [np.prod(t.dims) for t in onnx.load_from_string(data).graph.initializer]
    return sum(size == shape[0] * shape[1] for size in sizes)


@pytest.mark.parametrize("head", ["transpose", slow("gemm"), slow("copy")])
@pytest.mark.parametrize("scheme", ["w8", slow("w8u"), slow("w4"), "w4ub32", slow("w16")])
def test_what_both_read_is_stored_once(scheme: str, head: str, tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", SMALL, head)
    found = made(path, Recipe(scheme=scheme, algorithms=()))
    assert len(found.plan.tied) == 1
    assert stored(found.data, SMALL) == 1
    assert operators(as_run(found.data, tmp_path)).count("Transpose") == 0  # folded at load
    before, after = Session(path), Session(found.data)
    least = 17 if "4" in scheme else 35
    assert sqnr(before.run({"i": IDS})["y"], after.run({"i": IDS})["y"]) > least


@pytest.mark.parametrize("contrib", [False, slow(True)])
@pytest.mark.parametrize("scheme", ["w8", slow("w8b32"), slow("w4"), "w4b32", slow("w4ub32")])
def test_the_head_is_packed_all_the_same(scheme: str, contrib: bool, tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", LARGE)
    found = made(path, Recipe(scheme=scheme, contrib=contrib, algorithms=()))
    assert stored(found.data, LARGE) == 1
    assert "MatMulNBits" in operators(as_run(found.data, tmp_path))
    rules = (Rule(match="op:Gather", scheme="float"),)
    apart = made(path, Recipe(scheme=scheme, rules=rules, algorithms=()))
    assert not apart.plan.tied
    both = [next(w for key, w in p.plan.weights.items() if key[1] == 1) for p in (found, apart)]
    np.testing.assert_array_equal(both[0].params.scale, both[1].params.scale)


@pytest.mark.parametrize("scheme", ["w4b32", slow("w4ub32"), slow("w8b32"), slow("w4")])
def test_a_table_that_is_looked_up_shares_with_a_head_that_is_unpacked(
    scheme: str, tmp_path: Path
) -> None:
    """Its codes lie in two axes, the head's in three, where it is unpacked in blocks."""
    path, target = model(tmp_path / "m.onnx"), replace(load_target("cpu"), gathers=1)
    job = workflow.open_job(path, Recipe(scheme=scheme, algorithms=()), target, threads=1)
    found = workflow.build(job, None)
    assert stored(found.data, SMALL) == 1
    kernels = operators(as_run(found.data, tmp_path))
    assert kernels.count("MatMul") == 1 and not {"Reshape", "Transpose"} & {*kernels}
    before, after = Session(path), Session(found.data)
    least = 17 if "4" in scheme else 35
    assert sqnr(before.run({"i": IDS})["y"], after.run({"i": IDS})["y"]) > least


def test_a_head_turned_in_the_graph_and_one_that_is_a_copy_give_one_file(tmp_path: Path) -> None:
    files = [made(model(tmp_path / "m.onnx", SMALL, h), Recipe(scheme="w8")).data for h in HEADS]
    assert [stored(each, SMALL) for each in files] == [1, 1, 1]


def test_integers_multiply_what_is_shared(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", LARGE)
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "i.npy", np.random.default_rng(0).integers(0, 640, (40, 4)))
    data = open_dataset(tmp_path / "data", Session(path).signature)
    for scheme in ("w8a8", "w4a8"):
        found = made(path, Recipe(scheme=scheme, algorithms=()), data)
        assert {w.form for w in found.plan.weights.values()} == {"stored", "static"}
        assert stored(found.data, LARGE) == 1
        assert {"MatMulIntegerToFloat"} <= set(operators(as_run(found.data, tmp_path)))


@pytest.mark.parametrize(
    ("recipe", "target"),
    [
        (Recipe(scheme="w2b32"), "cpu"),  # the runtime turns no codes of 2 bits
        (Recipe(scheme="w8", rules=(Rule(match="op:MatMul", scheme="w4"),)), "cpu"),
        (Recipe(scheme="w8a8", mode="dynamic"), "cpu"),
        (Recipe(scheme="w8"), "portable"),
    ],
)
def test_each_has_its_own(recipe: Recipe, target: str, tmp_path: Path) -> None:
    found = made(model(tmp_path / "m.onnx"), recipe, target=target)
    assert not found.plan.tied
    assert stored(found.data, SMALL) == 2


@pytest.mark.parametrize("head", ["transpose", slow("gemm"), slow("copy")])
@pytest.mark.parametrize("target", ["cpu", slow("portable")])
@pytest.mark.parametrize("scheme", ["fp16", slow("bf16")])
def test_of_16_bits_they_are_stored_once_too(
    scheme: str, target: str, head: str, tmp_path: Path
) -> None:
    path = model(tmp_path / "m.onnx", SMALL, head)
    found = made(path, Recipe(scheme=scheme), target=target)
    assert stored(found.data, SMALL) == 1
    assert len(found.data) < 0.55 * 4 * SMALL[0] * SMALL[1]
    if target == "cpu":
        assert operators(as_run(found.data, tmp_path)).count("Transpose") == 0  # folded at load
    before, after = Session(path), Session(found.data)
    assert sqnr(before.run({"i": IDS})["y"], after.run({"i": IDS})["y"]) > 40


def test_where_both_stay_float_no_copy_is_added(tmp_path: Path) -> None:
    graph = """g (int64[N,4] i) => (float[N,4,96] y) {
        e = Gather(w, i) k = MatMul(e, u) h = Tanh(k)
        t = Transpose<perm=[1,0]>(w) y = MatMul(h, t) }"""
    path = save(tmp_path / "m.onnx", graph, w=normal(*SMALL, seed=3), u=weight(64, 64))
    rules = tuple(Rule(match=match, scheme="float") for match in ("e", "y"))
    found = made(path, Recipe(scheme="w8", rules=rules))
    assert stored(found.data, SMALL) == 1
    before, after = Session(path), Session(found.data)
    assert sqnr(before.run({"i": IDS})["y"], after.run({"i": IDS})["y"]) > 35


def test_only_the_same_values_are_tied(tmp_path: Path) -> None:
    table = normal(*SMALL, seed=3)
    other = table.T.copy()
    other[-1, -1] += 1
    graph = (
        "g (int64[N,4] i) => (float[N,4,96] y) { e = Gather(w, i) h = Tanh(e) y = MatMul(h, v) }"
    )
    path = save(tmp_path / "m.onnx", graph, w=table, v=other)
    assert not made(path, Recipe(scheme="w8")).plan.tied


@pytest.mark.parametrize("scheme", [slow("w8"), slow("w8t"), "w4ub16"])
def test_a_grid_is_turned_with_its_matrix(scheme: str, tmp_path: Path) -> None:
    found = made(model(tmp_path / "m.onnx"), Recipe(scheme=scheme))
    table = next(w for key, w in found.plan.weights.items() if key[1] == 0)
    values = normal(*SMALL, seed=9)
    there = dequantize(quantize(values, table.params), table.params)
    params = turned(table.params)
    np.testing.assert_array_equal(there.T, dequantize(quantize(values.T, params), params))
    assert turned(params).granularity == table.params.granularity
