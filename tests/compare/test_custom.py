"""`--scorer file.py:function`: a person's own score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qtool.compare.judge import compare
from qtool.compare.truth.custom import load_scorers
from qtool.data import Dataset
from qtool.errors import DataError, UsageError
from qtool.numeric.bootstrap import Interval

Array = NDArray[Any]
Build = Callable[..., Path]
Feed = Callable[..., Dataset]
X = np.arange(24, dtype=np.float32).reshape(8, 3)

CODE = """
import math

SCALE = 2.0

def mean(outputs, label):
    return SCALE * outputs["y"].mean() - label

def distance(outputs, inputs, name):
    assert name.endswith(".npy") and inputs["x"].shape == (3,)
    return abs(outputs["y"] - inputs["x"]).max()

distance.better = "low"

def unlabelled(outputs, label=None):
    assert label is None
    return 1

def fails(outputs):
    raise KeyError("logits")

def endless(outputs):
    return math.inf

def strange(outputs, lable):
    return 0

def worse(outputs):
    return 0

def leaves(outputs):
    raise SystemExit(0)

def writes(outputs):
    outputs["y"] += 1
    return 0

def hit(outputs):
    return 1

builtin = max

worse.better = "less"
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "my scorer.py"
    path.write_text(CODE)
    return path


@pytest.fixture
def models(build: Build) -> tuple[Path, Path]:
    shape = "m (float[N,3] x) => (float[N,3] y)"
    return (
        build("reference", f"{shape} {{ y = Identity(x) }}"),
        build("candidate", f"{shape} <float k = {{0.5}}> {{ y = Add(x, k) }}"),
    )


@pytest.mark.parametrize("batch_size", [1, 3])
def test_scores_of_both_models(
    models: tuple[Path, Path], feed: Feed, code: Path, batch_size: int
) -> None:
    scorers = load_scorers([f"{code}:mean", f"{code}:distance"])
    data = feed(models[0], X, labels=np.arange(8))
    found = compare(*models, data, scorers=scorers, batch_size=batch_size)
    mean, distance = found.scores["mean"], found.scores["distance"]
    expected = 2 * X.mean() - np.arange(8).mean()
    assert [mean.reference, mean.candidate] == pytest.approx([expected, expected + 1])
    assert "top1" not in found.scores
    assert any("label 3 is not a class" in note for note in found.notes)
    assert mean.drop == pytest.approx(-1)
    assert (mean.better, mean.n) == ("high", 8)
    assert (distance.reference, distance.candidate) == (0, 0.5)
    assert (distance.drop, distance.better) == (0.5, "low")


def test_without_labels(models: tuple[Path, Path], feed: Feed, code: Path) -> None:
    found = compare(*models, feed(models[0], X), scorers=load_scorers([f"{code}:unlabelled"]))
    assert found.scores["unlabelled"].candidate == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("fails", "KeyError: 'logits'"),
        ("leaves", "SystemExit"),
        ("writes", "read-only"),
        ("endless", "gives inf for sample 0000.npy"),
    ],
)
def test_a_scorer_that_fails_says_where(
    models: tuple[Path, Path], feed: Feed, code: Path, name: str, says: str
) -> None:
    with pytest.raises(UsageError, match=f"the scorer {name!r}") as caught:
        compare(*models, feed(models[0], X), scorers=load_scorers([f"{code}:{name}"]))
    assert says in f"{caught.value.what} {caught.value.why}"
    assert "0000.npy" in caught.value.what
    assert name != "fails" or "the outputs are y" in caught.value.why


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "names no function"),
        ("{}:", "names no function"),
        ("nowhere.py:mean", "there is no file nowhere.py"),
        ("{}:maen", "did you mean 'mean'"),
        ("{}:SCALE", "has no function"),
        ("{}:strange", "did you mean 'label'"),
        ("{}:worse", '"high" or "low"'),
        ("{}:top1", "is a metric already"),
        ("{}:max_abs_error", "is a metric already"),
        ("{}:builtin", "its arguments are not known"),
    ],
)
def test_what_is_no_scorer(code: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_scorers([text.format(code)])
    assert says in f"{caught.value.what} {caught.value.why} {caught.value.fix}"


def test_a_file_that_does_not_run(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import nowhere_to_be_found\n")
    with pytest.raises(UsageError, match="does not run") as caught:
        load_scorers([f"{path}:mean"])
    assert "ModuleNotFoundError" in caught.value.why


def test_two_of_one_name(code: Path) -> None:
    with pytest.raises(UsageError, match="two scorers"):
        load_scorers([f"{code}:mean", f"{code}:mean"])


def test_outputs_without_samples_need_batches_of_one(build: Build, feed: Feed, code: Path) -> None:
    path = build("sum", "m (float[N,3] x) => (float y) { y = ReduceSum<keepdims=0>(x) }")
    scorers = load_scorers([f"{code}:unlabelled"])
    data = feed(path, X)
    assert compare(path, path, data, scorers=scorers).scores["unlabelled"].n == 8
    with pytest.raises(DataError, match="cannot be split") as caught:
        compare(path, path, data, scorers=scorers, batch_size=2)
    assert "--batch-size 1" in caught.value.fix


def test_hits_have_the_interval_of_a_rate(
    models: tuple[Path, Path], feed: Feed, code: Path
) -> None:
    found = compare(*models, feed(models[0], X), scorers=load_scorers([f"{code}:hit"]))
    assert found.scores["hit"].interval == Interval(-3 / 8, 3 / 8)
