"""Bias correction: the mean of what each layer gives is what it was in float.

    b'_c = b_c + shift_c        shift_c = k_c E[y_c - y^_c],  y in float, y^ quantized, c a channel

Layer after layer, in the order in which values flow: y^ is measured behind all layers before it
that are quantized and corrected already, in front of an activation. The mean is taken over samples
that the ranges were measured on, and is itself uncertain, by e_c, the error of a mean of as many
samples. A sample counts once, whatever it holds: its positions are not independent. What is within
two such errors is not told from chance, and stays; of what is beyond, the estimate is shrunk:

    k_c = max(0, 1 - (2 e_c / mean_c)^2)

Source: Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction,
section 4.2, the empirical form; the shrinkage is that of James and Stein 1961, more cautious.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.ops import OPS, constant
from qtool.passes.edit import array, is_float, only_reader, rounded, set_constant
from qtool.plan.plan import Plan
from qtool.refine.state import State
from qtool.refine.taps import Taps
from qtool.refine.walk import can_walk, walk
from qtool.typed import infer

Floats: TypeAlias = NDArray[np.float64]

_SURE = 2.0  # errors of the mean


@dataclass(frozen=True)
class _Layer:
    """Where a layer's bias is, or would be, and what it gives with it: channels on an axis."""

    node: str
    position: int
    output: str
    axis: int


def bias(state: State) -> State:
    """The state with biases corrected, and added where there were none; the same if nothing is.

    Layers are those of the main graph with quantized weights that have a place for a bias: Conv,
    ConvTranspose, Gemm, and MatMul where a constant is added to it.

    Raises:
        ModelError: the model does not run on the samples.
    """
    quantized = infer(state.quantized())
    there = {value.name for node in quantized.graph for value in node.outputs}
    layers = {e.output: e for e in _layers(state.model, state.plan) if e.output in there}
    if not layers or not can_walk(quantized) or len(state.samples.fit) < 2:
        return state
    model, changed = state.model.clone(), False
    nodes = {node.name: node for node in model.graph}
    wanted = _wanted(state, layers)
    for given in walk(quantized, layers, state.samples.fit, threads=state.threads):
        for name in given[0]:
            layer = layers[name]
            found = [_means(values[name], layer.axis) for values in given]
            shift = shrunk(np.array(wanted[name][: len(found)]) - np.array(found))
            if shift.any() and _shifted(nodes[layer.node], layer.position, shift):
                changed = True
                for values in given:  # so that the layers behind see it
                    values[name] = _added(values[name], shift, layer.axis)
    return state.with_model(model) if changed else state


def shrunk(lost: Floats) -> Floats:
    """The mean of what samples lost, (samples, channels) -> (channels,), as far as it is sure."""
    mean: Floats = lost.mean(axis=0)
    error: Floats = lost.std(axis=0, ddof=1) / np.sqrt(len(lost))
    sure = np.abs(mean) > _SURE * error
    ratio: Floats = np.divide(_SURE * error, mean, out=np.ones_like(mean), where=sure)
    kept: Floats = mean * (1 - ratio * ratio)
    return kept


def _layers(model: ir.Model, plan: Plan) -> Iterator[_Layer]:
    for node in model.graph:
        spec = OPS.get(node.op_type) if node.domain == "" else None
        if spec is None or (node.name, 1) not in plan.weights:
            continue
        if spec.bias is not None:
            old = node.inputs[spec.bias] if spec.bias < len(node.inputs) else None
            if old is None or _is_known(old):
                axis = -1 if node.op_type == "Gemm" else 1
                yield _Layer(node.name or "", spec.bias, node.outputs[0].name or "", axis)
        elif node.op_type == "MatMul":
            add = only_reader(node.outputs[0])
            if add is None or add.graph is not model.graph:
                continue
            # A constant that becomes codes like activations has too coarse a grid.
            places = (p for p, v in enumerate(add.inputs) if (add.name, p) not in plan.operands)
            for position in places if (add.domain, add.op_type) == ("", "Add") else ():
                if _is_known(add.inputs[position]):
                    yield _Layer(add.name or "", position, add.outputs[0].name or "", -1)


def _is_known(value: ir.Value | None) -> bool:
    return constant(value) is not None and is_float(array(value))


def _wanted(state: State, layers: dict[str, _Layer]) -> dict[str, list[Floats]]:
    """Layer -> for each sample the means of its channels in float."""
    taps = Taps(state.model, layers, threads=state.threads, optimize=True)
    found: dict[str, list[Floats]] = {name: [] for name in layers}
    for feeds in state.samples.fit:
        for name, values in taps.run(feeds).items():
            found[name].append(_means(values, layers[name].axis))
    return found


def _means(values: NDArray[Any], axis: int) -> Floats:
    axes = tuple(i for i in range(values.ndim) if i != axis % values.ndim)
    found: Floats = values.mean(axis=axes, dtype=np.float64)
    return found


def _added(values: NDArray[Any], shift: Floats, axis: int) -> NDArray[Any]:
    shape = [1] * values.ndim
    shape[axis] = -1
    moved: NDArray[Any] = values + shift.astype(values.dtype).reshape(shape)
    return moved


def _shifted(node: ir.Node, position: int, shift: Floats) -> bool:
    """Add to the constant at an input, or make it one; False where it has no place for channels."""
    old = node.inputs[position] if position < len(node.inputs) else None
    weight = node.inputs[1]
    assert weight is not None and weight.dtype is not None
    values = np.zeros(1, weight.dtype.numpy()) if old is None else array(old)
    if values.ndim == 0:
        values = values.reshape(1)
    if values.size > 1 and values.shape[-1] != shift.size:  # it would grow
        return False
    with np.errstate(over="ignore"):
        made = rounded(values.astype(np.float64) + shift, values.dtype)
    if made is None or not np.isfinite(made).all():
        return False
    set_constant(node, position, made, f"{node.name}_bias")
    return True
