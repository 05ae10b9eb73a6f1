"""Makes sample_models/text_decoder: a language model that writes on, character by character."""

from collections.abc import Iterator
from pathlib import Path

import bible_text
import numpy as np
import onnx
import onnxruntime
import torch
from common import describe, fit, start, strip_paths
from decoder import CONTEXT, HEADS, SIZE, Decoder, cache_names, nothing
from reading import encode, read_vocabulary
from torch import Tensor, nn

STEPS, BATCH = 1800, 12

DECLARATION = """\
[data]
next_token = "input_ids"          # the logits at each place are about the token after it
empty = ["past_key_values.*"]     # nothing was before a text: its cache begins with no places

[data.inputs.input_ids]
from = "text"
vocabulary = "vocabulary.txt"     # one token a line, the line number is the id
"""


def batches(
    chapters: list[str], vocabulary: dict[str, int]
) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
    """Endless batches of pieces from anywhere in the training text, and what follows each place."""
    joined = "\n".join(chapters).replace("\n", " ")
    ids = torch.tensor(encode(joined, vocabulary, len(joined)))
    chance = torch.Generator().manual_seed(1)
    while True:
        starts = torch.randint(len(ids) - CONTEXT - 1, (BATCH, 1), generator=chance)
        pieces = ids[starts + torch.arange(CONTEXT + 1)]
        yield (pieces[:, :-1],), pieces[:, 1:]


class Whole(nn.Module):
    """The decoder on texts from their beginning, as training takes them."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.decoder(input_ids, *nothing(len(input_ids)))[0].transpose(1, 2)


def export(model: Decoder, path: Path) -> None:
    """With a cache of three places, since an empty one is taken for a constant."""
    past = [torch.randn(2, HEADS, 3, SIZE) for _ in nothing(2)]
    ids = torch.randint(3, 60, (2, 5))
    states = {0: "batch", 2: "past_sequence"}
    torch.onnx.export(
        model,
        (ids, *past),
        path,
        dynamo=True,
        opset_version=18,
        external_data=False,
        input_names=["input_ids", *cache_names("past_key_values")],
        output_names=["logits", *cache_names("present")],
        dynamic_shapes={
            "input_ids": {0: "batch", 1: "sequence"},
            "past": tuple(states for _ in past),
        },
    )


def tie(path: Path) -> None:
    """Lets the head read the table, of which the exporter has made a second one, transposed; and
    takes away what it tells of the program, 99 kB in a file that is to be 0.3 MB."""
    model = onnx.load(path)
    graph = model.graph
    told = (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for each in told:
        del each.metadata_props[:]
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    ((table, _),) = (node.input for node in graph.node if node.op_type == "Gather")
    (head,) = (node for node in graph.node if "logits" in node.output)
    assert np.array_equal(arrays[head.input[1]], arrays[table].T)
    (copy,) = (each for each in graph.initializer if each.name == head.input[1])
    graph.initializer.remove(copy)
    turn = onnx.helper.make_node("Transpose", [table], [copy.name], "head_transpose", perm=[1, 0])
    graph.node.insert(list(graph.node).index(head), turn)
    onnx.save(model, path)


def check_cached(folder: Path, model: Decoder, texts: list[list[int]]) -> None:
    """The file gives what torch gives, for a whole text and for the same text piece by piece."""
    path = folder / "model.onnx"
    strip_paths(path)
    onnx.checker.check_model(path, full_check=True)
    graph = onnx.load(path).graph
    tables = [each for each in graph.initializer if 64 in each.dims]
    assert len(tables) == 1, f"the table stands in the file {len(tables)} times"
    session = onnxruntime.InferenceSession(path)
    names, empty = cache_names("past_key_values"), [each.numpy() for each in nothing(1)]
    for text in texts:
        ids = np.array([text], np.int64)
        with torch.no_grad():
            expected = model(torch.from_numpy(ids), *nothing(1))[0].numpy()
        past, found = empty, list[np.ndarray]()
        for piece in (ids[:, :1], ids[:, 1:20], ids[:, 20:]):
            logits, *past = session.run(
                None, {"input_ids": piece, **dict(zip(names, past, strict=True))}
            )
            found.append(logits)
        whole = session.run(None, {"input_ids": ids, **dict(zip(names, empty, strict=True))})[0]
        for each in (whole, np.concatenate(found, 1)):
            np.testing.assert_allclose(each, expected, rtol=0, atol=1e-4)


def perplexity(folder: Path, texts: list[list[int]]) -> str:
    session, losses = onnxruntime.InferenceSession(folder / "model.onnx"), list[float]()
    empty = dict(zip(cache_names("past_key_values"), (e.numpy() for e in nothing(1)), strict=True))
    for text in texts:
        logits = session.run(["logits"], {"input_ids": np.array([text], np.int64), **empty})[0]
        scored = torch.from_numpy(logits[0, :-1]), torch.tensor(text[1:])
        losses += nn.functional.cross_entropy(*scored, reduction="none").tolist()
    return f"perplexity {np.exp(np.mean(losses)):.4f} of {len(losses)} characters"


def main() -> None:
    folder = start("text_decoder")
    text = bible_text.load()
    tokens = bible_text.vocabulary(text)
    (folder / "vocabulary.txt").write_text("".join(f"{t}\n" for t in tokens), encoding="utf-8")
    vocabulary = read_vocabulary(folder / "vocabulary.txt")
    (folder / "qtool.toml").write_text(DECLARATION)
    lines = {
        "calib": bible_text.lines(text.calib, 256),
        "eval": bible_text.lines(text.eval, 240),
    }
    for split, each in lines.items():
        (folder / split / "texts.txt").write_text("".join(f"{line}\n" for line in each))

    model = Decoder(len(tokens))
    fit(Whole(model), batches(text.train, vocabulary), STEPS, rate=4e-3)
    export(model, folder / "model.onnx")
    tie(folder / "model.onnx")
    ids = {
        split: [encode(line, vocabulary, CONTEXT) for line in each] for split, each in lines.items()
    }
    check_cached(folder, model, ids["calib"])
    describe(folder / "model.onnx")
    for split, each in ids.items():
        print(f"{split}: {perplexity(folder, each)}")


if __name__ == "__main__":
    main()
