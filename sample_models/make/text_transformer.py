"""Makes sample_models/text_transformer: a small BERT-style encoder that tells a text's language."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import text_data
import torch
from common import check, fit, start
from encoder import MAX_LENGTH, Encoder
from reading import encode, read_vocabulary
from torch import Tensor, nn

STEPS = 3000


def padded(texts: list[str], vocabulary: dict[str, int]) -> tuple[Tensor, Tensor]:
    """Token ids and their mask, padded to the longest of these texts."""
    rows = [torch.tensor(encode(text, vocabulary, MAX_LENGTH)) for text in texts]
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return ids, mask


def batches(
    split: list[text_data.Names], vocabulary: dict[str, int], size: int
) -> Iterator[tuple[tuple[Tensor, Tensor], Tensor]]:
    """Endless batches, each text joined anew from the training names."""
    chance = random.Random(1)
    while True:
        labels = chance.choices(range(len(split)), k=size)
        texts = [text_data.text(split[label].train, chance) for label in labels]
        yield padded(texts, vocabulary), torch.tensor(labels)


def write_texts(folder: Path, names: list[list[str]], each: int, seed: int) -> list[str]:
    texts, labels = text_data.labelled(names, each, seed)
    (folder / "texts.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    np.save(folder / "labels.npy", np.array(labels, np.int64))
    return texts


def main() -> None:
    folder = start("text_transformer")
    split = text_data.load()
    tokens = text_data.vocabulary(split)
    (folder / "vocabulary.txt").write_text("".join(f"{t}\n" for t in tokens), encoding="utf-8")
    vocabulary = read_vocabulary(folder / "vocabulary.txt")
    (folder / "qtool.toml").write_text(
        "[data.inputs.input_ids]\n"
        'from = "text"\n'
        'vocabulary = "vocabulary.txt"   # one token a line, the line number is the id\n'
        f"max_length = {MAX_LENGTH}\n"
        "\n"
        "[data.inputs.attention_mask]\n"
        'from = "mask"\n'
    )
    write_texts(folder / "calib", [names.calib for names in split], 24, seed=2)
    texts = write_texts(folder / "eval", [names.eval for names in split], 60, seed=3)

    model = Encoder(len(tokens), len(text_data.LANGUAGES))
    fit(model, batches(split, vocabulary, 64), STEPS, rate=2e-3)
    ids, mask = padded(texts[:16], vocabulary)
    axes = {0: "batch", 1: "sequence"}
    torch.onnx.export(
        model,
        (ids, mask),
        folder / "model.onnx",
        dynamo=True,
        opset_version=18,
        external_data=False,
        input_names=["input_ids", "attention_mask"],
        output_names=["logits"],
        dynamic_shapes={"input_ids": axes, "attention_mask": axes},
    )
    check(folder, model, [{"input_ids": ids.numpy(), "attention_mask": mask.numpy()}])


if __name__ == "__main__":
    main()
