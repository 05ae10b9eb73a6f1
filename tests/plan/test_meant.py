"""A node is meant by the names that it has in the file, whatever preparation makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from qtool.cli.options import recipe_from
from qtool.errors import UsageError
from qtool.plan.effects import effects
from qtool.target import load_target
from qtool.workflow import Job, open_job
from tests.models import proto, save, weight

WEIGHTS = {
    "conv1.weight": weight(8, 4, 3, 3),
    "conv2.weight": weight(8, 8, 1, 1),
    "fc.weight": weight(10, 512),
    "fc.bias": np.ones(10, np.float32),
    "bn1.scale": np.ones(8, np.float32),
    "a[0]": weight(8, 8, 1, 1),
}
NAMED = """g (float[N,4,8,8] x) => (float[N,10] y) {
    [conv1] c1 = Conv<pads=[1,1,1,1]>(x, "conv1.weight")
    [bn1] b1 = BatchNormalization(c1, "bn1.scale", "bn1.scale", "bn1.scale", "bn1.scale")
    [relu1] r1 = Relu(b1)
    [same] w2 = Identity("conv2.weight")
    [conv2] c2 = Conv(r1, w2)
    [made] k = Constant<value = float[8,8,1,1] {KERNEL}>()
    [conv3] c3 = Conv(c2, k)
    [conv4] c4 = Conv(c3, "a[0]")
    [flat] f = Flatten(c4)
    [turn] t = Transpose("fc.weight")
    [fc] m = MatMul(f, t)
    [plus] y = Add(m, "fc.bias")
}"""
KERNEL = ", ".join(f"{v:.4f}" for v in weight(8, 8, 1, 1).reshape(-1))
GRAPH = NAMED.replace("KERNEL", KERNEL)


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("named") / "m.onnx", names=True)


@pytest.fixture(scope="module")
def nameless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("nameless") / "m.onnx", names=False)


def saved(path: Path, *, names: bool, opset: int = 12) -> Path:
    """The model; without names all nodes are called ''."""
    made = proto(GRAPH, opset=opset)
    for name, values in WEIGHTS.items():
        made.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    for node in made.graph.node:
        node.name = node.name if names else ""
    path.write_bytes(made.SerializeToString())
    return path


def opened(path: Path, **options: Any) -> Job:
    return open_job(path, recipe_from(None, **options), load_target("cpu"))


def kept(job: Job) -> list[str]:
    """What stays float as asked: what the nodes make."""
    asked = [n for n, reason in job.sites.skipped.items() if reason == "kept in float as asked"]
    return [n.outputs[0].name or "" for n in job.model.graph if n.name in asked]


MEANT = {
    "conv1": ["c1"], "c1": ["c1"], "conv1.weight": ["c1"],  # a batch norm is folded into it
    "conv2": ["c2"], "w2": ["c2"], "conv2.weight": ["c2"],  # behind an Identity
    "conv3": ["c3"], "k": ["c3"],  # a Constant node
    "conv4": ["c4"], "a[0]": ["c4"],  # a name that is another glob
    "fc": ["y"], "m": ["y"], "fc.weight": ["y"], "t": ["y"], "op:MatMul": ["y"], "op:Gemm": ["y"],
    "re:^conv[12]\\.weight$": ["c1", "c2"], "conv?": ["c1", "c2", "c3", "c4"],
    "op:Conv": ["c1", "c2", "c3", "c4"], "*.weight": ["c1", "c2", "y"],
}  # fmt: skip


@pytest.mark.parametrize("pattern", MEANT)
def test_by_node_by_value_and_by_constant(named: Path, pattern: str) -> None:
    job = opened(named, exclude=[pattern])
    assert kept(job) == MEANT[pattern]
    assert job.notes == ()
    assert opened(named, include=[pattern]).sites.weights


@pytest.mark.parametrize(
    "pattern", [p for p in MEANT if not p.startswith(("conv1", "conv2", "conv3", "conv4"))
                and p not in ("fc", "conv?")] + ["conv1.weight", "conv2.weight"],
)  # fmt: skip
def test_by_values_and_constants_where_nodes_have_no_names(nameless: Path, pattern: str) -> None:
    assert kept(opened(nameless, exclude=[pattern])) == MEANT[pattern]


def test_nodes_without_names_are_called_after_what_they_make(nameless: Path) -> None:
    names = {node.name: node.outputs[0].name for node in opened(nameless).model.graph}
    assert names == {"c1": "c1", "r1": "r1", "c2": "c2", "c3": "c3", "c4": "c4", "f": "f", "m": "y"}


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("bn1", "'bn1' was folded into 'conv1'"),
        ("b1", "'bn1' was folded into 'conv1'"),
        ("op:BatchNormalization", "'bn1' was folded into 'conv1'"),
        ("bn1.scale", "'bn1' was folded into 'conv1'"),
        ("plus", "'plus' was folded into 'fc'"),
        ("same", "'same' was computed beforehand: what it makes is constant"),
        ("op:Transpose", "'turn' was computed beforehand: what it makes is constant"),
    ],
)
def test_what_preparation_took_away_is_said(named: Path, pattern: str, why: str) -> None:
    for options in ({"exclude": [pattern]}, {"tensor": [f"{pattern}=w4"]}):
        job = opened(named, **options)
        assert job.notes == (f"pattern {pattern!r} has no effect: {why}",)
        assert kept(job) == []


@pytest.mark.parametrize(
    ("options", "notes"),
    [
        ({"exclude": ["op:Flatten"]}, []),
        ({"tensor": ["op:Flatten=w4"]}, ["pattern 'op:Flatten' has no effect: it has no weights"]),
        ({"include": ["op:Flatten", "fc"]},
         ["pattern 'op:Flatten' has no effect: it has no weights"]),
        ({"tensor": ["conv1=w4", "conv*=w2"]},
         ["pattern 'conv1' has no effect: patterns after it decide about all that it means"]),
        ({"tensor": ["conv*=w2", "conv1=w4"]}, []),
    ],
)  # fmt: skip
def test_patterns_that_do_nothing_and_why(
    named: Path, options: dict[str, list[str]], notes: list[str]
) -> None:
    job = opened(named, with_data=False, **options)
    assert list(job.notes) == notes


def test_effects_count_what_each_pattern_means_and_changes(named: Path) -> None:
    job = opened(named, include=["conv*"], tensor=["conv[12]=w4"], exclude=["*2", "relu1", "c4"])
    found = effects(job.model, job.recipe, job.target, job.sites)
    assert [(e.pattern, e.scheme, e.nodes, e.changed) for e in found] == [
        ("*", "float", 7, 1),  # without it fc would be quantized too
        ("conv*", "w8sca8u", 4, 1),  # conv3: the others are decided by patterns after it
        ("conv[12]", "w4sc", 2, 1),
        ("*2", "float", 1, 1),
        ("relu1", "float", 1, 0),
        ("c4", "float", 1, 1),
    ]


def test_a_pattern_that_means_nothing_names_what_there_is(named: Path) -> None:
    for pattern, closest in (("conv1.weigth", "'conv1.weight'"), ("Conv", "'op:Conv'")):
        with pytest.raises(UsageError) as caught:
            opened(named, exclude=[pattern])
        assert f"none of the {12} nodes" in caught.value.why
        assert closest in caught.value.fix


def test_nodes_of_one_name_in_two_graphs_are_both_meant(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        """g (float[2,4] x, bool c) => (float[2,4] y) {
            [twin] a = MatMul(x, w)
            y = If(c) <then_branch = t () => (float[2,4] p) { [twin] p = MatMul(a, v) },
                       else_branch = e () => (float[2,4] q) { q = Softmax(a) }>
        }""",
        w=weight(4, 4), v=weight(4, 4),
    )  # fmt: skip
    for pattern, count in (("twin", 2), ("v", 1)):
        job = opened(path, exclude=[pattern])
        [found] = effects(job.model, job.recipe, job.target, job.sites)
        assert found.nodes == count


def test_a_function_is_meant_by_its_call_and_by_its_operator(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 21, "my": 1]>
    g (float[N,4] x) => (float[N,4] y) {
        [first] a = my.Layer(x, w1) [second] b = my.Layer(a, w2) y = MatMul(b, w3)
    }
    <domain: "my", opset_import: ["": 21]>
    Layer (x, w) => (z) { [inside] t = MatMul(x, w) z = Relu(t) }"""
    made = onnx.parser.parse_model(text)
    for name in ("w1", "w2", "w3"):
        made.graph.initializer.append(onnx.numpy_helper.from_array(weight(4, 4), name))
    path = tmp_path / "m.onnx"
    path.write_bytes(made.SerializeToString())
    for pattern, count in (("op:Layer", 2), ("first", 1), ("second", 1), ("inside", 1), ("w3", 1)):
        job = opened(path, exclude=[pattern])
        weights = [n for n in job.model.graph if n.op_type == "MatMul"]
        asked = [n for n in weights if job.sites.skipped.get(n.name or "", "").startswith("kept")]
        assert len(asked) == count, pattern


def test_bodies_count_as_nodes_too(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        """g (float[2,4] x, bool c) => (float[2,4] y) {
            a = MatMul(x, w)
            y = If(c) <then_branch = t () => (float[2,4] p) { p = MatMul(a, w) },
                       else_branch = e () => (float[2,4] q) { [inside] q = Softmax(a) }>
        }""",
        w=weight(4, 4),
    )
    for pattern, count in (("w", 2), ("op:MatMul", 2), ("inside", 1), ("p", 1), ("op:Softmax", 1)):
        job = opened(path, exclude=[pattern])
        [found] = effects(job.model, job.recipe, job.target, job.sites)
        assert found.nodes == count, pattern


@pytest.mark.usefixtures("any_size")
def test_what_means_a_loop_means_all_within(tmp_path: Path) -> None:
    graph = """g (float[4,8] x, int64 n) => (float[4,8] y) {
        a = MatMul(x, w) z = Loop(n, , a) <body = b (int64 i, bool c, float[4,8] s)
            => (bool d, float[4,8] r) { d = Identity(c) m = MatMul(s, v) r = Relu(m) }>
        y = MatMul(z, u) }"""
    weights = {"w": weight(8, 8), "v": weight(8, 8, seed=2), "u": weight(8, 8, seed=3)}
    path = save(tmp_path / "m.onnx", graph, **weights)
    for pattern in ("op:Loop", "z"):
        found = opened(path, exclude=[pattern]).sites
        assert len([site for site in found.weights if site.form == "static"]) == 2
        assert found.skipped["m"] == "kept in float as asked"
    assert len(opened(path).sites.weights) == 3


@pytest.mark.usefixtures("any_size")
def test_a_pattern_that_keeps_integers_away_says_so(tmp_path: Path) -> None:
    graph = """g (float[N,4,6,6] x) => (float[N,4,6,6] y) {
        a = Conv(x, w) p = MaxPool<kernel_shape=[1,1]>(a) y = Conv(p, v) }"""
    path = save(tmp_path / "m.onnx", graph, w=weight(4, 4, 1, 1), v=weight(4, 4, 1, 1, seed=2))
    job = opened(path, tensor=["op:MaxPool=w4"])
    assert job.notes == ("pattern 'op:MaxPool' keeps what it means in float: it has no weights",)
