"""Models with maps, which onnx_ir cannot hold: what goes in and out keeps its type to the byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from typer.testing import CliRunner

from qtool import model as models
from qtool.cli.app import app
from qtool.passes import prepare
from qtool.runtime import Session
from tests.models import normal, operators, proto, run, weight

ML = '"ai.onnx.ml": 1'
INTS = "seq(map(int64,float[]))", "classlabels_int64s=[7,3,5]"
TEXTS = "seq(map(string,float))", 'classlabels_strings=["dog","a cat","cow"]'
GRAPH = """g (float[N,4] x) => (int64[N] k, KIND z) {
    s = MatMul(x, w) p = Softmax<axis=1>(s) k = ArgMax<axis=1, keepdims=0>(p)
    i = Identity(p) z = ai.onnx.ml.ZipMap<LABELS>(i) }"""


def classifier(kind: str, labels: str, *, opset: int = 21) -> onnx.ModelProto:
    made = proto(
        GRAPH.replace("KIND", kind).replace("LABELS", labels), opset=opset, extra=ML, w=weight(4, 3)
    )
    made.graph.output[1].type.denotation = "PROBABILITIES"
    return made


def save(made: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(made.SerializeToString())
    return path


def types(data: bytes | onnx.ModelProto) -> list[tuple[str, bytes]]:
    """Names and raw types of all inputs and outputs."""
    made = onnx.load_from_string(data) if isinstance(data, bytes) else data
    ends = (*made.graph.input, *made.graph.output)
    return [(value.name, value.type.SerializeToString(deterministic=True)) for value in ends]


@pytest.fixture(params=[INTS, TEXTS], ids=["integers", "texts"])
def made(request: pytest.FixtureRequest) -> onnx.ModelProto:
    return classifier(*request.param)


def test_every_step_keeps_the_types_to_the_byte(made: onnx.ModelProto, tmp_path: Path) -> None:
    loaded = models.load(save(made, tmp_path / "m.onnx"))
    steps = {
        "loaded": loaded,
        "cloned": loaded.clone(),
        "shapes": models.infer_shapes(loaded),
        "prepared": prepare(loaded),
        "all": models.infer_shapes(prepare(models.infer_shapes(loaded.clone()).clone())),
    }
    for step, model in steps.items():
        assert types(models.serialize(model)) == types(made), step
        models.check(models.serialize(model))


def test_a_raised_opset_keeps_them_too(tmp_path: Path) -> None:
    made = classifier(*INTS, opset=9)
    raised = models.raise_opset(models.load(save(made, tmp_path / "m.onnx")), 13)
    assert models.opset(raised) == 13
    assert types(models.serialize(raised))[-1] == types(made)[-1]


def test_weights_in_another_file(tmp_path: Path) -> None:
    made = classifier(*INTS)
    before = types(made)
    onnx.save(made, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0, location="w")
    assert (tmp_path / "w").exists()
    assert types(models.serialize(models.load(tmp_path / "m.onnx"))) == before


def test_a_prepared_model_gives_the_same_maps(made: onnx.ModelProto, tmp_path: Path) -> None:
    loaded = models.load(save(made, tmp_path / "m.onnx"))
    after = prepare(loaded)
    assert "Identity" in operators(loaded)
    assert "Identity" not in operators(after)
    x = normal(5, 4)
    before, found = run(loaded, x=x), run(after, x=x)
    assert [row.keys() for row in found["z"]] == [row.keys() for row in before["z"]]
    for one, other in zip(before["z"], found["z"], strict=True):
        assert other == pytest.approx(one, rel=1e-6)


SIGNATURES = {
    "maps by integer": (classifier(*INTS), "z seq(map(int64,float32))"),
    "maps by text": (classifier(*TEXTS), "z seq(map(str,float32))"),
    "a sequence": (proto("g (float[N] x) => (seq(float[N]) z) { z = SequenceConstruct(x) }"),
                   "z seq(float32)"),
    "texts": (proto("g (string[N] x) => (seq(string[N]) z) { z = SequenceConstruct(x) }"),
              "z seq(str)"),
    "an optional": (proto("g (float[N] x) => (optional(float[N]) z) { z = Optional(x) }"),
                    "z optional(float32)"),
    "a tensor": (proto("g (float[N] x) => (float[N] z) { z = Neg(x) }"), "z float32 (N)"),
}  # fmt: skip


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_model_and_its_session_say_the_same(name: str, tmp_path: Path) -> None:
    made, said = SIGNATURES[name]
    path = save(made, tmp_path / "m.onnx")
    found = models.signature(models.load(path))
    assert found == Session(path, threads=1).signature
    assert str(found.outputs[-1]) == said


def test_maps_inside_do_not_end_shape_inference(tmp_path: Path) -> None:
    """onnx's inference annotates the map between two nodes, and onnx_ir cannot read that."""
    made = proto(
        """g (float[N,4] x) => (float[N,4] y) {
        t = Relu(x) y = Neg(t) z = ai.onnx.ml.ZipMap<classlabels_int64s=[1,2,3,4]>(t) }""",
        extra=ML,
    )
    inferred = onnx.shape_inference.infer_shapes(made)
    assert "map_type" in str(inferred.graph.value_info)
    for each in (made, inferred):
        model = models.infer_shapes(models.load(save(each, tmp_path / "m.onnx")))
        found = {value.name: value.dtype for node in model.graph for value in node.outputs}
        assert found["t"] is ir.DataType.FLOAT


def test_maps_in_bodies_and_functions(tmp_path: Path) -> None:
    kind = classifier(*INTS).graph.output[1].type
    body = proto("""g (float[N,3] x, bool c) => (float[N,3] y) { y = If(c) <
        then_branch = a () => (float[N,3] p) {
            i = Neg(x) m = ai.onnx.ml.ZipMap<classlabels_int64s=[1,2,3]>(i) p = Relu(i) },
        else_branch = b () => (float[N,3] q) { q = Neg(x) }> }""", extra=ML)  # fmt: skip
    body.graph.node[0].attribute[0].g.value_info.add(name="m").type.CopyFrom(kind)
    function: onnx.ModelProto = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 21, "ai.onnx.ml": 1, "my": 1]>
        g (float[N,3] x) => (float[N,3] y) { y = my.f(x) }
        <opset_import: ["": 21, "ai.onnx.ml": 1], domain: "my">
        f (a) => (c) { m = ai.onnx.ml.ZipMap<classlabels_int64s=[1,2,3]>(a) c = Neg(a) }"""
    )
    function.functions[0].value_info.add(name="m").type.CopyFrom(kind)
    for made in (body, function):
        loaded = models.load(save(made, tmp_path / "m.onnx"))
        found = run(
            prepare(loaded), x=normal(2, 3), **({"c": np.array(True)} if made is body else {})
        )
        expected = np.maximum(-normal(2, 3), 0) if made is body else -normal(2, 3)
        np.testing.assert_array_equal(found["y"], expected)


def test_a_map_that_goes_in_stays_and_cannot_come_from_a_folder(tmp_path: Path) -> None:
    graph = """g (map(string,float) x) => (float[1,2] y) {
        y = ai.onnx.ml.DictVectorizer<string_vocabulary=["a","b"]>(x) }"""
    made = proto(graph, extra=ML)
    path = save(made, tmp_path / "m.onnx")
    loaded = models.load(path)
    assert str(models.signature(loaded).inputs[0]) == "x map(str,float32)"
    assert models.signature(loaded).inputs == Session(path, threads=1).signature.inputs
    assert types(models.serialize(prepare(loaded))) == types(made)
    np.save(tmp_path / "x.npy", normal(4, 2))
    result = qtool("quantize", path, "--data", tmp_path / "x.npy", "--allow-empty")
    assert result.exit_code == 4
    assert "no data folder can feed the input x map(str,float32)" in result.stderr
    output = tmp_path / "o.onnx"
    assert qtool("quantize", path, "--allow-empty", "--allow-larger", "-o", output).exit_code == 0
    assert types(output.read_bytes()) == types(made)


def qtool(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(each) for each in arguments])


# What skl2onnx makes of a logistic regression; and with no operator of the standard at all.
LOGISTIC = """g (float[N,2] x) => (int64[N] k, seq(map(int64,float[])) z) {
    a = ai.onnx.ml.Scaler<offset=[0.0,1.0], scale=[1.0,0.5]>(x)
    k, p = ai.onnx.ml.LinearClassifier<classlabels_ints=[3,5,7], intercepts=[0.0,0.1,0.2],
        coefficients=[1.0,0.0,0.0,1.0,0.5,0.5], post_transform="SOFTMAX">(a)
    NORM z = ai.onnx.ml.ZipMap<classlabels_int64s=[3,5,7]>(q) }"""
BODIES = {
    "with Cast": "c = Cast<to=1>(p) q = ai.onnx.ml.Normalizer<norm=\"L1\">(c)",
    "bare": "q = ai.onnx.ml.Normalizer<norm=\"L1\">(p)",
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_a_classical_model_through_the_commands(body: str, tmp_path: Path) -> None:
    made = proto(LOGISTIC.replace("NORM", BODIES[body]), opset=9, extra=ML)
    if body == "bare":
        del made.opset_import[0]
        assert [each.domain for each in made.opset_import] == ["ai.onnx.ml"]
    path = save(made, tmp_path / "m.onnx")
    inspected = qtool("inspect", path)
    assert inspected.exit_code == 0
    assert "z seq(map(int64,float32))" in inspected.stdout
    assert "1 ai.onnx.ml.ZipMap" in inspected.stdout

    words = " ".join(inspected.stdout.split())
    assert "it prepares or renames numbers, and has no weights: 1 Scaler" in words

    output = tmp_path / "o.onnx"
    written = qtool("quantize", path, "--allow-empty", "--allow-larger", "-o", output)
    assert written.exit_code == 0, written.stderr
    before, after = Session(path, threads=1), Session(output, threads=1)
    assert after.signature == before.signature
    feeds = {"x": normal(6, 2)}
    expected, found = before.run(feeds)["z"], after.run(feeds)["z"]
    assert [set(each) for each in found] == [{3, 5, 7}] * 6
    for one, other in zip(expected, found, strict=True):
        assert all(abs(one[key] - other[key]) < 0.01 for key in one)
    assert types(output.read_bytes())[-1] == types(made)[-1]
