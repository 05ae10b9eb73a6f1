"""Perplexity, held against scikit-learn's log loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import log_loss

from qtool import model
from qtool.compare.judge import compare
from qtool.compare.result import Comparison
from qtool.data import Dataset, open_dataset
from qtool.errors import DataError

Array = NDArray[Any]
RNG = np.random.default_rng(4)
TOKENS, PLACES, COUNT = 5, 7, 30
TABLE = RNG.normal(size=(TOKENS, TOKENS)).astype(np.float32)
IDS = RNG.integers(0, TOKENS, (COUNT, PLACES))


def text(table: Array) -> str:
    values = ", ".join(map(str, table.ravel()))
    return (
        "m (int64[N,T] ids, int64[N,T] mask) => (float[N,T,5] logits)"
        f" <float[5,5] table = {{{values}}}>"
        " { x = Gather(table, ids) m = Cast<to=1>(mask) z = ReduceMax<keepdims=0>(m)"
        " o = Sub(z, z) logits = Add(x, o) }"
    )


@pytest.fixture
def models(build: Callable[..., Path]) -> tuple[Path, Path]:
    return build("reference", text(TABLE)), build("candidate", text(TABLE.round(0)))


def folder(tmp_path: Path, toml: str = "", mask: Array | None = None, **more: Array) -> Path:
    place = tmp_path / "data"
    place.mkdir()
    (place / "qtool.toml").write_text(f"[data]\n{toml}\n")
    there = np.ones_like(IDS) if mask is None else mask
    np.savez(place / "set.npz", ids=IDS, mask=there, **more)  # type: ignore[arg-type]
    return place


def opened(place: Path, path: Path) -> Dataset:
    return open_dataset(place, model.signature(model.load(path)))


def expected(table: Array, ids: Array, targets: Array, keep: Array) -> float:
    logits = table[ids].astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return float(np.exp(log_loss(targets[keep], p[keep], labels=range(TOKENS))))


def check(found: Comparison, ids: Array, targets: Array, keep: Array) -> None:
    score = found.scores["perplexity"]
    before = expected(TABLE, ids, targets, keep)
    after = expected(TABLE.round(0), ids, targets, keep)
    assert score.reference == pytest.approx(before, rel=1e-6)
    assert score.candidate == pytest.approx(after, rel=1e-6)
    assert score.drop == pytest.approx(after - before, rel=1e-4)
    assert score.ratio == pytest.approx(after / before, rel=1e-5)
    assert (score.better, score.n, found.labelled) == ("low", COUNT, "logits")
    assert score.interval.low < score.drop < score.interval.high


@pytest.mark.parametrize("batch_size", [1, 4, 30])
def test_the_next_token_of_an_input(
    models: tuple[Path, Path], tmp_path: Path, batch_size: int
) -> None:
    data = opened(folder(tmp_path, 'next_token = "ids"'), models[0])
    found = compare(*models, data, batch_size=batch_size)
    check(found, IDS[:, :-1], IDS[:, 1:], np.ones((COUNT, PLACES - 1), bool))


def test_what_is_masked_is_neither_scored_nor_leads_to_a_score(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    mask = np.ones_like(IDS)
    mask[:10, 5:] = 0  # filled up at the end
    mask[10:20, :2] = 0  # at the start
    place = folder(tmp_path, 'next_token = "ids"\nmask = "mask"', mask)
    keep = (mask[:, 1:] != 0) & (mask[:, :-1] != 0)
    check(compare(*models, opened(place, models[0])), IDS[:, :-1], IDS[:, 1:], keep)


def test_labels_for_each_place_and_none_where_they_are_negative(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    labels = RNG.integers(0, TOKENS, IDS.shape)
    labels[RNG.random(IDS.shape) < 0.3] = -100
    place = folder(tmp_path, labels=labels)
    check(compare(*models, opened(place, models[0]), batch_size=8), IDS, labels, labels >= 0)


def test_a_token_that_no_logit_stands_for(models: tuple[Path, Path], tmp_path: Path) -> None:
    labels = np.full(IDS.shape, TOKENS)
    with pytest.raises(
        DataError, match="token 5 is beyond the logits of output 'logits'"
    ) as caught:
        compare(*models, opened(folder(tmp_path, labels=labels), models[0]))
    assert "0 to 4" in caught.value.why


def test_all_masked_is_said(models: tuple[Path, Path], tmp_path: Path) -> None:
    place = folder(tmp_path, labels=np.full(IDS.shape, -100))
    found = compare(*models, opened(place, models[0]))
    assert not found.scores
    assert any("there is none to score" in note for note in found.notes)


def test_an_output_without_places_is_said(build: Callable[..., Path], tmp_path: Path) -> None:
    path = build("flat", "m (int64[N,T] ids) => (float[N,T] y) { y = Cast<to=1>(ids) }")
    place = tmp_path / "data"
    place.mkdir()
    (place / "qtool.toml").write_text('[data]\nnext_token = "ids"\n')
    np.save(place / "ids.npy", IDS)
    found = compare(path, path, opened(place, path))
    assert not found.scores
    assert any("(samples, places, tokens)" in note for note in found.notes)


def test_a_masked_token_may_be_unknown(models: tuple[Path, Path], tmp_path: Path) -> None:
    labels = RNG.integers(0, TOKENS, IDS.shape)
    labels[:, 3] = -1
    keep = labels >= 0
    found = compare(*models, opened(folder(tmp_path, labels=labels), models[0]))
    check(found, IDS, np.where(keep, labels, 0), keep)
