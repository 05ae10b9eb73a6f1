"""Cross-layer equalization, through residual streams too.

Between a layer that writes channel c and the layers that read it, a factor can be moved freely:

    f(s * x) = s * f(x)  for s > 0     =>     (W1 / s, b1 / s)  then  (W2 * s)  is the same function

for f = Relu, max and average pooling, Add (where all that is added is scaled alike). All tensors
joined by such f are one *stream*: every writer of channel c is divided by s_c, every reader
multiplied. With r1 the largest weight that writes c, r2 the largest that reads it,

    s_c = sqrt(r1_c / r2_c)

makes both equal to sqrt(r1 * r2), so that one scale for all channels fits them all.

Source: Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction,
section 4.1; the extension from layer pairs to streams is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.ops import OPS, attribute, constant, weight_of
from qtool.passes.edit import array, is_float, rounded, set_constant

# a node and the position of a constant input -> its new values
_Scaled: TypeAlias = dict[tuple[ir.Node, int], NDArray[Any]]

# x -> f(x) with f(s x) = s f(x), channel by channel
_HOMOGENEOUS = {"Add", "Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool"}


@dataclass
class Stream:
    """Tensors that carry the same channels, and the layers at their ends."""

    values: set[ir.Value]
    writers: list[ir.Node] = field(default_factory=list)
    readers: list[ir.Node] = field(default_factory=list)


class Equalize(ir.passes.InPlacePass):
    """Divide writers and multiply readers of each stream, channel by channel."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for stream in streams(model.graph):
            factors = _factors(stream)
            if factors is None:
                continue
            scaled = _scaled(stream, factors)
            for (node, position), values in scaled.items():
                set_constant(node, position, values, f"{node.name}_equalized")
            changed |= bool(scaled)
        return ir.passes.PassResult(model, modified=changed)


def streams(graph: ir.Graph) -> list[Stream]:
    """All streams whose every end is a layer with constant weights, in graph order."""
    member: dict[ir.Value, Stream] = {}
    for node in graph:
        for value in node.outputs:
            member.setdefault(value, Stream({value}))
        if _homogeneous(node):
            for source in node.inputs:
                if source is not None:
                    _join(member, member.setdefault(source, Stream({source})), node.outputs[0])
    unique = list({id(s): s for s in member.values()}.values())
    return [s for s in unique if _close(s)]


def _join(member: dict[ir.Value, Stream], stream: Stream, value: ir.Value) -> None:
    target = member[value]
    if target is not stream:
        target.values |= stream.values
        for moved in stream.values:
            member[moved] = target


def _close(stream: Stream) -> bool:
    """Find writers and readers; False where an end is anything but a layer that can be scaled."""
    for value in sorted(stream.values, key=lambda v: v.name or ""):
        producer = value.producer()
        if producer is None or value.is_graph_output() or len(producer.outputs) > 1:
            return False
        if not _homogeneous(producer):
            if not _scalable(producer, as_writer=True):
                return False
            stream.writers.append(producer)
        for node, position in value.uses():
            if node.graph is not producer.graph:
                return False
            if not _homogeneous(node):
                if position != 0 or not _scalable(node, as_writer=False):
                    return False
                stream.readers.append(node)
    # Add broadcasts from the right: of layers that differ in rank, the channels do not line up.
    ranks = {(n.op_type, array(weight_of(n)).ndim) for n in (*stream.writers, *stream.readers)}
    return bool(stream.writers and stream.readers) and len(ranks) == 1


def _homogeneous(node: ir.Node) -> bool:
    return node.op_type in _HOMOGENEOUS and node.domain == ""


def _scalable(node: ir.Node, *, as_writer: bool) -> bool:
    weight = weight_of(node)
    if weight is None or node.domain != "" or node.op_type not in ("Conv", "Gemm"):
        return False
    if not is_float(array(weight)) or not OPS[node.op_type].holds(node):
        return False
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and (constant(bias) is None or array(bias).ndim != 1):
        return False
    groups = attribute(node, "group", 1)
    # A depthwise reader (one input channel per group) scales by its rows; other groups are rare.
    return groups == 1 or as_writer or array(weight).shape[0] == groups


def _factors(stream: Stream) -> NDArray[np.float64] | None:
    written = [_output_range(n) for n in stream.writers]
    read = [_input_range(n) for n in stream.readers]
    if len({r.shape for r in (*written, *read)}) != 1:  # broadcasting, or a Gemm behind pooling
        return None
    r1, r2 = np.max(written, axis=0), np.max(read, axis=0)
    live = (r1 > _DEAD * r1.max()) & (r2 > _DEAD * r2.max())
    if not live.any() or _promise(r1[live], r2[live]) < _WORTHWHILE:
        return None
    factors: NDArray[np.float64] = np.ones_like(r1)
    factors[live] = np.sqrt(r1[live] / r2[live])
    # A common factor only moves scales about: keep the stream's level where it was.
    factors[live] /= np.exp(np.log(factors[live]).mean())
    return factors


def _promise(r1: NDArray[np.float64], r2: NDArray[np.float64]) -> float:
    """By how many dB the quantization noise that readers see should fall.

    The step of one scale for all channels goes with the largest; each reader hears it as loud as
    its weights are:  noise ~ max(r1) * |r2|  before, with both sqrt(r1 r2) after.
    """
    even = np.sqrt(r1 * r2)
    before = r1.max() * np.linalg.norm(r2)
    after = even.max() * np.linalg.norm(even)
    return float(20 * np.log10(before / after))


# A channel this much weaker than the strongest is pruned: any factor would do, and most overflow.
_DEAD = 1e-6
# Weights tell little about what the data makes of them: a small promise is not kept (resnet8:
# promised 1 to 3 dB, lost 3; digits_mobile: promised 28 to 30 dB, won 25).
_WORTHWHILE = 10.0


def _output_range(node: ir.Node) -> NDArray[np.float64]:
    weight = array(weight_of(node)).astype(np.float64)
    channel = OPS[node.op_type].channel
    assert channel is not None
    return _largest_along(weight, channel(node))


def _input_range(node: ir.Node) -> NDArray[np.float64]:
    weight = array(weight_of(node)).astype(np.float64)
    return _largest_along(weight, _input_axis(node, weight))


def _largest_along(weight: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    slices = np.moveaxis(weight, axis, 0)
    largest: NDArray[np.float64] = np.abs(slices.reshape(len(slices), -1)).max(axis=1)
    return largest


def _input_axis(node: ir.Node, weight: NDArray[Any]) -> int:
    """The weight's axis of input channels; a depthwise weight has them along its rows."""
    contracted = OPS[node.op_type].contracted
    assert contracted is not None
    depthwise = node.op_type == "Conv" and attribute(node, "group", 1) > 1 and weight.shape[1] == 1
    return 0 if depthwise else contracted(node)


def _scaled(stream: Stream, factors: NDArray[np.float64]) -> _Scaled:
    """All weights and biases of the stream's ends, or none where their type does not hold one:
    float16 ends at 65504. A node may stand at both ends, in a residual stream."""
    found: _Scaled = {}
    for node in stream.writers:
        channel = OPS[node.op_type].channel
        assert channel is not None
        biased = len(node.inputs) > 2 and node.inputs[2] is not None
        for position, axis in ((1, channel(node)), (2, 0))[: 1 + biased]:
            if not _multiply(found, node, position, axis, 1 / factors):
                return {}
    for node in stream.readers:
        if not _multiply(found, node, 1, _input_axis(node, array(weight_of(node))), factors):
            return {}
    return found


def _multiply(
    found: _Scaled, node: ir.Node, position: int, axis: int, factors: NDArray[np.float64]
) -> bool:
    """Whether the type of the constant holds its product with the factors."""
    old = found[node, position] if (node, position) in found else array(node.inputs[position])
    shape = [1] * old.ndim
    shape[axis] = -1
    values = rounded(old.astype(np.float64) * factors.reshape(shape), old.dtype)
    if values is not None:
        found[node, position] = values
    return values is not None
