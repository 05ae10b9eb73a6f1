"""On every sample model: what scikit-learn has too is equal to scikit-learn's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from qtool import workflow
from qtool.compare.judge import compare
from qtool.data import Dataset, open_dataset
from qtool.recipe import Recipe
from qtool.runtime import Session
from qtool.target import load_target

SAMPLES = Path(__file__).parents[2] / "sample_models"
NAMES = sorted(path.parent.name for path in SAMPLES.glob("*/model.onnx"))
_SLOW = {"digits_cnn", "digits_decoder", "digits_detector", "digits_mobile", "text_decoder",
         "text_gru", "text_lstm", "text_transformer"}  # fmt: skip
SMALL: list[Any] = [name for name in NAMES if name not in _SLOW]
LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in NAMES if name in _SLOW]


def perplexity(session: Session, data: Dataset) -> float:
    """exp of the mean of scikit-learn's log loss of each token after the first."""
    lost, count = 0.0, 0
    for batch in data.batches(1):
        logits, ids = session.run(batch)["logits"][0].astype(np.float64), batch["input_ids"][0]
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        every = range(logits.shape[1])
        lost += sk.log_loss(ids[1:], chances[:-1], labels=every, normalize=False)
        count += len(ids) - 1
    return float(np.exp(lost / count))


def made(name: str, folder: Path) -> Path:
    """Some candidate that errs: 3-bit weights, or the model itself where nothing is quantized."""
    path = SAMPLES / name / "model.onnx"
    job = workflow.open_job(path, Recipe(scheme="w3"), load_target("cpu"))
    quantized = workflow.build(job, None)
    if not quantized.plan.schemes:
        return path
    workflow.write(job, quantized, folder / "candidate.onnx", None)
    return folder / "candidate.onnx"


def classes(value: Any) -> Any:
    """Class scores or labels of a run, as an array."""
    if isinstance(value, list):  # maps
        return np.array([[row[key] for key in sorted(row)] for row in value])
    return value


@pytest.mark.parametrize("name", SMALL + LARGE)
def test_scores_are_scikit_learns(name: str, tmp_path: Path) -> None:
    reference, candidate = SAMPLES / name / "model.onnx", made(name, tmp_path)
    session = Session(reference)
    data = open_dataset(SAMPLES / name / "eval", session.signature)
    found = compare(reference, candidate, data)
    if (SAMPLES / name / "eval" / "annotations.json").exists():
        assert set(found.scores) == {"mAP"}
        images = json.loads((SAMPLES / name / "eval" / "annotations.json").read_text())["images"]
        assert found.scores["mAP"].n == len(images)
        return
    sessions = (session, Session(candidate))
    if set(found.scores) == {"perplexity"}:
        score = found.scores["perplexity"]
        for each, value in zip(sessions, (score.reference, score.candidate), strict=True):
            assert value == pytest.approx(perplexity(each, data), rel=1e-5)
        return
    assert found.labelled is not None
    both = [
        np.concatenate([classes(s.run(batch)[found.labelled]) for batch in data.batches(1)])
        for s in sessions
    ]
    labels = data.labels
    assert labels is not None
    assert set(found.scores) in (
        {"top1", "f1"}, {"top1", "top5", "f1"}, {"mse", "r2"}, {"mse"}, {"mse", "psnr", "ssim"},
    )  # fmt: skip
    for kind, score in found.scores.items():
        for values, got in zip(both, (score.reference, score.candidate), strict=True):
            assert got == pytest.approx(expected(kind, labels, values), rel=1e-6), kind


def expected(kind: str, labels: Any, values: Any) -> float:
    best = values.argmax(1) if values.ndim == 2 and values.shape[1] > 1 else values.ravel()
    if kind == "top1":
        return float(sk.accuracy_score(labels, best))
    if kind == "f1":
        return float(sk.f1_score(labels, best, average="macro"))
    if kind == "top5":
        return float(sk.top_k_accuracy_score(labels, values, k=5, labels=range(values.shape[1])))
    if kind == "r2":
        return float(sk.r2_score(labels, best))
    if kind == "mse":
        return float(
            sk.mean_squared_error(labels.reshape(len(labels), -1), values.reshape(len(labels), -1))
        )
    from skimage import metrics as images

    span = float(labels.max() - labels.min())
    pairs = zip(labels.astype(float), values.astype(float), strict=True)
    if kind == "psnr":
        return float(
            np.mean([images.peak_signal_noise_ratio(t, v, data_range=span) for t, v in pairs])
        )
    axis = 0 if labels.ndim == 4 else None
    return float(
        np.mean(
            [
                images.structural_similarity(t, v, data_range=span, channel_axis=axis)
                for t, v in pairs
            ]
        )
    )
