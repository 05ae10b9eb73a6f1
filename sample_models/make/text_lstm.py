"""Makes sample_models/text_lstm: a bidirectional LSTM that tells a text's language."""

import torch
from common import fit
from recurrent import EMBEDDING, check_recurrent, packed, start_texts
from text_data import LANGUAGES
from torch import Tensor, nn

HIDDEN = 112
STEPS = 1500
BELOW_ALL = -2.0  # an LSTM's outputs lie within -1..1


class Lstm(nn.Module):
    """Characters, one LSTM read both ways, the largest of each feature over time, classes."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, EMBEDDING)
        self.lstm = nn.LSTM(EMBEDDING, HIDDEN, bidirectional=True, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(2 * HIDDEN, len(LANGUAGES))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        hidden = self.dropout(self.embedding(input_ids))
        if attention_mask is None:
            outputs, _ = self.lstm(hidden)
        else:  # training only: the exported model runs on unpadded texts
            outputs, _ = nn.utils.rnn.pad_packed_sequence(
                self.lstm(packed(hidden, attention_mask))[0], True, BELOW_ALL
            )
        return self.classifier(self.dropout(outputs.amax(1)))


def main() -> None:
    texts = start_texts("text_lstm")
    model = Lstm(texts.tokens)
    fit(model, texts.training, STEPS, rate=4e-3)
    # It warns of batches other than 1, whatever it is given; here the initial states take the batch
    # from the input, which the check proves with 1 and 16.
    torch.onnx.export(
        model,
        (texts.padded[:2],),
        texts.folder / "model.onnx",
        dynamo=False,
        opset_version=17,
        input_names=["input_ids"],
        output_names=["logits"],
        dynamic_axes={"input_ids": {0: "batch", 1: "sequence"}, "logits": {0: "batch"}},
    )
    check_recurrent(texts.folder, model, [{"input_ids": texts.padded.numpy()}], "LSTM")


if __name__ == "__main__":
    main()
