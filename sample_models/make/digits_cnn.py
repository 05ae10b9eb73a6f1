"""Makes sample_models/digits_cnn: a plain CNN whose batch normalizations stand in the file."""

from pathlib import Path

import numpy as np
import torch
from common import check, fit, start
from digits_data import Digits, augmented_batches, load
from PIL import Image
from torch import Tensor, nn

STEPS = 1200
PIXEL = 15  # the data's 0..16 becomes 0..240 in an 8-bit file


def conv(inputs: int, outputs: int) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [layer, nn.BatchNorm2d(outputs), nn.ReLU()]


def build() -> nn.Module:
    return nn.Sequential(
        *conv(1, 32),
        *conv(32, 64),
        nn.MaxPool2d(2),
        *conv(64, 96),
        *conv(96, 128),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def write_images(folder: Path, digits: Digits) -> None:
    for number, (image, label) in enumerate(zip(digits.images, digits.labels, strict=True)):
        (folder / str(label)).mkdir(exist_ok=True)
        Image.fromarray(image * PIXEL).save(folder / str(label) / f"{number:03}.png")


def export(model: nn.Module, path: Path) -> None:
    # The exporter folds batch normalization whenever it believes to export for inference; PRESERVE
    # on a model in eval mode skips that and still writes inference nodes.
    torch.onnx.export(
        model,
        (torch.zeros(2, 1, 8, 8),),
        path,
        dynamo=False,
        opset_version=17,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
    )


def main() -> None:
    folder = start("digits_cnn")
    train, calib, evals = load()
    pixels = train.images * (PIXEL / 255)
    mean, std = round(float(pixels.mean()), 4), round(float(pixels.std()), 4)

    def normalized(images: Tensor) -> Tensor:
        return (images * (PIXEL / 255) - mean) / std

    model = build()
    batches = augmented_batches(train, 64, seed=1)
    fit(model, (((normalized(x),), y) for x, y in batches), STEPS, rate=3e-3)

    write_images(folder / "calib", calib)
    write_images(folder / "eval", evals)
    (folder / "qtool.toml").write_text(
        "[data.inputs.image]\n"
        'color = "gray"\n'
        'model_layout = "NCHW"\n'
        f"scale = {1 / 255!r}   # 1/255; x * scale, then (x - mean) / std\n"
        f"mean = [{mean}]\n"
        f"std = [{std}]\n"
    )
    export(model, folder / "model.onnx")
    images = torch.from_numpy(evals.images[:16].astype(np.float32))[:, None]
    check(folder, model, [{"image": normalized(images).numpy()}])


if __name__ == "__main__":
    main()
