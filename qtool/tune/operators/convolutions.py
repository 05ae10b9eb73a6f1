"""Conv and ConvTranspose, of one to three spatial axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from qtool.ops import attribute
from qtool.tune.operators.reading import choice, numbers
from qtool.tune.operators.windows import AUTO_PADS, both, halves, spatial, windows

_CONV: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Any] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}


def conv(node: ir.Node, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """y[o] = b[o] + sum over i, k of w[o, i, k] x[i, stride * place + dilation * k - begin]."""
    rank = spatial(node, x)
    at = windows(node, x.shape[2:], w.shape[2:])
    pads = list(at.begins)
    if at.begins != at.ends:  # torch knows equal pads only
        x, pads = F.pad(x, both(at.begins, at.ends)), [0] * rank
    group = attribute(node, "group", 1)
    y: Tensor = _CONV[rank](x, w, b, at.strides, pads, at.dilations, group)
    return y


def conv_transpose(node: ir.Node, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """y[o, stride * place + dilation * k - begin] += w[i, o, k] x[i, place], and b[o] everywhere.

    Unpadded it is (n - 1) stride + extent wide. Of that `pads` cut off both ends, where
    `output_padding` has added to the last. An output_shape says the width, and what is cut follows.
    """
    rank = spatial(node, x)
    at = windows(node, x.shape[2:], w.shape[2:])
    kind = choice(node, "auto_pad", *AUTO_PADS)
    y: Tensor = _TRANSPOSED[rank](
        x, w, None, at.strides, 0, 0, attribute(node, "group", 1), at.dilations
    )
    full = y.shape[2:]
    more = numbers(node, "output_padding") or [0] * rank
    grown = [n + each for n, each in zip(full, more, strict=True)]
    wanted = (numbers(node, "output_shape") or [])[-rank:]
    if kind.startswith("SAME") and not wanted:
        every = zip(grown, x.shape[2:], at.strides, strict=True)
        wanted = [min(most, n * stride) for most, n, stride in every]
    begins, ends = list(at.begins), list(at.ends)
    if wanted:
        totals = [max(0, n - m) for n, m in zip(grown, wanted, strict=True)]
        begins, ends = halves(totals, kind)
    else:
        wanted = [n - sum(cut) for n, *cut in zip(grown, begins, ends, strict=True)]
    behind = [m + begin - n for m, begin, n in zip(wanted, begins, full, strict=True)]
    y = F.pad(y, both([-begin for begin in begins], behind))
    return y if b is None else y + b.reshape(-1, *[1] * rank)


CONVOLUTIONS: dict[str, Callable[..., Any]] = {"Conv": conv, "ConvTranspose": conv_transpose}
