"""Recurrent layers in plans: weights stored in few bits, why not more, and what that saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from qtool import workflow
from qtool.passes import prepare
from qtool.plan.sites import find_sites
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target
from tests.models import as_run, build, operators, save, weight
from tests.recurrent import BOTH, GATES, saved, worst

STORED = (
    "smaller on disk, same time and memory: the runtime makes floats of the weights when it loads"
)


def made(path: Path, target: str = "cpu", **chosen: Any) -> tuple[workflow.Job, workflow.Quantized]:
    recipe = Recipe.model_validate({"algorithms": (), **chosen})
    job = workflow.open_job(path, recipe, load_target(target), threads=1)
    return job, workflow.build(job, None)


def dynamic(
    path: Path, target: str = "cpu", **chosen: Any
) -> tuple[workflow.Job, workflow.Quantized]:
    return made(path, target, **{"mode": "dynamic", "contrib": True, **chosen})


@pytest.mark.parametrize(
    ("scheme", "least"), [("w8", 42), ("w4", 19), ("w4b16", 20), ("w4b32", 19), ("w4ub16", 20)]
)
@pytest.mark.parametrize("direction", ["forward", "reverse", BOTH])
@pytest.mark.parametrize("operator", GATES)
def test_few_bits(operator: str, direction: str, scheme: str, least: int, tmp_path: Path) -> None:
    attributes = "linear_before_reset=1" if operator == "GRU" and direction == BOTH else ""
    given = "bshcp" if operator == "LSTM" else "bsh"
    path = saved(tmp_path / "m.onnx", operator, attributes, direction=direction, given=given)
    job, found = made(path, scheme=scheme)
    assert operators(as_run(found.data, tmp_path)) == [operator]
    assert worst(path, found.data) > least
    bits = {each.data_type for each in onnx.load_from_string(found.data).graph.initializer}
    kinds = {"w8": onnx.TensorProto.INT8, "w4ub16": onnx.TensorProto.UINT4}
    assert kinds.get(scheme, onnx.TensorProto.INT4) in bits
    assert found.data == made(path, scheme=scheme)[1].data
    assert f"1 {operator}: {STORED}" in job.notes


@pytest.mark.parametrize("operator", ["GRU", "RNN"])
def test_others_have_no_dynamic_kernel(operator: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", operator)
    job, found = dynamic(path)
    assert list(found.plan.notes.values()) == [f"there is no dynamic kernel for {operator}"]
    assert operators(as_run(found.data, tmp_path)) == [operator]
    assert f"1 {operator}: {STORED}" in job.notes


@pytest.mark.parametrize(
    ("chosen", "why"),
    [
        ({"contrib": False}, "its dynamic kernel is the runtime's own, taken with --contrib"),
        ({"target": "portable"}, "there is no dynamic kernel for LSTM"),
        ({"scheme": "w4b16a8"}, "blocks cannot be multiplied in integers"),
        ({"scheme": "w16a8"}, "integer products take bytes"),
        ({"mode": "static"}, "cpu has no integer kernel for it"),
    ],
)
def test_what_stays_stored_says_why(chosen: dict[str, Any], why: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx")
    _, found = dynamic(path, **chosen)
    assert list(found.plan.notes.values()) == [why]
    assert {w.form for w in found.plan.weights.values()} == {"stored"}
    assert {each.domain for each in onnx.load_from_string(found.data).opset_import} == {""}
    assert worst(path, found.data) > 19


def test_what_the_runtime_cannot_run_in_float_either() -> None:
    graph = (
        "g (float[3,7,12] x) => (float[3,7,1,20] y) { y = LSTM<hidden_size=20, layout=1>(x, w, r) }"
    )
    model = prepare(build(graph, w=weight(80, 12)[None], r=weight(80, 20)[None]))
    sites = find_sites(model, Recipe(mode="dynamic", contrib=True), load_target("cpu"))
    assert {site.form for site in sites.weights} == {"stored"}
    assert list(sites.notes.values()) == ["its dynamic kernel wants the steps first (layout = 0)"]


TWO = """g (float[T,3,12] x) => (float[1,3,20] h, float[1,3,160] k, float[1,3,20] l) {
    , h = LSTM<hidden_size=20>(x, w, r) , k = LSTM<hidden_size=160>(x, v, s)
    , l = GRU<hidden_size=20>(x, u, t) }"""


def test_the_notes_tell_what_is_gained_by_size(tmp_path: Path) -> None:
    sizes = {
        "w": (80, 12),
        "r": (80, 20),
        "v": (640, 12),
        "s": (640, 160),
        "u": (60, 12),
        "t": (60, 20),
    }
    path = save(tmp_path / "m.onnx", TWO, **{n: weight(*shape)[None] for n, shape in sizes.items()})
    job, found = dynamic(path)
    units = job.target.recurrent.units
    assert 20 < units <= 160
    assert job.notes == (
        "1 LSTM: smaller on disk, but no faster than float, or slower: the kernel gains from about "
        f"{units} hidden units on",
        "1 LSTM: smaller on disk and in memory, and faster than float",
        f"1 GRU: {STORED}",
    )
    assert made(path, scheme="w8")[0].notes == (f"2 LSTM, 1 GRU: {STORED}",)
    assert not made(path, "portable", scheme="w8")[0].notes  # whoever runs it may fuse
    assert Session(found.data).signature == Session(path).signature
