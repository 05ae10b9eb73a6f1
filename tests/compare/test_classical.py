"""Classifiers as scikit-learn's exporter writes them: a predicted label, and maps of scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as truth

from qtool import model as models
from qtool.compare.judge import compare
from qtool.data import Dataset, open_dataset
from qtool.errors import DataError, UsageError

RNG = np.random.default_rng(8)
SCORES = RNG.normal(size=(60, 3)).astype(np.float32)
SHIFT = np.array([0.5, 0, -0.5], np.float32)
INTS = np.array([3, 5, 7])
NAMES = np.array(["eel", "a cat", "dog"])  # not in the order of their names
INT_MAPS = "classlabels_int64s=[3,5,7]", "seq(map(int64,float[]))", "int64"
TEXT_MAPS = 'classlabels_strings=["eel","a cat","dog"]', "seq(map(string,float))", "string"


def classifier(build: Any, name: str, maps: tuple[str, str, str], shift: str = "0,0,0") -> Path:
    """Gives the class with the highest score, and the scores as maps."""
    labels, kind, key = maps
    keys = "7" if key == "int64" else "8"
    path: Path = build(
        name,
        f"""m (float[N,3] x) => ({key}[N] best, {kind} z) <float[3] k = {{{shift}}}> {{
        s = Add(x, k) p = Softmax<axis=1>(s)
        i = ArgMax<axis=1, keepdims=0>(p)
        best = ai.onnx.ml.LabelEncoder<keys_int64s=[0,1,2], {VALUES[keys]}>(i)
        z = ai.onnx.ml.ZipMap<{labels}>(p) }}""",
    )
    return path


VALUES = {"7": "values_int64s=[3,5,7]", "8": 'values_strings=["eel","a cat","dog"]'}


def pair(build: Any, maps: tuple[str, str, str]) -> tuple[Path, Path]:
    return classifier(build, "reference", maps), classifier(build, "candidate", maps, "0.5,0,-0.5")


def expected(labels: Any, classes: Any) -> dict[str, tuple[float, float]]:
    """What scikit-learn says of both models."""
    best = [classes[scores.argmax(axis=1)] for scores in (SCORES, SCORES + SHIFT)]
    return {
        "top1": tuple(truth.accuracy_score(labels, each) for each in best),
        "f1": tuple(truth.f1_score(labels, each, average="macro") for each in best),
    }


def in_folders(path: Path, model: Path, names: Any) -> Dataset:
    """One folder for each class; the samples sorted as `names` are."""
    for i, (row, name) in enumerate(zip(SCORES, names, strict=True)):
        (path / str(name)).mkdir(parents=True, exist_ok=True)
        np.save(path / str(name) / f"{i:04}.npy", row)
    return open_dataset(path, models.signature(models.load(model)))


def found_scores(found: Any) -> dict[str, tuple[float, float]]:
    return {name: (score.reference, score.candidate) for name, score in found.scores.items()}


def check(found: Any, wanted: dict[str, tuple[float, float]]) -> None:
    assert found_scores(found).keys() == wanted.keys()
    for name, values in wanted.items():
        assert found_scores(found)[name] == pytest.approx(values), name
    assert found.scores["top1"].drop != 0, "the test would show nothing"


LABELS = np.where(RNG.random(60) < 0.8, SCORES.argmax(axis=1), RNG.integers(0, 3, 60))


@pytest.mark.parametrize("batch_size", [1, 16])
def test_integer_keys_are_the_labels(build: Any, feed: Any, batch_size: int) -> None:
    reference, candidate = pair(build, INT_MAPS)
    data = feed(reference, SCORES, INTS[LABELS])
    found = compare(reference, candidate, data, batch_size=batch_size)
    best, z = found.outputs
    assert (best.kind, z.kind, found.labelled, found.notes) == ("label", "classes", "z", ())
    check(found, expected(INTS[LABELS], INTS))
    agreement = np.mean(SCORES.argmax(axis=1) == (SCORES + SHIFT).argmax(axis=1))
    assert best.agreement is not None and z.agreement is not None
    assert best.agreement.value == z.agreement.value == agreement < 1
    assert (z.dtype, z.mismatched) == ("float32", 0)
    assert z.kl is not None and z.kl > 0.01


def test_the_label_is_judged_where_it_is_asked_for(build: Any, feed: Any) -> None:
    reference, candidate = pair(build, INT_MAPS)
    data = feed(reference, SCORES, INTS[LABELS])
    found = compare(reference, candidate, data, output="best", batch_size=60)
    assert (found.labelled, [o.name for o in found.outputs]) == ("best", ["best"])
    check(found, expected(INTS[LABELS], INTS))


@pytest.mark.parametrize("output", ["z", "best"])
def test_texts_are_class_names(build: Any, tmp_path: Path, output: str) -> None:
    reference, candidate = pair(build, TEXT_MAPS)
    data = in_folders(tmp_path / "data", reference, NAMES[LABELS])
    assert data.classes == ("a cat", "dog", "eel")
    found = compare(reference, candidate, data, output=output)
    assert (found.labelled, found.notes) == (output, ())
    check(found, expected(NAMES[LABELS], NAMES))


def test_texts_that_are_numbers_are_the_labels(build: Any, tmp_path: Path) -> None:
    """Folders 3, 5 and 7 are the labels 3, 5 and 7, which leaves classes without names."""
    maps = 'classlabels_strings=["3","5","7"]', *TEXT_MAPS[1:]
    reference = classifier(build, "reference", maps)
    candidate = classifier(build, "candidate", maps, "0.5,0,-0.5")
    data = in_folders(tmp_path / "data", reference, INTS[LABELS])
    assert data.classes is None
    check(compare(reference, candidate, data), expected(INTS[LABELS], INTS))


def test_a_label_that_is_no_key_names_the_keys(build: Any, feed: Any) -> None:
    reference, _ = pair(build, INT_MAPS)
    with pytest.raises(DataError, match="label 4 is not a class of output 'z'") as caught:
        compare(reference, reference, feed(reference, SCORES[:3], [3, 4, 5]))
    assert "3, 5, 7" in caught.value.why


def test_a_class_name_that_is_no_key(build: Any, tmp_path: Path) -> None:
    reference, _ = pair(build, TEXT_MAPS)
    data = in_folders(tmp_path / "data", reference, ["eel", "owl"] * 30)
    with pytest.raises(DataError, match="label 'owl' is not a class of output 'z'") as caught:
        compare(reference, reference, data)
    assert "'a cat', 'dog', 'eel'" in caught.value.why


def test_predicted_texts_of_other_names_are_not_counted_as_wrong(build: Any, feed: Any) -> None:
    reference, _ = pair(build, TEXT_MAPS)
    found = compare(reference, reference, feed(reference, SCORES, LABELS), output="best")
    assert (found.labelled, found.scores) == (None, {})
    assert "labels of type int64 and shape (60,) were not used" in found.notes[0]
    assert "gives texts such as" in found.notes[0]


def test_maps_with_other_keys_are_infinitely_wrong(build: Any, feed: Any) -> None:
    reference, _ = pair(build, INT_MAPS)
    other = classifier(build, "other", ("classlabels_int64s=[3,5,8]", *INT_MAPS[1:]))
    found = compare(reference, other, feed(reference, SCORES[:5]))
    best, z = found.outputs
    assert best.identical
    assert (z.mismatched, z.sqnr_db, z.agreement) == (5, -np.inf, None)


def test_maps_by_text_are_no_maps_by_integer(build: Any) -> None:
    shape = "m (float[N,3] x) => ({} z) {{ z = ai.onnx.ml.ZipMap<{}>(x) }}"
    both = [build(kind[2], shape.format(kind[1], kind[0])) for kind in (INT_MAPS, TEXT_MAPS)]
    with pytest.raises(Exception, match="differ in output 'z'") as caught:
        compare(*both)
    assert "seq(map(str,float32))" in caught.value.why  # type: ignore[attr-defined]


def test_gates_on_a_model_of_labels_alone(build: Any, feed: Any) -> None:
    from qtool.compare import gates

    graph = "m (float[N,3] x) => (int64[N] y) { y = ArgMax<axis=1, keepdims=0>(x) }"
    reference = build("reference", graph)
    found = compare(reference, reference, feed(reference, SCORES, LABELS))
    wanted = ["top1 >= 50%", "f1.drop <= 0pp", "agreement >= 100%"]
    assert all(result.passed for result in gates.judge(map(gates.parse, wanted), found))
    for metric in ("sqnr >= 1", "top5 >= 1%", "kl <= 1"):
        with pytest.raises(UsageError, match="was not computed"):
            gates.judge([gates.parse(metric)], found)
