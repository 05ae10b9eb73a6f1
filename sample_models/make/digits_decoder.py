"""Makes sample_models/digits_decoder: the half of an autoencoder that draws digits from latents."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from common import check, fit, start
from digits_data import Digits, augmented_batches, load
from digits_mobile import prepared
from reading import Label
from torch import Tensor, nn

STEPS = 2500
LATENT = 24
NOISE = 0.1  # added to the pixels that the encoder sees; the clean ones are what it learns from


def encoder() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1024, LATENT),
        # So that all latents are about as wide, whatever training makes of them.
        nn.BatchNorm1d(LATENT, affine=False),
    )


class Grid(nn.Module):
    """What nn.Unflatten does, which this exporter writes as a dozen operators."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(-1, 64, 4, 4)


def decoder() -> nn.Module:
    return nn.Sequential(
        nn.Linear(LATENT, 1024),
        nn.ReLU(),
        Grid(),
        nn.ConvTranspose2d(64, 48, 4, 2, 1, bias=False),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.ConvTranspose2d(48, 32, 4, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 3, 1, 1),
        nn.Sigmoid(),
    )


def clean(digits: Digits) -> Tensor:
    return prepared(torch.from_numpy(digits.images)[:, None].float())


def write_latents(folder: Path, encode: nn.Module, digits: Digits) -> np.ndarray:
    with torch.no_grad():
        latents = encode(clean(digits)).numpy()
    np.save(folder / "z.npy", latents)
    return latents


def squared_error(_: Path, outputs: np.ndarray, labels: Sequence[Label]) -> str:
    if labels[0] is None:
        return f"no labels, {len(outputs)} samples"
    images = np.stack(labels)
    error, spread = np.square(outputs - images).mean(), np.square(images - images.mean(0)).mean()
    return f"mse {error:.5f} of {len(images)}; of always drawing the mean image {spread:.5f}"


def export(model: nn.Module, path: Path) -> None:
    # PRESERVE keeps the batch normalization apart, as in digits_cnn.
    torch.onnx.export(
        model,
        (torch.zeros(2, LATENT),),
        path,
        dynamo=False,
        opset_version=17,
        input_names=["z"],
        output_names=["image"],
        dynamic_axes={"z": {0: "batch"}, "image": {0: "batch"}},
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
    )


def main() -> None:
    folder = start("digits_decoder")
    train, calib, evals = load()
    encode, decode = encoder(), decoder()
    chance = torch.Generator().manual_seed(2)
    images = (prepared(x) for x, _ in augmented_batches(train, 64, seed=1))
    batches = (((x + NOISE * torch.randn(x.shape, generator=chance),), x) for x in images)
    fit(nn.Sequential(encode, decode), batches, STEPS, 3e-3, nn.functional.binary_cross_entropy)

    write_latents(folder / "calib", encode, calib)
    latents = write_latents(folder / "eval", encode, evals)
    np.save(folder / "eval" / "labels.npy", clean(evals).numpy())
    export(decode, folder / "model.onnx")
    check(folder, decode, [{"z": latents[:16]}], output="image", score=squared_error)


if __name__ == "__main__":
    main()
