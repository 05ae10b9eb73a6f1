"""What is kept of an output: little, and only while its samples are of one kind."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qtool.compare.rows import as_rows
from qtool.compare.truth.held import Judged
from qtool.compare.truth.labels import Labels
from qtool.compare.watch import Watch

RNG = np.random.default_rng(3)


def judge(watched: list[Watch], labels: NDArray[Any]) -> Judged:
    return Labels(watched, labels).judge()


@pytest.mark.parametrize(
    "value",
    [
        np.array([["cat", "dog"], ["cat", "eel"]], dtype=object),
        [{0: 0.5}, {0: 0.25}],
        [np.ones(3), np.ones(3)],
        {0: 0.5},
        None,
    ],
    ids=["rows of text", "maps of a type not given", "a sequence", "a map", "nothing"],
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
        ((4,), "int64", "label"),
        ((4, 1), "uint8", "label"),
        ((4,), "bool", "label"),
        ((4,), "object", "label"),
        ((4,), "str", "label"),
        ((5,), "int64", ""),
        ((4, 3, 3), "float32", ""),
        ((10, 4), "float32", ""),
        ((), "float32", ""),
    ],
)
def test_kinds(shape: tuple[int, ...], dtype: str, kind: str) -> None:
    watch, value = Watch("y"), np.ones(shape).astype(dtype)
    watch.see(value, value, 4)
    found = watch.result()
    assert found is not None
    assert watch.kind == found.kind == kind
    assert (found.agreement is not None) == (kind in ("classes", "label"))
    assert math.isnan(found.sqnr_db) == (kind == "label")
    assert found.identical


def test_a_sample_of_classes_keeps_six_numbers_at_most() -> None:
    watch, scores = Watch("y"), RNG.random((8, 1000)).astype(np.float32)
    for _ in range(3):
        watch.see(scores, scores, 8)
    assert watch.column("reference").shape == watch.column("candidate").shape == (24, 5)


def test_few_classes_have_no_top5() -> None:
    for classes, names in ((5, ["top1", "f1"]), (6, ["top1", "top5", "f1"])):
        watch, scores = Watch("y"), np.eye(classes)
        watch.see(scores, scores, classes)
        assert list(judge([watch], np.arange(classes)).scores) == names


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
    found = judge([watch], np.arange(3)).scores
    assert [(score.reference, score.candidate) for score in found.values()] == [(1, 0), (1, 0)]


def test_labels_choose_the_first_output_of_their_kind() -> None:
    ids, value, classes, more = Watch("ids"), Watch("value"), Watch("classes"), Watch("more")
    ids.see(np.arange(3), np.arange(3), 3)
    value.see(np.ones(3), np.ones(3), 3)
    classes.see(np.eye(3), np.eye(3), 3)
    more.see(np.eye(3), np.eye(3), 3)
    every = [ids, value, classes, more]
    assert judge(every, np.arange(3)).output == "classes"
    assert judge(every, np.ones(3)).output == "value"
    assert judge([value, ids], np.arange(3)).output == "ids", "with no scores, predicted classes"
    assert judge([value], np.arange(3)).output is None
    assert not judge([ids, classes], np.ones(3)).scores


def test_predicted_classes_agree_one_by_one() -> None:
    for values in ([3, 5, 5, 7], ["cat", "dog", "dog", "eel"]):
        watch, reference = Watch("y"), np.array(values, object if values[0] == "cat" else np.int32)
        candidate = reference.copy()
        candidate[1] = reference[0]
        watch.see(reference[:3], candidate[:3], 3)
        watch.see(reference[3:], candidate[3:], 1)
        found = watch.result()
        assert found is not None and found.agreement is not None
        assert (found.agreement.value, found.agreement.n, found.identical) == (0.75, 4, False)
        assert all(map(math.isnan, (found.sqnr_db, found.cosine, found.max_abs_error)))
        assert watch.notes() == ()


def test_texts_that_turn_out_to_be_more_than_labels_are_not_compared() -> None:
    watch, texts = Watch("y"), np.array(["cat", "dog"], object)
    watch.see(texts, texts, 2)
    watch.see(texts, texts, 1)
    assert watch.result() is None
    assert "not compared" in watch.notes()[0]


MAPS = "seq(map(int64,float32))"


def test_maps_are_rows_by_sorted_key() -> None:
    def see(*maps: dict[Any, float], dtype: str = MAPS) -> tuple[Any, Any]:
        return as_rows(list(maps), dtype)

    rows, keys = see({7: 0.5, 3: 0.25, 10: 0.125}, {3: 1.0, 10: 0.0, 7: 0.0})
    assert keys == (3, 7, 10)
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0.25, 0.5, 0.125], [1, 0, 0]]
    rows, keys = see({"b": 1e300, "a": 2.0}, dtype="seq(map(str,float64))")
    assert (keys, rows.dtype, rows.tolist()) == (("a", "b"), np.float64, [[2.0, 1e300]])
    assert see({1: 0.5}, {2: 0.5}) == ([{1: 0.5}, {2: 0.5}], None)
    assert see() == ([], None)
    array = np.ones((2, 3))
    assert as_rows(array, "float32") == (array, None)


def test_maps_give_what_arrays_give() -> None:
    reference, candidate = RNG.random((2, 9, 7)).astype(np.float32)
    maps, arrays = Watch("y", MAPS), Watch("y")
    for part in (slice(0, 4), slice(4, 9)):
        left, right = reference[part], candidate[part]
        of_maps = [[dict(enumerate(row.tolist())) for row in rows] for rows in (left, right)]
        maps.see(of_maps[0], of_maps[1], len(left))
        arrays.see(left, right, len(left))
    assert maps.result() == arrays.result()
    assert (maps.keys, maps.classes) == (tuple(range(7)), 7)
    assert judge([maps], np.arange(9) % 7) == judge([arrays], np.arange(9) % 7)


def test_other_keys_are_other_columns() -> None:
    watch = Watch("y", MAPS)
    watch.see([{1: 0.5, 2: 0.5}], [{1: 0.5, 3: 0.5}], 1)
    watch.see([{1: 0.5, 2: 0.5}], [{1: 0.5, 2: 0.5}], 1)
    found = watch.result()
    assert found is not None
    assert (found.mismatched, found.kind, found.agreement) == (1, "", None)
    changing = Watch("y", MAPS)
    for key in (2, 3):
        changing.see([{1: 0.5, key: 0.5}], [{1: 0.5, key: 0.5}], 1)
    found = changing.result()
    assert found is not None
    assert (found.kind, found.identical, found.agreement) == ("", True, None)


def test_a_reference_without_a_finite_value_is_equal_to_nothing() -> None:
    watch = Watch("y")
    watch.see(np.full((2, 3, 4), np.nan), np.ones((2, 3, 4)), 2)
    found = watch.result()
    assert found is not None
    assert not found.identical
    assert all(map(math.isnan, (found.sqnr_db, found.cosine, found.max_abs_error)))
    assert found.intervals == {}
