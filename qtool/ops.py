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
    `normalizes`: its results sum to one; for many of them eight bits are a coarse grid.
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
    normalizes: bool = False
    holds: Callable[[ir.Node], bool] = lambda node: True
    unless: str = ""


def attribute(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute, or its default."""
    attr = node.attributes.get(name)
    return default if attr is None else attr.as_int()


def text(node: ir.Node, name: str, default: str) -> str:
    """A text attribute, or its default."""
    attr = node.attributes.get(name)
    return default if attr is None else attr.as_string()


def real(node: ir.Node, name: str, default: float) -> float:
    """A float attribute, or its default."""
    attr = node.attributes.get(name)
    return default if attr is None else attr.as_float()


def reals(node: ir.Node, name: str) -> tuple[float, ...]:
    """A list of floats; empty where there is none."""
    attr = node.attributes.get(name)
    return () if attr is None else tuple(attr.as_floats())


def integers(node: ir.Node, name: str) -> tuple[int, ...]:
    """A list of integers; empty where there is none."""
    attr = node.attributes.get(name)
    return () if attr is None else tuple(attr.as_ints())


def _gemm_plain(node: ir.Node) -> bool:
    scaled = real(node, "alpha", 1.0) != 1.0 or real(node, "beta", 1.0) != 1.0
    return not scaled and not attribute(node, "transA", 0)


def _bounded(node: ir.Node) -> bool:
    bounds = [value for value in node.inputs[1:3] if value is not None]
    tensors = [constant(value) for value in bounds]
    known = [tensor.numpy().reshape(-1) for tensor in tensors if tensor is not None]
    if len(known) < len(bounds) or any(each.size != 1 for each in known):
        return False
    return len(known) < 2 or bool(known[0] <= known[1])


# W (directions, gates x hidden, inputs) and R (directions, gates x hidden, hidden)
_RECURRENT = OpSpec(weights=(1, 2), channel=lambda n: 1, contracted=lambda n: 2, alone=True)
_MOVES = OpSpec(shares=True)
_UNARY = OpSpec()
_MANY = OpSpec(data=None)
_PAIR = OpSpec(data=(0, 1))
_NEAREST = OpSpec(
    shares=True,
    holds=lambda n: text(n, "mode", "nearest") == "nearest",
    unless="it interpolates",
)


def _rows(spec: OpSpec, operators: str) -> dict[str, OpSpec]:
    return dict.fromkeys(operators.split(), spec)


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
    **_rows(_RECURRENT, "GRU LSTM RNN"),
    # products of activations
    "Attention": OpSpec(data=(0, 1, 2)),
    "Einsum": _MANY,  # where it is a matrix product, preparation has made it one
    # arithmetic between activations
    **_rows(_MANY, "Add Max Mean Min Mul Sum"),
    **_rows(_PAIR, "Div Mod Pow PRelu Sub"),
    "Concat": OpSpec(data=None, joins=True),
    "Where": OpSpec(data=(1, 2)),
    # one in, one out, with a range of its own
    **_rows(
        _UNARY,
        "Abs Celu Cos Elu Erf Exp Gelu HardSigmoid HardSwish LeakyRelu Log Mish Neg Reciprocal"
        " Selu Sigmoid Sin Softplus Softsign Sqrt Swish Tanh",
    ),
    "LogSoftmax": _UNARY,
    "Softmax": OpSpec(normalizes=True),
    # pools
    "AveragePool": OpSpec(
        holds=lambda n: "dilations" not in n.attributes, unless="dilations are set"
    ),
    **_rows(_UNARY, "GlobalAveragePool GlobalLpPool LpPool"),
    "GlobalMaxPool": _MOVES,
    "MaxPool": OpSpec(
        shares=True, holds=lambda n: len(n.outputs) == 1, unless="its indices are read"
    ),
    # reductions
    **_rows(_MOVES, "ReduceMax ReduceMin"),
    **_rows(
        _UNARY,
        "CumSum ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMean ReduceProd ReduceSum"
        " ReduceSumSquare",
    ),
    # normalizations; what they learned stays float
    **_rows(
        _UNARY,
        "BatchNormalization GroupNormalization InstanceNormalization LRN LayerNormalization"
        " LpNormalization MeanVarianceNormalization RMSNormalization",
    ),
    # clamps
    "Clip": OpSpec(
        clamps=True,
        holds=lambda n: _bounded(n),
        unless="its bounds are computed, or the wrong way round",
    ),
    "Relu": OpSpec(clamps=True),
    # places of values
    **_rows(_UNARY, "ArgMax ArgMin TopK"),
    # values moved about
    **_rows(
        _MOVES,
        "Compress DepthToSpace Expand Flatten GatherElements GatherND Pad Reshape ReverseSequence"
        " Slice SpaceToDepth Split Squeeze Tile Transpose Trilu Unsqueeze",
    ),
    "Resize": _NEAREST,
    # a table that it looks up is a weight; each row has a scale
    "Gather": OpSpec(
        shares=True,
        weights=(0,),
        channel=lambda n: attribute(n, "axis", 0),
        contracted=lambda n: -1,
    ),
    **_rows(OpSpec(data=(0, 2)), "ScatterElements ScatterND"),
    "GridSample": _UNARY,
}


def data_inputs(node: ir.Node) -> list[tuple[int, ir.Value]]:
    """(position, value) of what the row of `node` quantizes beside its constant weights.

    Activations, constants of arithmetic, and weights that are computed.
    """
    spec = OPS[node.op_type]
    positions = spec.data
    if positions is None:
        positions = tuple(range(len(node.inputs)))
    pairs = [(i, node.inputs[i]) for i in positions if i < len(node.inputs)]
    weights = [(i, node.inputs[i]) for i in spec.weights if i < len(node.inputs)]
    pairs += [(i, v) for i, v in weights if i not in positions and constant(v) is None]
    return [(i, value) for i, value in pairs if value is not None]


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor behind an initializer, or None for an activation."""
    if value is None or not value.is_initializer() or value.is_graph_input():
        return None
    return value.const_value


def bytes_of(tensor: ir.TensorProtocol) -> int:
    """What its values take; onnx_ir knows no size of strings."""
    if tensor.dtype is ir.DataType.STRING:
        return sum(len(each) for each in tensor.numpy().reshape(-1))
    return tensor.nbytes


def weights_of(node: ir.Node) -> list[tuple[int, ir.Value]]:
    """(position, initializer) of the node's constant weights."""
    spec = OPS.get(node.op_type)
    positions = spec.weights if spec is not None else ()
    pairs = ((i, node.inputs[i]) for i in positions if i < len(node.inputs))
    return [(i, value) for i, value in pairs if value is not None and constant(value) is not None]


def weight_of(node: ir.Node) -> ir.Value | None:
    """The initializer that is the node's first weight, or None."""
    return next((value for _, value in weights_of(node)), None)
