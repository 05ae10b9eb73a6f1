"""What is kept of an output: little, and only while its samples are of one kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qtool.compare.scores import judge
from qtool.compare.watch import Watch

RNG = np.random.default_rng(3)


@pytest.mark.parametrize(
    "value", [np.array(["cat", "dog"], dtype=object), [{0: 0.5}, {0: 0.25}]], ids=["text", "maps"]
)
def test_what_is_no_array_of_numbers_is_said_and_not_compared(value: Any) -> None:
    watch = Watch("y")
    watch.see(value, value, 2)
    assert watch.result() is None
    assert watch.notes() == ("output 'y' is not an array of numbers and was not compared",)


@pytest.mark.parametrize(
    ("shape", "dtype", "kind"),
    [
        ((4, 10), "float32", "classes"),
        ((4, 2), "float16", "classes"),
        ((4, 1), "float32", "value"),
        ((4,), "float64", "value"),
        ((4, 1, 1, 1), "float32", "value"),
        ((4, 10), "int64", ""),
        ((4,), "int64", ""),
        ((4, 3, 3), "float32", ""),
        ((10, 4), "float32", ""),
        ((), "float32", ""),
    ],
)
def test_kinds(shape: tuple[int, ...], dtype: str, kind: str) -> None:
    watch, value = Watch("y"), np.ones(shape, dtype)
    watch.see(value, value, 4)
    assert watch.kind == kind
    found = watch.result()
    assert found is not None
    assert (found.agreement is not None) == (kind == "classes")


def test_a_sample_of_classes_keeps_six_numbers_at_most() -> None:
    watch, scores = Watch("y"), RNG.random((8, 1000)).astype(np.float32)
    for _ in range(3):
        watch.see(scores, scores, 8)
    assert watch.column("reference").shape == watch.column("candidate").shape == (24, 5)


def test_few_classes_have_no_top5() -> None:
    for classes, names in ((5, ["top1", "f1"]), (6, ["top1", "top5", "f1"])):
        watch, scores = Watch("y"), np.eye(classes)
        watch.see(scores, scores, classes)
        assert list(judge([watch], np.arange(classes))[1]) == names


def test_another_number_of_classes_ends_the_kind() -> None:
    watch = Watch("y")
    for classes in (3, 4, 3):
        watch.see(np.eye(classes), np.eye(classes), classes)
    found = watch.result()
    assert found is not None
    assert (watch.kind, found.agreement, found.kl) == ("", None, None)
    assert found.identical


def test_one_batch_that_is_no_probability_ends_kl() -> None:
    watch = Watch("y")
    for scale in (1, 2, 1):
        watch.see(np.eye(3) * scale, np.eye(3) * scale, 3)
    found = watch.result()
    assert found is not None
    assert found.kl is None


def test_nan_scores_agree_with_nothing() -> None:
    watch = Watch("y")
    watch.see(np.full((2, 3), np.nan), np.full((2, 3), np.nan), 2)
    found = watch.result()
    assert found is not None
    assert found.agreement is not None
    assert found.agreement.value == 0


def test_nan_scores_are_wrong_against_any_label() -> None:
    watch = Watch("y")
    watch.see(np.eye(3), np.full((3, 3), np.nan), 3)
    _, found, _ = judge([watch], np.arange(3))
    assert [(score.reference, score.candidate) for score in found.values()] == [(1, 0), (1, 0)]


def test_labels_choose_the_first_output_of_their_kind() -> None:
    ids, value, classes, more = Watch("ids"), Watch("value"), Watch("classes"), Watch("more")
    ids.see(np.arange(3), np.arange(3), 3)
    value.see(np.ones(3), np.ones(3), 3)
    classes.see(np.eye(3), np.eye(3), 3)
    more.see(np.eye(3), np.eye(3), 3)
    every = [ids, value, classes, more]
    assert judge(every, np.arange(3))[0] == "classes"
    assert judge(every, np.ones(3))[0] == "value"
    assert judge([ids], np.arange(3))[:2] == (None, {})
