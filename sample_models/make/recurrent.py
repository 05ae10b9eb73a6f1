"""What text_lstm and text_gru share: texts to train and judge on, packing, checks of the file."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import text_data
import torch
from common import describe, margins, start, strip_paths
from encoder import MAX_LENGTH
from reading import Feeds, Label, read_vocabulary, samples
from text_transformer import batches, padded, write_texts
from torch import Tensor, nn

EMBEDDING = 64


@dataclass(frozen=True)
class Texts:
    """A sample's folder with its texts and `qtool.toml`, and what training takes from them."""

    folder: Path
    tokens: int
    training: Iterator[tuple[tuple[Tensor, Tensor], Tensor]]
    padded: Tensor  # int64 (16, longest), padded and without its mask: to compare outputs only


def start_texts(name: str) -> Texts:
    """The texts and labels of text_transformer, so that the scores of the three compare."""
    folder = start(name)
    split = text_data.load()
    tokens = text_data.vocabulary(split)
    (folder / "vocabulary.txt").write_text("".join(f"{t}\n" for t in tokens), encoding="utf-8")
    vocabulary = read_vocabulary(folder / "vocabulary.txt")
    (folder / "qtool.toml").write_text(
        "[data.inputs.input_ids]\n"
        'from = "text"\n'
        'vocabulary = "vocabulary.txt"   # one token a line, the line number is the id\n'
        f"max_length = {MAX_LENGTH}\n"
    )
    write_texts(folder / "calib", [names.calib for names in split], 24, seed=2)
    texts = write_texts(folder / "eval", [names.eval for names in split], 60, seed=3)
    ids, _ = padded(texts[:16], vocabulary)
    return Texts(folder, len(tokens), batches(split, vocabulary, 64), ids)


def packed(hidden: Tensor, mask: Tensor) -> nn.utils.rnn.PackedSequence:
    """Each text to its own length: padding must neither be read nor be where a reverse starts."""
    return nn.utils.rnn.pack_padded_sequence(
        hidden, mask.sum(1), batch_first=True, enforce_sorted=False
    )


def check_recurrent(folder: Path, model: nn.Module, batches: Iterable[Feeds], kind: str) -> None:
    """Cleans and checks the file, which must hold the operator `kind`; prints its float scores."""
    path = folder / "model.onnx"
    strip_paths(path)
    onnx.checker.check_model(path, full_check=True)
    assert kind in {node.op_type for node in onnx.load(path).graph.node}
    session = onnxruntime.InferenceSession(path)
    for feeds in [*batches, *(feeds for feeds, _ in ids_only(folder, "calib"))]:
        with torch.no_grad():
            expected = model(torch.from_numpy(feeds["input_ids"]))
        np.testing.assert_allclose(session.run(["logits"], feeds)[0], expected, rtol=0, atol=1e-4)

    describe(path)
    for split in ("calib", "eval"):
        rows = list(ids_only(folder, split))
        outputs = np.concatenate([session.run(["logits"], feeds)[0] for feeds, _ in rows])
        print(f"{split}: {margins(folder / split, outputs, [label for _, label in rows])}")


def ids_only(folder: Path, split: str) -> Iterator[tuple[Feeds, Label]]:
    """The samples without the mask: run unpadded, these models take none."""
    for feeds, label in samples(folder, split):
        yield {"input_ids": feeds["input_ids"]}, label
