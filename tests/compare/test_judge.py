"""`compare` on models whose outputs are plain functions of the samples."""

from __future__ import annotations

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
from qtool.errors import UsageError
from qtool.numeric import metrics
from tests.compare.rows import IDENTITY, LABELS, SCORES, SHIFT, SHIFTED, strict_json


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
    rng = np.random.default_rng(6)
    x = rng.normal(size=(50, 1)).astype(np.float32)
    labels = x[:, 0] + rng.normal(scale=0.1, size=50)
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


def test_a_score_itself_has_an_interval_too(build: Any, feed: Any) -> None:
    reference, candidate = build("reference", IDENTITY), build("candidate", SHIFTED)
    found = compare(reference, candidate, feed(reference, SCORES, LABELS))
    for score in found.scores.values():
        sure = score.candidate_interval
        assert sure is not None
        assert sure.low < score.candidate < sure.high
    (result,) = gates.judge([gates.parse(f"top1 >= {found.scores['top1'].candidate}")], found)
    assert (result.passed, result.certain) == (True, False)
