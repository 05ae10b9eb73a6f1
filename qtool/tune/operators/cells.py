"""One step of LSTM, GRU and RNN as ONNX has them: any activation, clipping, peepholes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from qtool.ops import attribute, reals
from qtool.tune.operators.reading import cannot, texts

Function = Callable[[Tensor], Tensor]
State = tuple[Tensor, ...]  # h, and of LSTM also c


@dataclass(frozen=True)
class Cell:
    """One direction, but for W and its bias: they have been applied to all steps.

    `peepholes` are of i, o and f. `clip` bounds what activations are given; 0 for no clipping.
    """

    node: ir.Node
    r: Tensor
    bias: Tensor
    peepholes: Tensor | None
    functions: list[Function]
    clip: float

    def recurrence(self, h: Tensor) -> Tensor:
        """R h + its bias, of all gates side by side."""
        return h @ self.r.T + self.bias

    def bounded(self, x: Tensor) -> Tensor:
        """Within the clip."""
        return x.clamp(-self.clip, self.clip) if self.clip else x

    def has(self, flag: str) -> bool:
        """Whether an attribute of 0 or 1 is set."""
        return bool(attribute(self.node, flag, 0))


def lstm(cell: Cell, x: Tensor, state: State) -> State:
    """c = f c + i g(c'), h = o h(c); input_forget makes f = 1 - i."""
    squash, squash_cell, squash_state = cell.functions
    h, c = state
    into, out, forget, new = (x + cell.recurrence(h)).chunk(4, -1)
    into_c, out_c, forget_c = (None,) * 3 if cell.peepholes is None else cell.peepholes.chunk(3)
    i = squash(cell.bounded(_seen(into, into_c, c)))
    f = squash(cell.bounded(_seen(forget, forget_c, c)))
    f = 1 - i if cell.has("input_forget") else f
    c = f * c + i * squash_cell(cell.bounded(new))
    o = squash(cell.bounded(_seen(out, out_c, c)))
    return o * squash_state(c), c


def _seen(gate: Tensor, peephole: Tensor | None, c: Tensor) -> Tensor:
    return gate if peephole is None else gate + peephole * c


def gru(cell: Cell, x: Tensor, state: State) -> State:
    """h = (1 - z) g(h') + z h; linear_before_reset puts r behind the product with R, not before."""
    squash, squash_new = cell.functions
    (h,) = state
    units = h.shape[-1]
    product, late = cell.recurrence(h), cell.has("linear_before_reset")
    z, r = squash(cell.bounded((x + product)[..., : 2 * units])).chunk(2, -1)
    kept = product[..., 2 * units :] * r if late else cell.recurrence(r * h)[..., 2 * units :]
    new = squash_new(cell.bounded(x[..., 2 * units :] + kept))
    return ((1 - z) * new + z * h,)


def rnn(cell: Cell, x: Tensor, state: State) -> State:
    """h = f(W x + R h + biases)."""
    (squash,) = cell.functions
    return (squash(cell.bounded(x + cell.recurrence(state[0]))),)


def activations(node: ir.Node, defaults: tuple[str, ...], directions: int) -> list[str]:
    """Their names, of one direction after the other."""
    return texts(node, "activations") or list(defaults) * directions


def functions(node: ir.Node, names: list[str]) -> list[Function]:
    """What they compute. Each takes what it needs of the lists of alphas and betas, in order.

    Raises:
        ModelError: ONNX knows no such activation.
    """
    alphas, betas = iter(reals(node, "activation_alpha")), iter(reals(node, "activation_beta"))
    found = []
    for name in names:
        if name not in ACTIVATIONS:
            raise cannot(node, f"activations = {name!r}")
        made, *defaults = ACTIVATIONS[name]
        pairs = zip((alphas, betas), defaults, strict=False)
        found.append(made(*(next(given, default) for given, default in pairs)))
    return found


# name -> alpha, beta -> the function; and the defaults of both, where it takes them. Those that
# are 0 are onnxruntime's; the specification is vague there.
ACTIVATIONS: dict[str, tuple[Callable[..., Function], *tuple[float, ...]]] = {
    "Relu": (lambda: torch.relu,),
    "Tanh": (lambda: torch.tanh,),
    "Sigmoid": (lambda: torch.sigmoid,),
    "Affine": (lambda a, b: lambda x: a * x + b, 0.0, 0.0),
    "LeakyRelu": (lambda a: lambda x: F.leaky_relu(x, a), 0.01),
    "ThresholdedRelu": (lambda a: lambda x: torch.where(x >= a, x, 0.0), 0.0),
    "ScaledTanh": (lambda a, b: lambda x: a * torch.tanh(b * x), 0.0, 0.0),
    "HardSigmoid": (lambda a, b: lambda x: (a * x + b).clamp(0, 1), 0.2, 0.5),
    "Elu": (lambda a: lambda x: F.elu(x, a), 1.0),
    "Softsign": (lambda: F.softsign,),
    "Softplus": (lambda: F.softplus,),
}
