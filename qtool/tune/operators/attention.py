"""Attention of opset 23 and later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from qtool.ops import attribute, real
from qtool.tune.operators.windows import flag


def attention(
    node: ir.Node,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    past_k: Tensor | None = None,
    past_v: Tensor | None = None,
    valid: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """softmax(cap(scale Q K') + bias) V, each head for itself; heads of K and V serve several of Q.

    The bias is -inf where a query does not see a key. One that sees none gives zeros.
    """
    flat = q.dim() == 3
    q = _heads(q, attribute(node, "q_num_heads", 0))
    k, v = (_heads(each, attribute(node, "kv_num_heads", 0)) for each in (k, v))
    before = past_k.shape[2] if past_k is not None else 0
    k = k if past_k is None else torch.cat([past_k, k], 2)
    v = v if past_v is None else torch.cat([past_v, v], 2)
    present, served = (k, v), q.shape[1] // k.shape[1]
    k, v = (each.repeat_interleave(served, 1) for each in present)
    root = real(node, "scale", q.shape[-1] ** -0.5) ** 0.5
    product = (q * root) @ (k * root).transpose(-1, -2)
    cap = real(node, "softcap", 0.0)
    capped = cap * torch.tanh(product / cap) if cap else product
    bias = _bias(node, capped, mask, before, valid)
    blind = (bias == -torch.inf).all(-1, keepdim=True)
    biased = capped + bias
    weights = biased.masked_fill(blind, 0.0).softmax(-1).masked_fill(blind, 0.0)
    y = weights @ v
    y = y.transpose(1, 2).flatten(2) if flat else y
    stages = (product, capped, biased, weights)
    given = stages[attribute(node, "qk_matmul_output_mode", 0)]
    return (y, *present, given)[: len(node.outputs)]


def _heads(x: Tensor, count: int) -> Tensor:
    """(batch, steps, heads * size) -> (batch, heads, steps, size)."""
    return x if x.dim() == 4 else x.reshape(*x.shape[:2], count, -1).transpose(1, 2)


def _bias(
    node: ir.Node, scores: Tensor, mask: Tensor | None, before: int, valid: Tensor | None
) -> Tensor:
    """0 or the mask's value where query i sees key j, else -inf.

    With i counted from the first key, which may be of steps that came before:
    is_causal asks j <= i, a window i - left <= j <= i + right, and `valid` says how many keys
    there are.
    """
    queries, keys = scores.shape[-2:]
    j = torch.arange(keys, device=scores.device)
    i = torch.arange(before, before + queries, device=scores.device)[:, None]
    seen = torch.ones_like(i + j, dtype=torch.bool)
    if valid is not None:
        valid = valid.reshape(-1, 1, 1, 1)
        i = i + valid - queries
        seen = seen & (j < valid)
    if flag(node, "is_causal"):
        seen = seen & (j <= i)
    left, right = (attribute(node, f"{side}_window_size", -1) for side in ("left", "right"))
    if left >= 0:
        seen = seen & (j >= i - left)
    if right >= 0:
        seen = seen & (j <= i + right)
    if mask is not None and mask.dtype == torch.bool:
        seen, mask = seen & mask, None
    return torch.where(seen, scores.new_zeros(()) if mask is None else mask, -torch.inf)


ATTENTION: dict[str, Callable[..., Any]] = {"Attention": attention}
