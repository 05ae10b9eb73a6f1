"""Profiles: which kernels, what they take, and whose they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qtool.search import kernels
from qtool.search.costs import Costs
from qtool.search.kernels import Kernel, original, profile, read
from tests.models import build, normal, save, weight
from tests.search.worlds import chain


def event(name: str, operator: str, took: float, *shape: int) -> dict[str, Any]:
    told = {"op_name": operator, "output_type_shape": [{"float": list(shape)}]}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": took, "args": told}


def test_the_quieter_runs_of_each_kernel_count() -> None:
    events = [event("a", "Conv", took, 1, 8) for took in (10, 10, 90, 80)]
    events += [event("b", "Relu", 1, 4) for _ in range(4)]
    events += [{"cat": "Session", "name": "model_run", "dur": 500}]
    assert read(events, 4) == [
        Kernel("a", "Conv", 10.0, (1, 8)), Kernel("b", "Relu", 1.0, (4,)),
    ]  # fmt: skip


def test_a_kernel_in_a_loop_counts_as_often_as_it_runs() -> None:
    events = [event("a", "Add", 2, 3) for _ in range(12)]
    assert read(events, 4) == [Kernel("a", "Add", 6.0, (3,))]


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("conv_token_14", "conv"),
        ("Relu__5:0_nchwc", "Relu__5:0"),
        ("Times212/MatMulAddFusion", "Times212"),
        ("fused gemm", "gemm"),
        ("node_matmul/MatMulScaleFusion/", "node_matmul"),
    ],
)
def test_names_that_the_runtime_makes_lead_back(name: str, before: str) -> None:
    assert original(name) == [name, before]
    assert original(before) == [before]


def test_a_fused_kernel_counts_for_the_layer_that_it_begins_with() -> None:
    model = build(
        """g (float[1,4,8,8] x) => (float[1,4,8,8] y) {
            a = Conv(x, w) r = Relu(a) y = MaxPool<kernel_shape=[1,1]>(r) }""",
        w=weight(4, 4, 1, 1),
    )
    for node in model.graph:
        node.name = f"n_{node.op_type}"
    costs = Costs(model.graph, ["n_Conv", "n_Relu", "n_MaxPool"])
    owners = {
        ("r_nchwc", "Conv"): "n_Conv",
        ("n_Conv_token_3", "QLinearConv"): "n_Conv",
        ("y_nchwc", "MaxPool"): "n_MaxPool",
        ("ReorderOutput", "ReorderOutput"): None,
        ("x_q", "QuantizeLinear"): None,
    }
    for (name, operator), owner in owners.items():
        of = costs.node_of(Kernel(name, operator, 1.0, (1, 4, 8, 8)))
        assert (of and of.name) == owner, name


def test_what_a_mixed_model_shows_corrects_what_conversions_are_thought_to_take() -> None:
    costs = Costs(chain(2).graph, ["c0", "c1"])
    shape = (1, 4, 8, 8)

    def both(*names: str) -> list[Kernel]:
        return [Kernel(name, "Conv", 10.0, shape) for name in names]

    for floats in (frozenset({"c0", "c1"}), frozenset[str]()):
        costs.learn(both("c0", "c1"), floats)
    before = costs.time({"c0"}) - 20
    costs.learn([*both("c0", "c1"), Kernel("v1_q", "QuantizeLinear", 7.0, shape)], {"c0"})
    assert before > 0 and costs.time({"c0"}) == pytest.approx(27)
    assert costs.time({"c1"}) == pytest.approx(27)


def test_what_nothing_is_fed_to_and_no_run_reached_has_the_shape_it_says() -> None:
    model = build(
        """g (float[1,4,8,8] x) => (float[1,4,8,8] y) {
            r = RandomNormal<shape=[1,4,8,8]>() y = Conv(r, w) }""",
        w=weight(4, 4, 1, 1),
    )
    for node in model.graph:
        node.name = f"n_{node.op_type}"
    costs = Costs(model.graph, ["n_Conv"])
    costs.learn([Kernel("n_Conv", "QLinearConv", 10.0, (1, 4, 8, 8))], frozenset())
    assert costs.time(frozenset()) > 10


def test_models_are_profiled_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "SECONDS", 0.02)
    graph = "g (float[1,8] x) => (float[1,8] y) { a = MatMul(x, w) y = Softmax(a) }"
    paths = [save(tmp_path / f"{i}.onnx", graph, w=weight(8, 8)) for i in range(2)]
    found = profile(paths, [{"x": normal(1, 8)}], tmp_path, threads=1)
    for each in found:
        assert [(k.operator, k.shape) for k in each] == [("MatMul", (1, 8)), ("Softmax", (1, 8))]
        assert all(0 <= k.time < 1e6 for k in each)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.onnx", "1.onnx"]
