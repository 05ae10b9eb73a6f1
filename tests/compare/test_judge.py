"""`compare` on models whose outputs are plain functions of the samples."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import sklearn.metrics as truth
from numpy.typing import NDArray
from onnx import numpy_helper

from qtool.compare import gates
from qtool.compare.judge import compare
from qtool.errors import DataError, ModelError, QtoolError, UsageError
from qtool.numeric import metrics

IDENTITY = "m (float[N,7] x) => (float[N,7] y) { y = Identity(x) }"
SHIFTED = """m (float[N,7] x) => (float[N,7] y) <float[7] k = {0.4, 0, 0.1, 0, -0.3, 0, 0.2}> {
    y = Add(x, k) }"""
SHIFT = np.array([0.4, 0, 0.1, 0, -0.3, 0, 0.2], np.float32)

RNG = np.random.default_rng(5)
SCORES = RNG.normal(size=(60, 7)).astype(np.float32)
LABELS = np.where(RNG.random(60) < 0.8, SCORES.argmax(axis=1), 3)


def strict_json(found: Any) -> Any:
    return json.loads(json.dumps(found.as_dict(), allow_nan=False))


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_batches_stream_to_the_metrics_of_the_whole(build: Any, feed: Any, batch_size: int) -> None:
    reference, candidate = build("reference", IDENTITY), build("candidate", SHIFTED)
    steps: list[tuple[int, int]] = []
    found = compare(
        reference,
        candidate,
        feed(reference, SCORES),
        batch_size=batch_size,
        progress=lambda done, total: steps.append((done, total)),
    )
    (output,) = found.outputs
    shifted = SCORES + SHIFT
    assert found.samples == 60
    assert output.sqnr_db == pytest.approx(metrics.sqnr_db(SCORES, shifted), rel=1e-9)
    assert output.cosine == pytest.approx(metrics.cosine(SCORES, shifted), rel=1e-9)
    assert output.max_abs_error == metrics.max_abs_error(SCORES, shifted)
    assert output.mean_abs_error == pytest.approx(metrics.mean_abs_error(SCORES, shifted))
    assert output.agreement is not None
    assert output.agreement.value == np.mean(SCORES.argmax(axis=1) == shifted.argmax(axis=1)) < 1
    assert output.agreement.value in output.agreement.interval
    assert output.agreement.n == 60
    assert output.kl is None, "these are no probabilities"
    assert (found.labelled, found.scores, found.latency, found.notes) == (None, {}, None, ())
    assert steps[-1] == (60, 60)
    assert len(steps) == math.ceil(60 / batch_size)


def test_class_scores_are_scikit_learns(build: Any, feed: Any) -> None:
    reference, candidate = build("reference", IDENTITY), build("candidate", SHIFTED)
    found = compare(reference, candidate, feed(reference, SCORES, LABELS), batch_size=16)
    assert found.labelled == "y"
    assert list(found.scores) == ["top1", "top5", "f1"]
    for model, scores in (("reference", SCORES), ("candidate", SCORES + SHIFT)):
        best = scores.argmax(axis=1)
        expected = {
            "top1": truth.accuracy_score(LABELS, best),
            "top5": truth.top_k_accuracy_score(LABELS, scores, k=5, labels=range(7)),
            "f1": truth.f1_score(LABELS, best, average="macro"),
        }
        assert {n: getattr(s, model) for n, s in found.scores.items()} == pytest.approx(expected)
    for score in found.scores.values():
        assert score.drop == pytest.approx(score.reference - score.candidate)
        assert score.drop in score.interval
        assert score.n == 60
    assert found.scores["top1"].drop > 0


def test_values_are_scikit_learns_and_a_worse_candidate_drops(build: Any, feed: Any) -> None:
    reference = build("reference", "m (float[N,1] x) => (float[N,1] y) { y = Identity(x) }")
    candidate = build(
        "candidate",
        "m (float[N,1] x) => (float[N,1] y) <float k = {0.7}> { y = Mul(x, k) }",
    )
    x = RNG.normal(size=(50, 1)).astype(np.float32)
    labels = x[:, 0] + RNG.normal(scale=0.1, size=50)
    found = compare(reference, candidate, feed(reference, x, labels)).scores
    shrunk = np.float32(0.7) * x
    assert found["mse"].reference == pytest.approx(truth.mean_squared_error(labels, x))
    assert found["mse"].candidate == pytest.approx(truth.mean_squared_error(labels, shrunk))
    assert found["r2"].reference == pytest.approx(truth.r2_score(labels, x))
    assert found["r2"].candidate == pytest.approx(truth.r2_score(labels, shrunk))
    for score in found.values():
        assert score.interval.low > 0, "all of the interval says worse"
        assert score.drop in score.interval


def test_kl_of_probabilities(build: Any, feed: Any) -> None:
    reference = build("reference", "m (float[N,7] x) => (float[N,7] y) { y = Softmax(x) }")
    candidate = build(
        "candidate",
        """m (float[N,7] x) => (float[N,7] y) <float k = {0.9}> {
            z = Mul(x, k)
            y = Softmax(z) }""",
    )

    def softmax(x: NDArray[Any]) -> NDArray[Any]:
        e = np.exp(x.astype(np.float64))
        return e / e.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]

    p, q = softmax(SCORES), softmax(SCORES * 0.9)
    found = compare(reference, candidate, feed(reference, SCORES), batch_size=8)
    expected = np.mean(np.sum(p * np.log(p / q), axis=1))
    assert found.outputs[0].kl == pytest.approx(expected, rel=1e-3)


def test_a_model_against_itself_is_identical_and_says_so_in_json(build: Any, feed: Any) -> None:
    reference = build("reference", IDENTITY)
    found = compare(reference, reference, feed(reference, SCORES, LABELS))
    (output,) = strict_json(found)["outputs"]
    assert found.outputs[0].sqnr_db == math.inf
    assert (output["sqnr_db"], output["identical"], output["cosine"]) == (None, True, 1.0)
    assert strict_json(found)["schema"] == 1
    assert strict_json(found)["size"]["ratio"] == 1
    assert strict_json(found)["scores"]["top1"]["drop"] == 0


def test_nan_in_the_candidate_is_reported_and_fails_every_gate(build: Any, feed: Any) -> None:
    reference = build("reference", IDENTITY)
    candidate = build(
        "candidate",
        """m (float[N,7] x) => (float[N,7] y) {
            z = Mul(x, x)
            y = Div(z, x) }""",
    )
    x = SCORES.copy()
    x[3, 2] = 0
    found = compare(reference, candidate, feed(reference, x, LABELS))
    (output,) = strict_json(found)["outputs"]
    assert output["nonfinite"] == 1
    assert not output["identical"]
    assert {output[key] for key in ("sqnr_db", "cosine", "max_abs_error")} == {None}
    assert "1 values of the candidate are NaN or infinite" in found.notes[0]
    wanted = ["sqnr >= 0dB", "cosine >= 0", "max_abs_error <= 1e9", "mean_abs_error <= 1e9"]
    results = gates.judge(map(gates.parse, wanted), found)
    assert [result.passed for result in results] == [False] * 4


def test_infinite_values_against_labels_do_not_crash(build: Any, feed: Any) -> None:
    reference = build("reference", "m (float[N,1] x) => (float[N,1] y) { y = Identity(x) }")
    candidate = build("candidate", "m (float[N,1] x) => (float[N,1] y) { y = Log(x) }")
    found = compare(reference, candidate, feed(reference, np.zeros((4, 1), np.float32), [0.5] * 4))
    assert found.outputs[0].nonfinite == 4
    score = strict_json(found)["scores"]["mse"]
    assert (score["reference"], score["candidate"], score["drop"]) == (0.25, None, None)
    (result,) = gates.judge([gates.parse("mse.drop <= 100")], found)
    assert not result.passed


def test_values_that_the_reference_has_not_are_left_out(build: Any, feed: Any) -> None:
    reference = build("reference", "m (float[N,3] x) => (float[N,3] y) { y = Log(x) }")
    found = compare(reference, reference, feed(reference, np.eye(3, dtype=np.float32)))
    assert (found.outputs[0].skipped, found.outputs[0].nonfinite) == (6, 0)
    assert "left out" in found.notes[0]


@pytest.mark.parametrize(
    ("graph", "names"),
    [
        ("m (float[N,7] z) => (float[N,7] y) { y = Identity(z) }", "input"),
        ("m (float[N,7] x) => (float[N,7] w) { w = Identity(x) }", "output"),
        (
            """m (float[N,7] x) => (float[N,7] y, float[N,7] w) {
            y = Identity(x)
            w = Identity(x) }""",
            "output",
        ),
        ("m (int32[N,7] x) => (float[N,7] y) { y = Cast<to = 1>(x) }", "'x'"),
        ("m (bfloat16[N,7] x) => (float[N,7] y) { y = Cast<to = 1>(x) }", "'x'"),
        ("m (float[N,7] x) => (bfloat16[N,7] y) { y = Cast<to = 16>(x) }", "'y'"),
        ("m (float[N,8] x) => (float[N,8] y) { y = Identity(x) }", "'x'"),
        ("m (float[N,7] x) => (float[M] y) <int64[1] s = {-1}> { y = Reshape(x, s) }", "'y'"),
    ],
    ids=[
        "input name",
        "output name",
        "more outputs",
        "input dtype",
        "input bfloat16",
        "output bfloat16",
        "input size",
        "output rank",
    ],
)
def test_signatures_must_agree(build: Any, graph: str, names: str) -> None:
    with pytest.raises(ModelError, match=names) as caught:
        compare(build("reference", IDENTITY), build("candidate", graph))
    assert "reference:" in caught.value.why
    assert "candidate:" in caught.value.why


def test_the_order_of_outputs_must_agree(build: Any) -> None:
    body = "{ a = Identity(x)\n b = Neg(x) }"
    one = build("one", f"m (float[N,7] x) => (float[N,7] a, float[N,7] b) {body}")
    other = build("other", f"m (float[N,7] x) => (float[N,7] b, float[N,7] a) {body}")
    with pytest.raises(ModelError, match="different outputs"):
        compare(one, other)


TWO = """m (float[N,7] x) => (float[N,7] y, int64[N] best) <float k = {FACTOR}> {
    y = Mul(x, k)
    best = ArgMax<axis = 1, keepdims = 0>(x) }"""


def test_outputs_are_compared_one_by_one_or_alone(build: Any, feed: Any) -> None:
    reference = build("reference", TWO.replace("FACTOR", "1"))
    candidate = build("candidate", TWO.replace("FACTOR", "0.5"))
    data = feed(reference, SCORES)
    y, best = compare(reference, candidate, data).outputs
    assert y.sqnr_db == pytest.approx(20 * math.log10(2), rel=1e-6)
    assert best.identical
    assert (best.name, best.dtype, best.kind) == ("best", "int64", "label")
    assert best.agreement is not None and best.agreement.value == 1
    assert compare(reference, candidate, data, output="best").outputs == (best,)
    with pytest.raises(UsageError, match="no output 'bst'") as caught:
        compare(reference, candidate, data, output="bst")
    assert "did you mean 'best'" in caught.value.fix


def test_samples_of_different_shapes(build: Any, feed: Any) -> None:
    reference = build("reference", "m (float[N,L] x) => (float[N,L] y) { y = Identity(x) }")
    candidate = build(
        "candidate", "m (float[N,L] x) => (float[N,L] y) <float k = {0.5}> { y = Mul(x, k) }"
    )
    samples = [np.full(length, length, np.float32) for length in (3, 3, 5, 2)]
    found = compare(reference, candidate, feed(reference, samples), batch_size=4)
    assert found.samples == 4
    whole = np.concatenate(samples)
    assert found.outputs[0].sqnr_db == pytest.approx(metrics.sqnr_db(whole, whole * 0.5))
    assert found.outputs[0].agreement is None, "there is no one set of classes"


def test_shapes_that_differ_between_the_models_count_as_infinitely_wrong(
    build: Any, feed: Any
) -> None:
    reference = build("reference", "m (float[N,7] x) => (float[N,M] y) { y = Identity(x) }")
    candidate = build(
        "candidate", "m (float[N,7] x) => (float[N,M] y) { y = Concat<axis = 1>(x, x) }"
    )
    found = compare(reference, candidate, feed(reference, SCORES[:5]), batch_size=2)
    (output,) = found.outputs
    assert (output.mismatched, output.sqnr_db, output.dtype) == (3, -math.inf, "float32")
    assert not output.identical
    assert strict_json(found)["outputs"][0]["sqnr_db"] is None
    assert "the shapes differ in 3 of 3 runs" in found.notes[0]


@pytest.mark.parametrize("label", [-1, 7])
def test_a_label_beyond_the_classes_names_both(build: Any, feed: Any, label: int) -> None:
    reference = build("reference", IDENTITY)
    with pytest.raises(DataError, match=f"label {label} is not a class of output 'y'") as caught:
        compare(reference, reference, feed(reference, SCORES[:3], [0, label, 6]))
    assert "0 to 6" in caught.value.why


def test_labels_that_fit_no_output_are_said_to_be_unused(build: Any, feed: Any) -> None:
    reference = build("reference", IDENTITY)
    found = compare(reference, reference, feed(reference, SCORES[:3], [0.5, 1.5, 2.5]))
    assert (found.labelled, found.scores) == (None, {})
    assert "labels of type float64" in found.notes[0]


def test_without_data_only_sizes(build: Any) -> None:
    reference, candidate = build("reference", IDENTITY), build("candidate", SHIFTED)
    found = compare(reference, candidate)
    assert found.size.reference == reference.stat().st_size
    assert found.size.ratio == candidate.stat().st_size / reference.stat().st_size
    assert (found.samples, found.outputs) == (0, ())
    with pytest.raises(UsageError, match="latency"):
        compare(reference, candidate, latency=True)


def test_external_data_counts_as_size(build: Any, tmp_path: Path) -> None:
    inside = build("inside", SHIFTED)
    outside = tmp_path / "outside.onnx"
    proto = onnx.load(inside)
    (weight,) = proto.graph.initializer
    weight.CopyFrom(numpy_helper.from_array(SHIFT, weight.name))  # as raw bytes, which can move
    onnx.save(proto, outside, save_as_external_data=True, location="weights", size_threshold=0)
    found = compare(inside, outside)
    data = tmp_path / "weights"
    assert data.stat().st_size >= SHIFT.nbytes
    assert found.size.candidate == outside.stat().st_size + data.stat().st_size


@pytest.mark.parametrize("content", [None, b"", b"not a model at all"])
def test_what_is_no_model_is_one_error(build: Any, tmp_path: Path, content: bytes | None) -> None:
    other = tmp_path / "other.onnx"
    if content is not None:
        other.write_bytes(content)
    with pytest.raises(QtoolError, match=r"other\.onnx"):
        compare(build("reference", IDENTITY), other)
