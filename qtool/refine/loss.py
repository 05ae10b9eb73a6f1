"""What quantization costs a stream, for given factors: measured on what its layers read.

    reader     |W x - Q(W s) Q(x / s)|^2 / |W x|^2          summed over places and outputs
    carried    |g (x - s Q(x / s))|^2 / |g x|^2             a tensor that others read too

g_c is how loud the stream's readers hear channel c, |W_c|. An output of a reader counts as loud as
it is heard itself, where it is a channel of another stream: else the weak ones of a depthwise
convolution, which the next layer multiplies a hundredfold, would not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.numeric.affine import QParams, dequantize, quantize
from qtool.numeric.granularity import Granularity, PerBlock, PerChannel, PerTensor
from qtool.numeric.scheme import WeightScheme
from qtool.ops import OPS
from qtool.passes.edit import array
from qtool.passes.ends import End
from qtool.passes.streams import Factors, Stream
from qtool.plan.weights import weight_params
from qtool.refine.columns import Floats
from qtool.refine.observed import Part, Reader, Tensor, matrices


def gains(stream: Stream) -> Factors:
    """How loud each label is heard: the square root of all weights' squares that read it."""
    found = np.zeros(len(stream.free))
    for end in stream.readers:
        squares = array(end.node.inputs[end.position]).astype(np.float64) ** 2
        np.add.at(found, np.broadcast_to(end.labels, squares.shape), squares)
    return np.sqrt(found)


def heard(streams: list[Stream], nodes: set[ir.Node]) -> dict[ir.Node, Factors]:
    """Layer -> how loud each of its outputs is heard, for those of the layers that write a stream
    with readers."""
    found: dict[ir.Node, Factors] = {}
    for stream in streams:
        ends = [e for e in stream.writers if e.node in nodes and e.position == 1]
        loud = gains(stream) if ends else np.zeros(0)
        if loud.any():
            found.update((end.node, loud[end.labels.reshape(-1)]) for end in ends)
    return found


def loss(
    tensors: Mapping[str, Tensor],
    readers: list[Reader],
    factors: Factors,
    loud: Factors,
    heard_by: Mapping[ir.Node, Factors],
    part: Part,
) -> float:
    """The sum over all readers and carried tensors."""
    used = {tensors[r.tensor].source for r in readers}
    used |= {t.source for t in tensors.values() if t.carried}
    params = {
        name: None if tensors[name].scheme is None else tensors[name].params(factors)
        for name in sorted(used)
    }
    total = 0.0
    for reader in readers:
        through = params[tensors[reader.tensor].source]
        total += _of_reader(reader, through, factors, heard_by.get(reader.end.node), part)
    for tensor in tensors.values():
        if tensor.carried:
            total += _of_carried(tensor, params[tensor.source], factors, loud, part)
    return total


def _of_reader(
    reader: Reader, params: QParams | None, factors: Factors, loud: Factors | None, part: Part
) -> float:
    node, columns = reader.end.node, reader.columns(part)
    weight = array(node.inputs[reader.end.position]).astype(np.float32)
    scaled = (weight * factors[reader.end.labels]).astype(np.float32)
    stored = _rounded(scaled, _params(reader.end, scaled, reader.scheme))
    by: Floats = factors[reader.labels].astype(np.float32)
    seen = _rounded(np.divide(columns, by, dtype=np.float32), params)
    exact = reader.exact(part)
    error = matrices(node, stored, len(columns)) @ seen - exact
    outputs = exact.shape[0] * exact.shape[1]
    loud = np.ones(outputs) if loud is None else loud
    return _ratio(error.reshape(outputs, -1).T, exact.reshape(outputs, -1).T, loud)


def _of_carried(
    tensor: Tensor, params: QParams | None, factors: Factors, loud: Factors, part: Part
) -> float:
    rows, by = tensor.rows(part), factors[tensor.labels.reshape(-1)].astype(np.float32)
    error = _rounded(rows / by, params) * by - rows
    return _ratio(error, rows, loud[tensor.labels.reshape(-1)])


def _ratio(error: NDArray[Any], exact: NDArray[Any], loud: Factors) -> float:
    """Squared error over squared signal, (places, outputs), outputs as loud as they are heard."""

    def energy(x: NDArray[Any]) -> float:
        return float(((x**2).sum(axis=0, dtype=np.float64) * loud**2).sum())

    signal = energy(exact)
    return energy(error) / signal if signal > 0 else 0.0


def _params(end: End, weight: Floats, scheme: WeightScheme) -> QParams:
    spec = OPS[end.node.op_type]
    assert spec.channel is not None and spec.contracted is not None
    granularity: Granularity = PerChannel(spec.channel(end.node) % weight.ndim)
    if scheme.block == 0:
        granularity = PerTensor()
    elif scheme.block is not None and spec.alone:
        granularity = PerBlock(spec.contracted(end.node) % weight.ndim, scheme.block)
    return weight_params(weight, scheme, granularity)


def _rounded(x: Floats, params: QParams | None) -> Floats:
    """As it is where it stays float."""
    return x if params is None else dequantize(quantize(x, params), params)
