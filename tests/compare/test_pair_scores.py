"""Spearman of the cosines of labelled pairs, held against scipy's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from qtool import model
from qtool.compare.judge import compare
from qtool.compare.truth import pairs as truth
from qtool.data import Dataset, open_dataset
from qtool.data.pairs import Pairs

Array = NDArray[Any]
RNG = np.random.default_rng(5)
COUNT, WIDTH = 40, 6
X = RNG.normal(size=(COUNT, WIDTH)).astype(np.float32)
FIRST = RNG.integers(0, COUNT, 60)
SECOND = (
    FIRST + RNG.integers(1, COUNT, 60)
) % COUNT  # the cosine of a vector with itself is 1, or nearly
SCORES = RNG.integers(0, 6, 60).astype(float)


def cosines(vectors: Array) -> Array:
    a, b = vectors[FIRST].astype(float), vectors[SECOND].astype(float)
    found: Array = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return found


@pytest.fixture
def models(build: Callable[..., Path]) -> tuple[Path, Path]:
    shape = f"m (float[N,{WIDTH}] x) => (float[N,{WIDTH}] y)"
    return (
        build("reference", f"{shape} {{ y = Identity(x) }}"),
        build("candidate", f"{shape} <float k = {{0.5}}> {{ y = Add(x, k) }}"),
    )


def opened(tmp_path: Path, path: Path, lines: list[str] | None = None) -> Dataset:
    place = tmp_path / "data"
    place.mkdir()
    np.save(place / "x.npy", X)
    if lines is None:
        lines = [f"{a},{b},{s}" for a, b, s in zip(FIRST, SECOND, SCORES, strict=True)]
    (place / "pairs.csv").write_text("\n".join(["first,second,score", *lines]) + "\n")
    return open_dataset(place, model.signature(model.load(path)))


@pytest.mark.parametrize("batch_size", [1, 7, 40])
def test_the_correlation_is_scipys(
    models: tuple[Path, Path], tmp_path: Path, batch_size: int
) -> None:
    found = compare(*models, opened(tmp_path, models[0]), batch_size=batch_size)
    score = found.scores["spearman"]
    assert score.reference == pytest.approx(spearmanr(cosines(X), SCORES).statistic)
    assert score.candidate == pytest.approx(
        spearmanr(cosines(X + np.float32(0.5)), SCORES).statistic
    )
    assert (score.n, found.labelled) == (60, "y")
    assert score.interval.low < score.drop < score.interval.high
    assert found.outputs[0].agreement is None, "the largest number of an embedding is no class"


def test_pairs_of_samples_that_were_not_chosen_are_counted(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    found = compare(*models, opened(tmp_path, models[0]).choose(20, 0))
    n = found.scores["spearman"].n
    assert 2 <= n < 60
    assert f"{60 - n} pairs were left out: a sample of theirs was" in found.notes


def test_one_pair_is_not_enough(models: tuple[Path, Path], tmp_path: Path) -> None:
    found = compare(*models, opened(tmp_path, models[0], ["0,1,3"]))
    assert not found.scores
    assert any("two or more" in note for note in found.notes)


def test_an_embedding_is_kept_only_until_its_last_pair() -> None:
    rows = np.arange(100)
    pairs = Pairs(rows[::2], rows[1::2], rows[::2].astype(float), 0)
    held = truth.Pairs(["y"], pairs)
    for _ in range(0, 100, 5):
        vectors = {"y": RNG.normal(size=(5, 3))}
        held.see({}, vectors, vectors, 5)
        assert len(held._held) <= 1
    assert held.judge().scores["spearman"].n == 50


def test_an_output_that_turns_out_to_be_no_vector_is_said() -> None:
    pairs = Pairs(np.array([0, 1]), np.array([1, 2]), np.array([0.5, 1]), 0)
    held = truth.Pairs(["y"], pairs)
    for shape in ((2, 3), (1,)):
        vectors = {"y": np.ones(shape)}
        held.see({}, vectors, vectors, shape[0])
    judged = held.judge()
    assert judged.output is None
    assert "a vector for each sample" in judged.notes[0]
