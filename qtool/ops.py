"""The operators, one row each: what is data, what is weight, what is bias, what shares a scale.

A row says what is true of the operator itself; what a runtime makes of it stands in `targets/`.
An operator without a row stays float, and the plan says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir


@dataclass(frozen=True)
class OpSpec:
    """One operator.

    `data`: positions of the activations that are quantized; None for all inputs.
    `weights`, `bias`: positions of the constants of an operator that multiplies and accumulates,
    or looks up rows.
    `channel`: the weights' axis of output channels, `contracted` the one that is summed over, and
    `alone` if no other axis is: each index of the others may then have a scale of its own.
    `shares`: output values are input values, moved: one scale for both.
    `joins`: puts several tensors side by side, and so under one scale.
    `clamps`: keeps values or sets them to a bound, so the quantizer behind it can do its work.
    """

    data: tuple[int, ...] | None = (0,)
    weights: tuple[int, ...] = ()
    bias: int | None = None
    channel: Callable[[ir.Node], int] | None = None
    contracted: Callable[[ir.Node], int] | None = None
    alone: bool = False
    shares: bool = False
    joins: bool = False
    clamps: bool = False
    holds: Callable[[ir.Node], bool] = lambda node: True
    unless: str = ""


def attribute(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute, or its default."""
    attr = node.attributes.get(name)
    return default if attr is None else attr.as_int()


def _text(node: ir.Node, name: str, default: str) -> str:
    attr = node.attributes.get(name)
    return default if attr is None else attr.as_string()


def _float(node: ir.Node, name: str, default: float) -> float:
    attr = node.attributes.get(name)
    return default if attr is None else attr.as_float()


def _gemm_plain(node: ir.Node) -> bool:
    scaled = _float(node, "alpha", 1.0) != 1.0 or _float(node, "beta", 1.0) != 1.0
    return not scaled and not attribute(node, "transA", 0)


# W (directions, gates x hidden, inputs) and R (directions, gates x hidden, hidden)
_RECURRENT = OpSpec(weights=(1, 2), channel=lambda n: 1, contracted=lambda n: 2, alone=True)
_MOVES = OpSpec(shares=True)
_UNARY = OpSpec()
_MANY = OpSpec(data=None)

OPS: dict[str, OpSpec] = {
    # multiply and accumulate: these pay for quantization
    "Conv": OpSpec(weights=(1,), bias=2, channel=lambda n: 0, contracted=lambda n: 1),
    "ConvTranspose": OpSpec(weights=(1,), bias=2, channel=lambda n: 1, contracted=lambda n: 0),
    "Gemm": OpSpec(
        weights=(1,),
        bias=2,
        channel=lambda n: 0 if attribute(n, "transB", 0) else 1,
        contracted=lambda n: 1 if attribute(n, "transB", 0) else 0,
        alone=True,
        holds=_gemm_plain,
        unless="alpha, beta or transA is set",
    ),
    "MatMul": OpSpec(weights=(1,), channel=lambda n: -1, contracted=lambda n: -2, alone=True),
    # the same over time, in float kernels
    "GRU": _RECURRENT,
    "LSTM": _RECURRENT,
    "RNN": _RECURRENT,
    # arithmetic between activations
    "Add": _MANY,
    "Mul": _MANY,
    "Concat": OpSpec(data=None, joins=True),
    # one in, one out, with a range of its own
    "AveragePool": _UNARY,
    "GlobalAveragePool": _UNARY,
    "LeakyRelu": _UNARY,
    "Sigmoid": _UNARY,
    # clamps
    "Relu": OpSpec(clamps=True),
    "Clip": OpSpec(clamps=True),
    # values moved about
    "DepthToSpace": _MOVES,
    "Expand": _MOVES,
    "Flatten": _MOVES,
    # a table that it looks up is a weight; each row has a scale
    "Gather": OpSpec(
        shares=True,
        weights=(0,),
        channel=lambda n: attribute(n, "axis", 0),
        contracted=lambda n: -1,
    ),
    "MaxPool": OpSpec(
        shares=True, holds=lambda n: len(n.outputs) == 1, unless="its indices are read"
    ),
    "ReduceMax": _MOVES,
    "ReduceMin": _MOVES,
    "Reshape": _MOVES,
    "Resize": OpSpec(
        shares=True,
        holds=lambda n: _text(n, "mode", "nearest") == "nearest",
        unless="it interpolates",
    ),
    "Slice": _MOVES,
    "Split": _MOVES,
    "Squeeze": _MOVES,
    "Tile": _MOVES,
    "Transpose": _MOVES,
    "Unsqueeze": _MOVES,
}


def data_inputs(node: ir.Node) -> list[tuple[int, ir.Value]]:
    """(position, value) of the activations that the row of `node` would quantize."""
    positions = OPS[node.op_type].data
    if positions is None:
        positions = tuple(range(len(node.inputs)))
    pairs = ((i, node.inputs[i]) for i in positions if i < len(node.inputs))
    return [(i, value) for i, value in pairs if value is not None]


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor behind an initializer, or None for an activation."""
    if value is None or not value.is_initializer() or value.is_graph_input():
        return None
    return value.const_value


def weights_of(node: ir.Node) -> list[tuple[int, ir.Value]]:
    """(position, initializer) of the node's constant weights."""
    spec = OPS.get(node.op_type)
    positions = spec.weights if spec is not None else ()
    pairs = ((i, node.inputs[i]) for i in positions if i < len(node.inputs))
    return [(i, value) for i, value in pairs if value is not None and constant(value) is not None]


def weight_of(node: ir.Node) -> ir.Value | None:
    """The initializer that is the node's first weight, or None."""
    return next((value for _, value in weights_of(node)), None)
