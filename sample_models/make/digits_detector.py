"""Makes sample_models/digits_detector: finds digits on a canvas, in the manner of YOLO."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from common import check, fit, start
from digit_canvases import CELL, SIDE, Canvas, canvases, cell_of, write_annotations
from digits_data import Digits, load
from reading import Label
from torch import Tensor, nn

STEPS, BATCH = 2000, 32
CALIB, EVAL = 200, 300
SCALE = 1 / 255
CELLS, CLASSES = (SIDE // CELL) ** 2, 10


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    layer = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.SiLU())


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(conv(channels, channels), conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class Detector(nn.Module):
    """One anchor-free head on a grid of 8 x 8 cells; each answers for the digit on its middle."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            conv(1, 16, 2), conv(16, 32, 2), conv(32, 32), conv(32, 64, 2), Residual(64)
        )
        self.boxes = nn.Sequential(conv(64, 32), nn.Conv2d(32, 4, 1))
        self.classes = nn.Sequential(conv(64, 64), nn.Conv2d(64, CLASSES, 1))
        nn.init.ones_(self.boxes[1].bias)  # all distances begin above 0, where ReLU learns
        nn.init.constant_(self.classes[1].bias, -4.0)  # few cells hold a digit
        rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
        middles = (torch.stack([columns, rows], 2).view(1, CELLS, 2) + 0.5) * CELL
        self.register_buffer("middles", middles, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        features = self.backbone(image)
        # (N, channels, 8, 8) -> (N, 64, channels)
        distances = self.boxes(features).relu().flatten(2).transpose(1, 2) * CELL
        scores = self.classes(features).sigmoid().flatten(2).transpose(1, 2)
        before, behind = distances.chunk(2, 2)
        return torch.cat([self.middles - before, self.middles + behind, scores], 2)


def targets(drawn: Sequence[Canvas]) -> Tensor:
    """float32 (n, 64, 4 + 10) as the model should answer; all 0 where there is no digit."""
    wanted = torch.zeros(len(drawn), CELLS, 4 + CLASSES)
    for row, canvas in enumerate(drawn):
        for box, label in zip(canvas.boxes, canvas.labels, strict=True):
            wanted[row, cell_of(box), :4] = torch.from_numpy(box)
            wanted[row, cell_of(box), 4 + label] = 1
    return wanted


def measure(answers: Tensor, wanted: Tensor) -> Tensor:
    """Cross entropy of the scores, and 1 - GIoU of the boxes that should be there."""
    scores = nn.functional.binary_cross_entropy(answers[..., 4:], wanted[..., 4:], reduction="sum")
    there = wanted[..., 4:].any(2)
    a, b = answers[there][:, :4], wanted[there][:, :4]
    inner = torch.minimum(a, b)[:, 2:] - torch.maximum(a, b)[:, :2]
    outer = torch.maximum(a, b)[:, 2:] - torch.minimum(a, b)[:, :2]
    shared, hull = inner.clamp(min=0).prod(1), outer.prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - shared
    boxes = 1 - shared / union + (hull - union) / hull
    return scores / len(boxes) + 2 * boxes.mean()


def pixels(drawn: Sequence[Canvas]) -> np.ndarray:
    """uint8 (n, 1, 64, 64)"""
    return np.stack([canvas.image for canvas in drawn])[:, None]


def batches(digits: Digits) -> Iterator[tuple[tuple[Tensor], Tensor]]:
    endless = canvases(digits, seed=1)
    while drawn := list(islice(endless, BATCH)):
        yield (torch.from_numpy(pixels(drawn)).float() * SCALE,), targets(drawn)


def counted(split: Path, outputs: np.ndarray, _: Sequence[Label]) -> str:
    if not (split / "annotations.json").exists():
        return f"no annotations, {len(outputs)} samples"
    return f"{len(outputs)} samples, of which  qtool compare  gives the mAP"


def main() -> None:
    folder = start("digits_detector")
    train, calib, evals = load()
    model = Detector()
    fit(model, batches(train), STEPS, 3e-3, measure)

    (folder / "qtool.toml").write_text(
        f"[data.inputs.image]\nscale = {SCALE!r}   # 1/255: 0..255 becomes 0..1\n"
    )
    for split, digits, count, seed in (("calib", calib, CALIB, 2), ("eval", evals, EVAL, 3)):
        drawn = list(islice(canvases(digits, seed), count))
        np.savez_compressed(folder / split / "image.npz", image=pixels(drawn))
    write_annotations(folder / "eval" / "annotations.json", drawn)

    images = torch.from_numpy(pixels(drawn[:16])).float() * SCALE
    torch.onnx.export(
        model,
        (images[:2],),
        folder / "model.onnx",
        dynamo=True,
        opset_version=18,
        external_data=False,
        input_names=["image"],
        output_names=["detections"],
        dynamic_shapes={"image": {0: "batch"}},
    )
    check(
        folder,
        model,
        [{"image": images.numpy()}],
        output="detections",
        score=counted,
        tolerance=1e-3,  # pixels
    )


if __name__ == "__main__":
    main()
