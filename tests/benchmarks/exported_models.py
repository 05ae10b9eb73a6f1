"""Two small models in torch, trained here for a minute, with the data that they are judged on.

A CNN reads digits (the arrays of sample_models/digits_mobile); an encoder tells which of eight
kinds of token a sequence holds most of.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tests.models import Array

DIGITS = Path(__file__).parents[2] / "sample_models" / "digits_mobile"
TOKENS, KINDS, LENGTH, WIDTH, HEADS = 96, 8, 24, 64, 4


def _conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Module:
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    """x + BN(pointwise(depthwise(x))), then ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = _conv(width, width, groups=width)
        self.pointwise = nn.Sequential(
            nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.pointwise(self.depthwise(x)))


class Cnn(nn.Module):
    """(N, 1, 16, 16) -> (N, 10)"""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _conv(1, 16), nn.MaxPool2d(2), Residual(16),
            _conv(16, 32, stride=2), Residual(32), nn.AdaptiveAvgPool2d(1),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(image).flatten(1))
        return logits


class Layer(nn.Module):
    """Attention and two linear layers, each behind a norm and added to what it read."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        parts = self.qkv(self.first(x)).chunk(3, -1)
        q, k, v = (p.view(batch, length, HEADS, WIDTH // HEADS).transpose(1, 2) for p in parts)
        # Written out: torch's own operator has no TorchScript export below opset 14.
        mixed = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(WIDTH // HEADS), -1) @ v
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, WIDTH))
        added: Tensor = x + self.down(nn.functional.gelu(self.up(self.second(x))))
        return added


class Encoder(nn.Module):
    """int64 (N, LENGTH) -> (N, KINDS)"""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(TOKENS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.register_buffer("order", torch.arange(LENGTH)[None], persistent=False)
        self.layers = nn.Sequential(Layer(), Layer())
        self.norm, self.classifier = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, KINDS)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.layers(self.words(ids) + self.places(self.order))
        logits: Tensor = self.classifier(self.norm(x).mean(1))
        return logits


def _digits(split: str) -> tuple[Array, Array]:
    return np.load(DIGITS / split / "image.npy"), np.load(DIGITS / split / "labels.npy")


def _sequences(count: int, seed: int) -> tuple[Array, Array]:
    """Sequences by chance, and the kind (token % KINDS) that each holds most of; no ties."""
    chance = np.random.default_rng(seed)
    ids = chance.integers(0, TOKENS, (4 * count, LENGTH), np.int64)
    counts = np.stack([(ids % KINDS == kind).sum(1) for kind in range(KINDS)], 1)
    clear = np.sort(counts, 1)[:, -1] > np.sort(counts, 1)[:, -2]
    return ids[clear][:count], counts.argmax(1)[clear][:count]


def _batches(inputs: Array, labels: Array, size: int = 64) -> Iterator[tuple[Tensor, Tensor]]:
    chance = np.random.default_rng(0)
    while True:
        rows = chance.integers(0, len(labels), size)
        yield torch.from_numpy(inputs[rows]), torch.from_numpy(labels[rows])


def _fit(model: nn.Module, inputs: Array, labels: Array, steps: int) -> nn.Module:
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    model.train()
    for _, (batch, wanted) in zip(range(steps), _batches(inputs, labels), strict=False):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch), wanted).backward()
        optimizer.step()
    return model.eval()


def cnn(steps: int = 400) -> tuple[nn.Module, str, Array, tuple[Array, Array]]:
    """The model, its input's name, what to calibrate on, and what to judge on (with labels)."""
    torch.manual_seed(0)
    images, labels = _digits("calib")
    return _fit(Cnn(), images, labels, steps), "image", images[:128], _digits("eval")


def encoder(steps: int = 400) -> tuple[nn.Module, str, Array, tuple[Array, Array]]:
    """The same for the encoder."""
    torch.manual_seed(0)
    ids, labels = _sequences(4096, seed=1)
    judged = _sequences(1000, seed=2)
    return _fit(Encoder(), ids, labels, steps), "ids", ids[:128], judged
