"""Makes sample_models/digits_mobile: inverted residuals whose streams have very unlike channels."""

from pathlib import Path

import numpy as np
import torch
from common import check, fit, start
from digits_data import Digits, augmented_batches, load
from torch import Tensor, nn

STEPS = 1200
EXPANSION = 6


def norm_conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Module:
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """MobileNetV2's inverted residual; it adds its input where the shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = inputs * EXPANSION
        self.expand = norm_conv(inputs, wide, 1)
        self.depthwise = norm_conv(wide, wide, 3, stride, groups=wide)
        self.project = norm_conv(wide, outputs, 1)
        self.activation = nn.ReLU6()
        self.residual = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        inner = self.activation(self.depthwise(self.activation(self.expand(x))))
        return x + self.project(inner) if self.residual else self.project(inner)


class Mobile(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(norm_conv(1, 16, 3), nn.ReLU6())
        self.fine = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.coarse = nn.Sequential(Block(32, 64, 2), *(Block(64, 64, 1) for _ in range(3)))
        self.last = nn.Sequential(norm_conv(64, 256, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1))
        self.classifier = nn.Linear(256, 10)

    def forward(self, image: Tensor) -> Tensor:
        features = self.last(self.coarse(self.fine(self.stem(image))))
        return self.classifier(features.flatten(1))


def rescale_stream(blocks: nn.Sequential, reader: nn.Module, chance: torch.Generator) -> None:
    """Scales each channel of a stream at its writers and takes that back at its readers.

    A network of ten classes trains to streams of even channels; real MobileNets have ranges that
    differ by a hundred times, which is what makes them hard to quantize.
    """
    channels = reader[0].in_channels
    scales = 10 ** torch.linspace(-1, 1, channels)[torch.randperm(channels, generator=chance)]
    with torch.no_grad():
        for block in blocks:
            block.project[1].weight *= scales
            block.project[1].bias *= scales
        for conv in [block.expand[0] for block in blocks if block.residual] + [reader[0]]:
            conv.weight /= scales[:, None, None]


def print_spread(name: str, stream: Tensor) -> None:
    ranges = stream.abs().amax((0, 2, 3))
    alive = ranges[ranges > ranges.median() / 1000]
    low, high = np.quantile(alive, [0.1, 0.9])
    print(
        f"stream {name}: {len(alive)} of {len(ranges)} channels alive, absmax spread"
        f" {alive.max() / alive.min():.0f}x, 90th to 10th percentile {high / low:.0f}x"
    )
    assert alive.max() / alive.min() >= 100


def prepared(images: Tensor) -> Tensor:
    """From the data's 0..16 at 8x8 to what the model takes: 0..1 at 16x16."""
    return nn.functional.interpolate(images / 16, scale_factor=2, mode="bilinear")


def write_arrays(folder: Path, digits: Digits) -> Tensor:
    images = prepared(torch.from_numpy(digits.images)[:, None].float())
    np.save(folder / "image.npy", images.numpy())
    np.save(folder / "labels.npy", digits.labels)
    return images


def main() -> None:
    folder = start("digits_mobile")
    train, calib, evals = load()
    model = Mobile()
    batches = augmented_batches(train, 64, seed=1)
    fit(model, (((prepared(x),), y) for x, y in batches), STEPS, rate=3e-3)

    write_arrays(folder / "calib", calib)
    images = write_arrays(folder / "eval", evals)
    with torch.no_grad():
        before = model(images)
        chance = torch.Generator().manual_seed(1)
        rescale_stream(model.fine, model.coarse[0].expand, chance)
        rescale_stream(model.coarse, model.last[0], chance)
        torch.testing.assert_close(model(images), before, rtol=0, atol=1e-4)
        fine = model.fine(model.stem(images))
        print_spread("fine", fine)
        print_spread("coarse", model.coarse(fine))

    # This exporter folds the batch normalizations into the convolutions, as most files come.
    torch.onnx.export(
        model,
        (images[:2],),
        folder / "model.onnx",
        dynamo=True,
        opset_version=18,
        external_data=False,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes={"image": {0: "batch"}},
    )
    check(folder, model, [{"image": images[:16].numpy()}])


if __name__ == "__main__":
    main()
