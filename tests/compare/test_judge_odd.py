"""`compare` with NaN, with shapes and labels that do not fit, and with models that are no pair."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtool.compare import gates
from qtool.compare.judge import compare
from qtool.errors import DataError, ModelError, QtoolError
from tests.compare.rows import IDENTITY, LABELS, SCORES, strict_json


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


@pytest.mark.parametrize("content", [None, b"", b"not a model at all"])
def test_what_is_no_model_is_one_error(build: Any, tmp_path: Path, content: bytes | None) -> None:
    other = tmp_path / "other.onnx"
    if content is not None:
        other.write_bytes(content)
    with pytest.raises(QtoolError, match=r"other\.onnx"):
        compare(build("reference", IDENTITY), other)
