"""scikit-learn's handwritten digits, split once and alike for every model that uses them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

CALIB, EVAL = 270, 540


@dataclass(frozen=True)
class Digits:
    images: np.ndarray  # uint8 (n, 8, 8), values 0..16
    labels: np.ndarray  # int64 (n,)


def load() -> tuple[Digits, Digits, Digits]:
    """Training, calibration and evaluation samples: disjoint, each with every class alike."""
    data = load_digits()
    images, labels = data.images.astype(np.uint8), data.target.astype(np.int64)
    rest, held, rest_labels, held_labels = train_test_split(
        images, labels, test_size=CALIB + EVAL, stratify=labels, random_state=0
    )
    evals, calib, eval_labels, calib_labels = train_test_split(
        held, held_labels, test_size=CALIB, stratify=held_labels, random_state=0
    )
    return Digits(rest, rest_labels), Digits(calib, calib_labels), Digits(evals, eval_labels)


def augmented_batches(digits: Digits, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless float batches (size, 1, 8, 8) in 0..16, each image slightly moved, turned, scaled."""
    chance = torch.Generator().manual_seed(seed)
    images = torch.from_numpy(digits.images)[:, None].float()
    labels = torch.from_numpy(digits.labels)
    while True:
        for rows in torch.randperm(len(labels), generator=chance).split(size)[
            : len(labels) // size
        ]:
            yield _moved(images[rows], chance), labels[rows]


def _moved(images: Tensor, chance: torch.Generator) -> Tensor:
    count = len(images)
    draw = torch.rand(4, count, generator=chance) * 2 - 1
    angle, scale = draw[0] * 0.2, 1 + draw[1] * 0.1
    # 0.2 of half the width is 0.8 of a pixel: these digits fill their frame, more would cut them.
    cos, sin, shift = angle.cos() * scale, angle.sin() * scale, draw[2:] * 0.2
    rows = [torch.stack([cos, -sin, shift[0]], 1), torch.stack([sin, cos, shift[1]], 1)]
    grid = nn.functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, align_corners=False)
