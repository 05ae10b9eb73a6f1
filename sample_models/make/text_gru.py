"""Makes sample_models/text_gru: a GRU of two layers that tells a text's language."""

import torch
from common import fit
from recurrent import EMBEDDING, check_recurrent, packed, start_texts
from text_data import LANGUAGES
from torch import Tensor, nn

HIDDEN = 112
STEPS = 1500


class Gru(nn.Module):
    """Characters, two GRU layers read forward, the upper one's last state, classes."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, EMBEDDING)
        self.gru = nn.GRU(EMBEDDING, HIDDEN, num_layers=2, dropout=0.2, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(HIDDEN, len(LANGUAGES))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        hidden = self.dropout(self.embedding(input_ids))
        # A mask comes in training only: the exported model runs on unpadded texts.
        read = hidden if attention_mask is None else packed(hidden, attention_mask)
        _, states = self.gru(read)
        return self.classifier(self.dropout(states[-1]))


def main() -> None:
    texts = start_texts("text_gru")
    model = Gru(texts.tokens)
    fit(model, texts.training, STEPS, rate=4e-3)
    # This exporter writes the operator GRU, its gates put in ONNX's order (z, r, h) by Slice and
    # Concat in the graph: W, R and B are constants only once these are folded.
    torch.onnx.export(
        model,
        (texts.padded[:2],),
        texts.folder / "model.onnx",
        dynamo=True,
        opset_version=18,
        external_data=False,
        input_names=["input_ids"],
        output_names=["logits"],
        dynamic_shapes={"input_ids": {0: "batch", 1: "sequence"}},
    )
    check_recurrent(texts.folder, model, [{"input_ids": texts.padded.numpy()}], "GRU")


if __name__ == "__main__":
    main()
