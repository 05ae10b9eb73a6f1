"""From ranges to parameters: the one place where scales and zero points are chosen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from qtool.numeric.affine import Floats, QParams, bias_params, dequantize, from_range, quantize
from qtool.numeric.granularity import Granularity, PerBlock, PerChannel, PerTensor, reduce
from qtool.numeric.histogram import Histogram
from qtool.numeric.ranges import METHODS
from qtool.numeric.scheme import WeightScheme
from qtool.ops import OPS, constant, weight_of
from qtool.plan.plan import Plan, TensorPlan, WeightPlan
from qtool.plan.sites import Sites, WeightSite
from qtool.target import Encoding, Target

_INT32_MAX = 2**31 - 1


def decide(model: ir.Model, sites: Sites, ranges: Mapping[str, Histogram], target: Target) -> Plan:
    """Parameters for every site, in the order of the sites."""
    plan = Plan(skipped=dict(sites.skipped))
    for name, site in sites.activations.items():
        histogram = ranges[site.source]
        low, high = METHODS[site.scheme.method](histogram, site.scheme.type, site.scheme.symmetric)
        params = from_range(
            np.asarray(low), np.asarray(high), site.scheme.type, symmetric=site.scheme.symmetric
        )
        plan.activations[name] = TensorPlan(params, site.readers)
    nodes = {node.name: node for node in model.graph}
    for place in sites.weights:
        node = nodes[place.node]
        weight = _decide_weight(node, place, plan)
        encoding = _static_encoding(weight) if place.static else _encoding(node, weight, target)
        plan.weights[place.node, place.position] = WeightPlan(
            place.tensor, weight, encoding, node.op_type in target.needs_zero_point
        )
        plan.schemes[place.node] = str(
            place.scheme if place.static else place.scheme.weights_only()
        )
        if place.static:
            _decide_bias(node, weight, plan)
    return plan


def _static_encoding(weight: QParams) -> Encoding:
    """Integer kernels take int8: narrower codes are widened once, when the runtime loads."""
    narrow = weight.type.container < 8 and not isinstance(weight.granularity, PerBlock)
    return "cast-dq" if narrow else "dq"


def _encoding(node: ir.Node, weight: QParams, target: Target) -> Encoding:
    """How a weight is stored whose node computes in float: fused by the target, or folded.

    Blocks have no plain product to fold: their scales broadcast only inside DequantizeLinear.
    """
    if isinstance(weight.granularity, PerBlock):
        return "dq"
    tensor = constant(weight_of(node))
    readers = {use.node.op_type for value in node.outputs for use in value.uses()}
    fuses = (
        weight.type.container in target.fused_bits
        and tensor is not None
        and len(tensor.shape) == target.fused_rank
        and not readers & set(target.fused_unless_read_by.get(node.op_type, ()))
    )
    return target.weights[node.op_type] if fuses else "cast-mul"


def weight_params(weight: Floats, scheme: WeightScheme, granularity: Granularity) -> QParams:
    """Parameters for a weight: its full range at 8 bits and more, the range of least squared
    error below, where clipping a few values pays for a finer step."""
    low = reduce(weight, granularity, np.min)
    high = reduce(weight, granularity, np.max)
    full = from_range(low, high, scheme.type, symmetric=scheme.symmetric, granularity=granularity)
    if scheme.type.bits >= 8:
        return full
    best, best_error = full, _error(weight, full)
    for share in np.linspace(0.95, 0.4, 12):
        trial = from_range(
            low * share, high * share, scheme.type,
            symmetric=scheme.symmetric, granularity=granularity,
        )  # fmt: skip
        error = _error(weight, trial)
        better = error < best_error
        best_error = np.where(better, error, best_error)
        scale = np.where(better, trial.scale, best.scale).astype(np.float32)
        zero = np.where(better, trial.zero_point, best.zero_point).astype(np.int32)
        best = QParams(scheme.type, scale, zero, granularity)
    return best


def _error(weight: Floats, params: QParams) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Sum of squared errors in each block."""
    lost = weight - dequantize(quantize(weight, params), params)
    return reduce(lost.astype(np.float64) ** 2, params.granularity, np.sum)


def _decide_weight(node: ir.Node, site: WeightSite, plan: Plan) -> QParams:
    tensor = constant(node.inputs[site.position])
    spec = OPS[node.op_type]
    assert tensor is not None and spec.channel is not None and spec.contracted is not None
    weight = tensor.numpy()
    scheme = site.scheme.weight
    granularity: Granularity = PerChannel(spec.channel(node) % weight.ndim)
    if scheme.block == 0:
        granularity = PerTensor()
    elif scheme.block is not None and node.op_type in ("Gemm", "MatMul"):
        granularity = PerBlock(spec.contracted(node) % weight.ndim, scheme.block)
    params = weight_params(weight, scheme, granularity)
    if granularity == PerTensor():
        params = QParams(
            params.type, params.scale.reshape(()), params.zero_point.reshape(()), granularity
        )
    return _with_room_for_bias(node, params, plan) if site.static else params


def _with_room_for_bias(node: ir.Node, params: QParams, plan: Plan) -> QParams:
    """Widen scales of channels whose bias would overflow int32 at scale = input x weight.

    A channel pruned to almost nothing has a tiny weight scale and still a bias.
    """
    bias = _bias(node)
    if bias is None or isinstance(params.granularity, PerBlock):
        return params
    least = np.abs(bias.astype(np.float64)) / (_INT32_MAX * 0.99) / _input_scale(node, plan)
    if params.scale.ndim == 0:
        scale = np.maximum(params.scale, least.max())
    else:
        scale = np.maximum(params.scale, least.reshape(params.scale.shape))
    return QParams(params.type, scale.astype(np.float32), params.zero_point, params.granularity)


def _decide_bias(node: ir.Node, weight: QParams, plan: Plan) -> None:
    position = OPS[node.op_type].bias
    bias = _bias(node)
    if bias is None or position is None or isinstance(weight.granularity, PerBlock):
        return
    value = node.inputs[position]
    assert value is not None
    params = bias_params(np.float32(_input_scale(node, plan)), weight)  # type: ignore[arg-type]
    plan.biases[node.name or "", position] = WeightPlan(value.name or "", params)


def _input_scale(node: ir.Node, plan: Plan) -> float:
    data = node.inputs[0]
    assert data is not None
    return float(plan.activations[data.name or ""].params.scale)


def _bias(node: ir.Node) -> Floats | None:
    position = OPS[node.op_type].bias
    if position is None or len(node.inputs) <= position or node.inputs[position] is None:
        return None
    tensor = constant(node.inputs[position])
    return None if tensor is None or len(tensor.shape) != 1 else tensor.numpy()
