"""The ends of streams: constants that take a factor per channel for what is written or read.

    writer    y / s = (W / s) x + b / s          reader    W (s x') = (W s) x'

A reader or writer is described by the labels of its constants: arrays of channel numbers that
broadcast against them, so that one line scales any layout: rows, columns, groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir

from qtool.ops import OPS, attribute, constant
from qtool.passes.channels import Labels, as_vector, rank_of
from qtool.passes.edit import array, is_float

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_NORMS = ("BatchNormalization", "LayerNormalization", "RMSNormalization")


@dataclass(frozen=True)
class End:
    """A constant that is multiplied by s (power 1) or divided by it (-1), by labels.

    `weight` tells that its values say how large channels are.
    """

    node: ir.Node
    position: int
    labels: Labels
    power: Literal[1, -1]
    weight: bool = True


def written(node: ir.Node) -> tuple[list[End], Labels] | None:
    """Constants that scale what the node gives, and the labels of that, counted from 0.

    None where the node is no writer of two channels or more.
    """
    found = _norm(node) if node.op_type in _NORMS else _layer(node)
    return found if found is not None and found[1].size > 1 else None


def _layer(node: ir.Node) -> tuple[list[End], Labels] | None:
    if not _scalable(node):
        return None
    shape = array(node.inputs[1]).shape
    spec = OPS[node.op_type]
    assert spec.channel is not None
    axis = spec.channel(node) % len(shape)
    # A transposed convolution of several groups has its output channels along two axes.
    if node.op_type == "ConvTranspose" and attribute(node, "group", 1) > 1:
        return None
    labels = np.arange(shape[axis], dtype=np.int64)
    spatial = len(shape) - 2 if node.op_type.startswith("Conv") else 0
    ends = [End(node, 1, labels.reshape((-1,) + (1,) * (len(shape) - 1 - axis)), -1)]
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        ends.append(End(node, 2, labels, -1, weight=False))
    return ends, labels.reshape((-1,) + (1,) * spatial)


def _norm(node: ir.Node) -> tuple[list[End], Labels] | None:
    """gamma (x - mean) / deviation + beta: what a normalization learned scales its result."""
    given = [(i, v) for i, v in enumerate(node.inputs[:3]) if i and v is not None]
    if any(constant(v) is None or not is_float(array(v)) for _, v in given) or not given:
        return None
    shape, rank = array(given[0][1]).shape, rank_of(node.inputs[0])
    if any(array(v).shape != shape for _, v in given):
        return None
    labels = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    ends = [End(node, i, labels, -1, weight=i == 1) for i, _ in given]
    if node.op_type == "BatchNormalization":
        return None if rank is None else (ends, labels.reshape((-1,) + (1,) * (rank - 2)))
    return ends, labels


def read(node: ir.Node, labels: Labels) -> End | None:
    """The weight that takes the factors of what the node reads first; None where it has none."""
    if not _scalable(node):
        return None
    weight = array(node.inputs[1])
    if node.op_type in ("Gemm", "MatMul"):
        columns = node.op_type == "Gemm" and attribute(node, "transB", 0)
        vector = as_vector(labels, 0)
        if vector is None or len(vector) != weight.shape[1 if columns else -2]:
            return None
        return End(node, 1, vector if columns else vector[:, None], 1)
    ones = (1,) * (weight.ndim - 2)
    vector = as_vector(labels, weight.ndim - 2)
    if vector is None:
        return None
    if node.op_type == "ConvTranspose":
        fits = len(vector) == weight.shape[0]
        return End(node, 1, vector.reshape((-1, 1, *ones)), 1) if fits else None
    groups = attribute(node, "group", 1)
    if len(vector) != groups * weight.shape[1]:
        return None
    # Row o belongs to group o // (rows / groups), which reads the channels of that group.
    rows = np.repeat(vector.reshape(groups, -1), weight.shape[0] // groups, axis=0)
    return End(node, 1, (rows if groups > 1 else rows[:1]).reshape((-1, weight.shape[1], *ones)), 1)


def vector_of(node: ir.Node) -> tuple[int, ir.Value] | None:
    """(position, value) of the float constant beside the one activation of an Add, Sub or Mul."""
    fixed = [(i, v) for i, v in enumerate(node.inputs) if v is not None and constant(v) is not None]
    if len(fixed) != 1 or len(node.inputs) != 2 or not is_float(array(fixed[0][1])):
        return None
    return fixed[0]


def _scalable(node: ir.Node) -> bool:
    if node.op_type not in _LAYERS or node.domain != "" or not OPS[node.op_type].holds(node):
        return False
    weight = node.inputs[1]
    if weight is None or constant(weight) is None or not is_float(array(weight)):
        return False
    if array(weight).ndim < 2 or array(weight).size == 0:
        return False
    # A table that is looked up and multiplied by would be stored twice.
    if any(use.node.op_type != node.op_type for use in weight.uses()):
        return False
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return bias is None or (constant(bias) is not None and array(bias).ndim == 1)
