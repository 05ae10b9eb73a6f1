"""What is lost beside labels."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from qtool.tune.losses import labelled, task


def test_probabilities_stay_probabilities_where_they_are_quantized() -> None:
    exact = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]])
    labels = torch.tensor([0, 1])
    for scores in (exact, exact + 0.02):  # the sum of the second is 1.06
        expected = -scores[[0, 1], labels].log().mean() + scores.sum(dim=1).log().mean()
        assert float(task(scores, labels, shares=True)) == pytest.approx(float(expected))


@pytest.mark.parametrize(("label", "end"), [(0, "y"), (2, "y"), (3, ""), (-1, "")])
def test_labels_are_about_an_end_that_has_all_their_classes(label: int, end: str) -> None:
    values = {"x": torch.zeros(2, 1), "y": torch.zeros(2, 3)}
    assert labelled(("x", "y"), values, torch.tensor([0, label])) == end
