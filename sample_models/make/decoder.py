"""A small language model in the style of Llama: rotary places, gates, a cache, a tied head."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

HIDDEN, HEADS, INNER, LAYERS = 128, 4, 256, 3
SIZE = HIDDEN // HEADS
CONTEXT = 192  # characters that training sees at once

# The keys and values of one layer: (batch, heads, places, size) each.
Cache = tuple[Tensor, Tensor]


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(HIDDEN))

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.key = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.value = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.output = nn.Linear(HIDDEN, HIDDEN, bias=False)

    def forward(
        self, hidden: Tensor, turns: Cache, mask: Tensor, past: Cache
    ) -> tuple[Tensor, Cache]:
        batch, length, _ = hidden.shape

        def heads(x: Tensor) -> Tensor:
            return x.view(batch, length, HEADS, SIZE).transpose(1, 2)

        keys = torch.cat([past[0], turned(heads(self.key(hidden)), turns)], 2)
        values = torch.cat([past[1], heads(self.value(hidden))], 2)
        scores = turned(heads(self.query(hidden)), turns) @ keys.transpose(-1, -2)
        mixed = torch.softmax(scores / math.sqrt(SIZE) + mask, -1) @ values
        mixed = mixed.transpose(1, 2).reshape(batch, length, HIDDEN)
        return self.output(mixed), (keys, values)


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention_norm, self.attention, self.norm = Norm(), Attention(), Norm()
        self.gate = nn.Linear(HIDDEN, INNER, bias=False)
        self.up = nn.Linear(HIDDEN, INNER, bias=False)
        self.down = nn.Linear(INNER, HIDDEN, bias=False)

    def forward(
        self, hidden: Tensor, turns: Cache, mask: Tensor, past: Cache
    ) -> tuple[Tensor, Cache]:
        mixed, present = self.attention(self.attention_norm(hidden), turns, mask, past)
        hidden = hidden + mixed
        inner = self.norm(hidden)
        return hidden + self.down(nn.functional.silu(self.gate(inner)) * self.up(inner)), present


class Decoder(nn.Module):
    """Ids (batch, sequence) and the cache of what was before -> logits, the cache with these."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, HIDDEN)
        self.layers, self.norm = nn.ModuleList(Layer() for _ in range(LAYERS)), Norm()
        waves = 10000.0 ** (-torch.arange(0, SIZE, 2) / SIZE)
        self.register_buffer("waves", waves, persistent=False)
        for weight in self.parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, std=0.05)

    def forward(self, input_ids: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        before, length = past[0].shape[2], input_ids.shape[1]
        places = torch.arange(before + length, device=input_ids.device)
        now = places[before:]
        angles = now[:, None] * self.waves
        turns = angles.cos(), angles.sin()
        # A place sees itself and what was before it.
        seen = places[None, :] <= now[:, None]
        mask = torch.where(seen, 0.0, torch.finfo(torch.float32).min)
        hidden, presents = self.embedding(input_ids), list[Tensor]()
        for number, layer in enumerate(self.layers):
            hidden, present = layer(hidden, turns, mask, (past[2 * number], past[2 * number + 1]))
            presents += present
        # The head is the table itself: what a token looks like is also what is looked for.
        return self.norm(hidden) @ self.embedding.weight.T, *presents


def turned(x: Tensor, turns: Cache) -> Tensor:
    """Rotary places (Su et al. 2021): each pair of values turned by an angle of its place."""
    cos, sin = turns
    first, second = x[..., : SIZE // 2], x[..., SIZE // 2 :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def nothing(batch: int) -> list[Tensor]:
    """The cache before the first token."""
    return [torch.zeros(batch, HEADS, 0, SIZE) for _ in range(2 * LAYERS)]


def cache_names(prefix: str) -> Sequence[str]:
    return [f"{prefix}.{i}.{part}" for i in range(LAYERS) for part in ("key", "value")]
