"""Makes sample_models/digits_mlp: two hidden layers on the 64 pixels as they were counted."""

from pathlib import Path

import numpy as np
import torch
from common import check, fit, start
from digits_data import Digits, augmented_batches, load
from torch import nn

STEPS = 2000
SCALE = 1 / 16  # the data's 0..16 becomes 0..1


def build() -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    )


def write_arrays(folder: Path, digits: Digits) -> None:
    np.save(folder / "image.npy", digits.images.reshape(-1, 64))
    np.save(folder / "labels.npy", digits.labels)


def main() -> None:
    folder = start("digits_mlp")
    train, calib, evals = load()
    model = build()
    batches = augmented_batches(train, 64, seed=1)
    fit(model, (((x.flatten(1) * SCALE,), y) for x, y in batches), STEPS, rate=3e-3)

    write_arrays(folder / "calib", calib)
    write_arrays(folder / "eval", evals)
    (folder / "qtool.toml").write_text(
        f"[data.inputs.image]\nscale = {SCALE!r}   # 0..16 becomes 0..1\n"
    )
    images = torch.from_numpy(evals.images[:16].reshape(-1, 64).astype(np.float32)) * SCALE
    torch.onnx.export(
        model,
        (images[:2],),
        folder / "model.onnx",
        dynamo=True,
        opset_version=18,
        external_data=False,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: "batch"},),
    )
    check(folder, model, [{"image": images.numpy()}])


if __name__ == "__main__":
    main()
