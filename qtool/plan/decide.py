"""From ranges to parameters: the one place where scales and zero points are chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from qtool.numeric.affine import Floats, QParams, bias_params, within
from qtool.numeric.deciding import covered, covering
from qtool.numeric.granularity import Granularity, PerBlock, PerChannel, PerTensor, reduce
from qtool.numeric.histogram import Histogram
from qtool.numeric.scheme import Half
from qtool.numeric.types import INT8, UINT8
from qtool.ops import OPS, constant
from qtool.plan.eligible import bias_of
from qtool.plan.encoding import encoding_of
from qtool.plan.guards import guards, moved
from qtool.plan.joins import joined
from qtool.plan.kernel_steps import steps_of
from qtool.plan.masks import above, bounds
from qtool.plan.plan import Plan, Rounded, TensorPlan, WeightPlan
from qtool.plan.sites import ActivationSite, OperandSite, Sites, WeightSite
from qtool.plan.tied import tied, turned
from qtool.plan.weights import halved, in_half, in_powers, weight_params
from qtool.target import UNPACKED, Encoding, Target

_INT32_MAX = 2**31 - 1


def decide(
    model: ir.Model,
    sites: Sites,
    ranges: Mapping[str, Histogram],
    target: Target,
    *,
    keep_io_types: bool = True,
    contrib: bool = False,
    rounded: Mapping[tuple[str, int], Rounded] = MappingProxyType({}),
    known: Plan | None = None,
) -> Plan:
    """Parameters for every site, in the order of the sites; `rounded` weights have theirs, and
    activations those of a plan that is `known`, since they depend on ranges alone. With `contrib`
    operators of the runtime's own are taken where the standard has none."""
    plan = Plan(
        halves=dict(sites.halves),
        widened=tuple(sites.widened),
        keep_io_types=keep_io_types,
        skipped=dict(sites.skipped),
        notes=dict(sites.notes),
    )
    nodes = {node.name: node for node in model.graph.all_nodes()}
    steps = steps_of(model.graph.all_nodes(), target)
    clips = _bounds(nodes.values())
    lows = bounds(model, sites, ranges) if sites.masks else {}
    plan.activations.update(known.activations if known else {})
    for name, site in sites.activations.items() if known is None else ():
        low = lows.get(site.source, -np.inf)
        params = _decide_activation(site, ranges[site.source], steps.get(site.source, ()), low)
        if site.source in clips:  # what is moved stays on the grid that it was on
            params = _clipped(params, site, ranges[site.source], *clips[site.source])
        # The clip of reals also keeps a Softmax from a kernel that would want other scales.
        codes = target.clips == "codes" and params.type.container == 8 and name not in steps
        plan.activations[name] = TensorPlan(params, site.readers, "codes" if codes else "reals")
    for name, params in joined(model, sites, plan, clips, steps) if known is None else ():
        plan.activations[name] = replace(plan.activations[name], params=params)
    ties = tied(model.graph, nodes, sites, target)
    heads = {(head.node, head.position): table for table, head in ties.items()}
    for place in sites.weights:
        node, key = nodes[place.node], (place.node, place.position)
        encoding = encoding_of(node, place, target, contrib=contrib, heads=nodes, ties=ties)
        chosen = rounded.get(key)
        if chosen is not None:
            weight = chosen.params
        elif key in heads:
            plan.tied[key] = heads[key]
            weight = turned(plan.weights[heads[key]].params)
        else:
            weight = _decide_weight(node, place, encoding, plan, target)
        short = place.form == "stored" and target.scales == "float16"
        weight = in_half(weight) if short and chosen is None else weight
        zero_point = place.form == "static" and node.op_type in target.needs_zero_point
        half = short and halved(weight)
        asked = place.scheme.weight
        free = asked.range is None and not asked.power_of_two
        plan.weights[key] = WeightPlan(
            place.tensor, weight, encoding, zero_point, place.form, chosen, half, free
        )
        scheme = place.scheme if place.form != "stored" else place.scheme.weights_only()
        plan.schemes[place.node] = f"{scheme}{' dynamic' if place.form == 'dynamic' else ''}"
        if place.form == "static":
            _decide_bias(node, weight, plan)
    for operand in sites.operands:
        _decide_operand(nodes[operand.node], operand, plan, lows)
    for name in sites.products:
        _decide_product_bias(nodes[name], plan)
    plan.schemes.update({name: str(Half(half.dtype)) for name, half in sites.halves.items()})
    plan.guarded.update(guards(model, plan, target))
    plan.moved.update(moved(model, plan))
    return plan


def _decide_activation(
    site: ActivationSite, histogram: Histogram, steps: Sequence[int], least: float
) -> QParams:
    """Parameters for what was measured; of `steps`, the finest that hold the greatest value.

    What is below `least` may be `least`. No range, and no statistic, wins over what a kernel needs.
    """
    kind = site.scheme.type
    if steps and kind in (UINT8, INT8):  # others are kept from that kernel
        # One is held by 255 / 256: a step less, and all others twice as fine.
        step = next((s for s in steps if histogram.high * s <= kind.maximum + 1), steps[-1])
        return QParams(kind, np.asarray(np.float32(1 / step)), np.asarray(np.int32(0)))
    seen = above(histogram, least)
    low, high = covered(seen, site.scheme)
    low = min(low, least) if least > histogram.low and site.scheme.range is None else low
    return covering(low, high, site.scheme, seen)


def _bounds(nodes: Iterable[ir.Node]) -> dict[str, tuple[float, float]]:
    """What clips give -> its bounds: the quantizer behind one takes its place only where its codes
    stay within them."""
    found = {}
    for node in nodes:
        if node.op_type == "Clip" and node.domain == "" and OPS["Clip"].holds(node):
            given = [constant(value) for value in (*node.inputs[1:], None, None)[:2]]
            low, high = (None if t is None else float(t.numpy().reshape(-1)[0]) for t in given)
            name = node.outputs[0].name or ""
            found[name] = (-np.inf if low is None else low, np.inf if high is None else high)
    return found


def _clipped(
    params: QParams, site: ActivationSite, histogram: Histogram, low: float, high: float
) -> QParams:
    """The parameters behind a clip. Cases:

    1. as they are: a range was given, or scales are not free to follow the clip's bounds
    2. where nothing but 0 was measured, those of what the clip lets pass
    """
    fixed = site.scheme.range is not None
    if not fixed and histogram.low >= 0 >= histogram.high and low <= 0 <= high:  # 2
        params = covering(max(low, -1.0), min(high, 1.0), site.scheme)
    if site.scheme.power_of_two:  # 1
        return params
    found = within(params, low, high)
    moved = abs(found.scale / params.scale - 1) > 1e-6 or found.zero_point != params.zero_point
    return params if fixed and moved else found


def _decide_weight(
    node: ir.Node, site: WeightSite, encoding: Encoding, plan: Plan, target: Target
) -> QParams:
    tensor = constant(node.inputs[site.position])
    assert tensor is not None
    weight = tensor.numpy().astype(np.float32, copy=False)
    granularity = _granularity(node, weight.shape, site, encoding)
    negative = target.negative_scales
    params = weight_params(weight, site.scheme.weight, granularity, negative=negative)
    if granularity == PerTensor():
        scale, zero = params.scale.reshape(()), params.zero_point.reshape(())
        params = replace(params, scale=scale, zero_point=zero, granularity=granularity)
    if site.form != "static":
        return params
    fitted = _fit_for_bias(node, params, weight, plan)
    return in_powers(fitted) if site.scheme.weight.power_of_two else fitted


def _granularity(
    node: ir.Node, shape: tuple[int, ...], site: WeightSite, encoding: Encoding
) -> Granularity:
    """What shares a scale. Cases in order:

    1. per tensor, as asked, or of a stack of matrices in integers: their kernel has one scale
    2. blocks along the axis that is summed over, where no other is; or along the rows of a table
    3. a direction, where the kernel multiplies gates and has one zero point for all of them
    4. all of that axis as one block: a scale for each gate of each direction of an LSTM. Only a
       product spreads such a grid; DequantizeLinear would want opset 21 for it
    5. per channel
    """
    spec, block = OPS[node.op_type], site.scheme.weight.block
    assert spec.channel is not None and spec.contracted is not None
    contracted = spec.contracted(node) % len(shape)
    stacked = node.op_type == "MatMul" and site.form == "static" and len(shape) > 2
    if block == 0 or stacked:  # 1
        return PerTensor()
    looked_up = node.op_type == "Gather" and len(shape) == 2 and spec.channel(node) in (0, -2)
    if block is not None and (spec.alone or looked_up):  # 2
        return PerBlock(contracted, block)
    gates = encoding == "gates"
    if gates and not site.scheme.weight.symmetric:  # 3
        return PerChannel(0)
    if spec.alone and len(shape) > 2 and (gates or encoding in UNPACKED):  # 4
        return PerBlock(contracted, shape[contracted])
    return PerChannel(spec.channel(node) % len(shape))  # 5


def _fit_for_bias(node: ir.Node, params: QParams, weight: Floats, plan: Plan) -> QParams:
    """The parameters with scales that suit the bias, whose own are input x weight. Cases:

    1. a channel of zeros, pruned, for which any scale will do: one that keeps the bias
    2. a channel pruned to almost nothing, whose bias would overflow int32: a wider one
    """
    bias = _bias(node)
    if bias is None or isinstance(params.granularity, PerBlock):
        return params
    unit = np.abs(bias.astype(np.float64)) / _input_scale(node, plan)  # the bias in codes, at 1
    largest = reduce(np.abs(weight), params.granularity, np.max).reshape(params.scale.shape)
    if params.scale.ndim == 0:
        unit = unit.max()
    unit = unit.reshape(params.scale.shape)
    size = np.abs(params.scale)
    kept = np.where(unit > 0, np.maximum(unit / 2**24, 1e-30), size)
    size = np.where(largest == 0, kept, size)  # 1
    size = np.maximum(size, unit / (_INT32_MAX * 0.99))  # 2
    return replace(params, scale=np.copysign(size, params.scale).astype(np.float32))


def _decide_bias(node: ir.Node, weight: QParams, plan: Plan) -> None:
    position = OPS[node.op_type].bias
    bias = _bias(node)
    if bias is None or position is None or isinstance(weight.granularity, PerBlock):
        return
    value = node.inputs[position]
    assert value is not None
    params = bias_params(np.float32(_input_scale(node, plan)), weight)  # type: ignore[arg-type]
    plan.biases[node.name or "", position] = WeightPlan(value.name or "", params, form="static")


def _decide_product_bias(node: ir.Node, plan: Plan) -> None:
    """The bias of a node whose weights are computed, with the parameters of an activation."""
    weight = node.inputs[OPS[node.op_type].weights[0]]
    assert weight is not None
    _decide_bias(node, plan.activations[weight.name or ""].params, plan)
    plan.schemes[node.name or ""] = "activations only"


def _decide_operand(
    node: ir.Node, site: OperandSite, plan: Plan, lows: Mapping[str, float]
) -> None:
    value = node.inputs[site.position]
    tensor = constant(value)
    assert tensor is not None and value is not None
    scheme = site.scheme
    values = np.maximum(tensor.numpy(), lows.get(value.name or "", -np.inf))
    # All of a constant is known: it needs no range but its own.
    own = replace(scheme, range=None)
    seen = Histogram.empty().observe(values) if own.power_of_two else None
    params = covering(values.min(), values.max(), own, seen)
    plan.operands[site.node, site.position] = WeightPlan(
        value.name or "", params, zero_point=True, form="static"
    )


def _input_scale(node: ir.Node, plan: Plan) -> float:
    data = node.inputs[0]
    assert data is not None
    return float(plan.activations[data.name or ""].params.scale)


def _bias(node: ir.Node) -> Floats | None:
    tensor = constant(bias_of(node))
    return None if tensor is None or len(tensor.shape) != 1 else tensor.numpy()
