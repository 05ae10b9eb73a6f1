"""What `qtool tune` learns for and keeps: what is judged, and nothing surely worse in it."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtool.compare.result import Comparison
from qtool.search.budget import Loss
from qtool.tune.course import Verdict
from qtool.tune.examiner import Found
from tests.models import normal, save, weight
from tests.tune.taught import made, place, tuned

pytest.importorskip("torch")
from qtool.tune import study

__all__ = ["place"]
BRIEF = ("--scheme", "w2a8", "--epochs", "2")


def found(distance: float, low: float, high: float, *, met: bool = False) -> Found:
    comparison: Any = Comparison.__new__(Comparison)
    middle = (low + high) / 2
    return Found(comparison, Loss(middle, low, high), Verdict(distance, middle, met))


def test_the_least_loss_is_kept_unless_it_is_surely_worse() -> None:
    first = found(1.0, 0.01, 0.03)
    assert found(0.9, 0.02, 0.04).better(first)
    assert found(0.9, 0.0, 0.01).better(first)
    assert not found(0.9, 0.04, 0.06).better(first)
    assert not found(1.1, 0.0, 0.01).better(first)
    assert found(1.1, 0.0, 0.01, met=True).better(first)
    assert not found(0.9, math.inf, math.inf).better(first)


def test_who_asks_for_sqnr_gets_it_where_scores_are_large(tmp_path: Path) -> None:
    """The divergence of classes would be nearly all of the loss, and SQNR would be lost by it."""
    made(tmp_path, 600)
    layers = {"w": weight(16, 32) * 3, "v": weight(32, 5) * 3}
    graph = "g (float[N,16] x) => (float[N,5] y) { a = Gemm(x, w) b = Relu(a) y = Gemm(b, v) }"
    save(tmp_path / "m.onnx", graph, **{k: w.astype(np.float32) for k, w in layers.items()})
    result = tuned(tmp_path, "--scheme", "w2a8", "--epochs", "12", "--metric", "sqnr")
    assert result.exit_code == 0, result.stderr
    before, after = (
        re.search(r"sqnr lost ([\d.]+)%", text) for text in (result.stderr, result.stdout)
    )
    assert before, result.stderr
    assert after, result.stdout
    assert float(after[1]) < 0.8 * float(before[1])


def test_labels_that_are_about_no_output_are_told(place: Path) -> None:
    labels = place / "data" / "labels.npy"
    np.save(labels, np.load(labels).astype(np.float32))
    result = tuned(place, *BRIEF)
    assert result.exit_code == 0, result.stderr
    assert "note: labels of type float64 and shape (32,) were not used" in result.stderr
    labels.rename(place / "labels.npy")
    result = tuned(place, *BRIEF, "--labels", place / "labels.npy", "-f")
    assert result.exit_code == 4
    assert f"--labels {place / 'labels.npy'} is about no output" in result.stderr
    assert "post-training" not in result.stderr
    apart = place / "apart"
    apart.mkdir()
    np.save(apart / "x.npy", normal(20, 16, seed=3))
    result = tuned(place, *BRIEF, "--labels", place / "labels.npy", "--eval", apart, "-f")
    assert result.exit_code == 0, result.stderr


def test_rows_with_one_1_are_told(place: Path) -> None:
    labels = place / "data" / "labels.npy"
    np.save(labels, np.eye(5, dtype=np.float32)[np.load(labels)])
    result = tuned(place, *BRIEF)
    assert result.exit_code == 0, result.stderr
    assert "note: labels are rows with one 1: learned as numbers" in result.stderr


def test_what_has_no_row_is_told_before_codes_are_chosen(place: Path) -> None:
    graph = "g (float[N,16] x) => (float[N,5] y) { a = Gemm(x, w) b = Hardmax(a) y = Gemm(b, v) }"
    save(place / "m.onnx", graph, w=weight(16, 32), v=weight(32, 5))
    result = tuned(place, *BRIEF)
    assert result.exit_code == 3
    assert "cannot differentiate Hardmax" in result.stderr
    assert "post-training" not in result.stderr


def test_an_interruption_before_the_first_epoch_keeps_nothing_and_says_so(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(begun: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "require_rows", interrupted)
    result = tuned(place, *BRIEF)
    assert result.exit_code == 130
    assert "no epoch has ended: nothing is kept to go on with" in result.stderr
    assert not (place / "out.onnx.part").exists()


def test_copies_are_no_samples(place: Path) -> None:
    np.save(place / "data" / "x.npy", np.repeat(normal(1, 16), 100, axis=0))
    (place / "data" / "labels.npy").unlink()
    result = tuned(place, *BRIEF)
    assert result.exit_code == 4
    said = " ".join(result.stderr.split())
    assert "there are 100, 1 without copies" in said
    result = tuned(place, *BRIEF, "--samples", "1")
    assert "use more with --samples" in " ".join(result.stderr.split())
