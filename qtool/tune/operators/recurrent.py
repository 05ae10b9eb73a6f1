"""LSTM, GRU and RNN: by torch's own kernels where they do the same, else step by step.

Each direction is computed by itself; what runs backward is turned around before and after, each
sequence within its own length. Torch's kernels want sequences of one length. With that of LSTM
learning is 1.5 to 10 times faster, the smaller the layer the more; the others gain little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from qtool.ops import attribute, real
from qtool.tune.operators import cells
from qtool.tune.operators.cells import Cell, State
from qtool.tune.operators.reading import cannot, choice

Kernel = Any  # one of torch's


@dataclass(frozen=True)
class Kind:
    """An operator: its activations, its step, how many states that keeps, and what torch has of it.

    `order`: where torch's gates stand among ONNX's. `kernels`: by the activations.
    """

    activations: tuple[str, ...]
    step: Callable[[Cell, Tensor, State], State]
    states: int
    order: tuple[int, ...]
    kernels: dict[tuple[str, ...], Kernel]


def recurrent(
    kind: Kind,
    node: ir.Node,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    h: Tensor | None = None,
    c: Tensor | None = None,
    peepholes: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Y (steps, directions, batch, units), then Y_h, of LSTM also Y_c (directions, batch, units).

    Behind the end of a sequence Y is 0; the states are those of its last step.
    """
    if attribute(node, "layout", 0):
        raise cannot(node, "layout = 1")
    if lengths is not None and bool((lengths == len(x)).all()):
        lengths = None
    direction = choice(node, "direction", "forward", "reverse", "bidirectional")
    names = cells.activations(node, kind.activations, len(w))
    functions = cells.functions(node, names)
    blank = x.new_zeros(len(w), x.shape[1], r.shape[-1])
    starts = [blank if state is None else state for state in (h, c)[: kind.states]]
    outputs, ends = [], []
    for each in range(len(w)):
        span = slice(each * len(kind.activations), (each + 1) * len(kind.activations))
        biases = w.new_zeros(2 * w.shape[1]) if bias is None else bias[each]
        weights = (w[each], r[each], *biases.chunk(2))
        start = tuple(state[each] for state in starts)
        backward = direction == "reverse" or each == 1
        steps = _turned(x, lengths) if backward else x
        kernel = kind.kernels.get(tuple(names[span]))
        if kernel is not None and peepholes is None and lengths is None and _plain(node):
            y, end = _at_once(kernel, [_ordered(kind, part) for part in weights], steps, start)
        else:
            seen = None if peepholes is None else peepholes[each]
            cell = Cell(node, r[each], weights[3], seen, functions[span], real(node, "clip", 0.0))
            y, end = _stepwise(
                partial(kind.step, cell), steps @ w[each].T + weights[2], start, lengths
            )
        outputs.append(_turned(y, lengths) if backward else y)
        ends.append(end)
    states = (torch.stack(state) for state in zip(*ends, strict=True))
    return (torch.stack(outputs, 1), *states)[: len(node.outputs)]


def _plain(node: ir.Node) -> bool:
    """Whether no attribute asks for what torch's kernels do not do."""
    late = node.op_type != "GRU" or bool(attribute(node, "linear_before_reset", 0))
    return late and not attribute(node, "input_forget", 0) and not real(node, "clip", 0.0)


def _at_once(
    kernel: Kernel, weights: list[Tensor], x: Tensor, start: State
) -> tuple[Tensor, State]:
    first = [state[None] for state in start]
    options = (True, 1, 0.0, True, False, False)  # biases, layers, dropout, train, both ways, batch
    y, *end = kernel(x, first if len(first) > 1 else first[0], weights, *options)
    return y, tuple(state[0] for state in end)


def _stepwise(
    step: Callable[[Tensor, State], State], x: Tensor, start: State, lengths: Tensor | None
) -> tuple[Tensor, State]:
    state, outputs = start, []
    for place, each in enumerate(x):
        new = step(each, state)
        output = new[0]
        if lengths is not None:
            goes = (lengths > place)[:, None]
            output = torch.where(goes, output, 0.0)
            new = tuple(torch.where(goes, *pair) for pair in zip(new, state, strict=True))
        state = new
        outputs.append(output)
    if lengths is not None:  # onnxruntime ends a sequence of no steps in 0, not where it began
        state = tuple(torch.where((lengths > 0)[:, None], each, 0.0) for each in state)
    return torch.stack(outputs), state


def _ordered(kind: Kind, weights: Tensor) -> Tensor:
    """The gates as torch has them."""
    parts = weights.chunk(len(kind.order))
    return torch.cat([parts[place] for place in kind.order])


def _turned(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Last step first; what lies behind the end of a sequence stays."""
    if lengths is None:
        return x.flip(0)
    steps = torch.arange(len(x), device=x.device)[:, None]
    turned = torch.where(steps < lengths, lengths - 1 - steps, steps)
    return x.gather(0, turned[..., None].expand(x.shape))


_VF: Any = torch._VF  # what torch.nn.LSTM and its like call
# i, o, f, c -> i, f, c, o
LSTM = Kind(
    ("Sigmoid", "Tanh", "Tanh"),
    cells.lstm,
    2,
    (0, 2, 3, 1),
    {("Sigmoid", "Tanh", "Tanh"): _VF.lstm},
)
# z, r, h -> r, z, h
GRU = Kind(("Sigmoid", "Tanh"), cells.gru, 1, (1, 0, 2), {("Sigmoid", "Tanh"): _VF.gru})
RNN = Kind(("Tanh",), cells.rnn, 1, (0,), {("Tanh",): _VF.rnn_tanh, ("Relu",): _VF.rnn_relu})

RECURRENT: dict[str, Callable[..., Any]] = {
    "LSTM": partial(recurrent, LSTM),
    "GRU": partial(recurrent, GRU),
    "RNN": partial(recurrent, RNN),
}
