"""How much a model computes, as far as its file tells.

What is done in less time than threads take to wake and to wait for one another is done by one.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from qtool.bodies import nodes_in
from qtool.ops import OPS, constant, weights_of

SMALL = 1 << 24  # multiplications: about half a millisecond of one core


def multiplications(model: ir.Model) -> int | None:
    """Of one sample, by constant weights; None where shapes leave it open.

    Axes of unknown size at the front, where batches are, count as one.
    """
    total = 0
    for node in nodes_in(model.graph):
        for _, weight in weights_of(node):
            tensor, spec = constant(weight), OPS[node.op_type]
            shape = node.outputs[0].shape
            if tensor is None or spec.channel is None or spec.shares:
                continue
            if shape is None or any(not isinstance(axis, int) for axis in shape[1:]):
                return None
            places = math.prod(axis for axis in shape if isinstance(axis, int))
            channels = tensor.shape.numpy()[spec.channel(node)]
            total += places * tensor.size // max(1, channels)
    return total


def suited(model: ir.Model, threads: int) -> int:
    """As many threads as were asked for; where that is all cores, one if there is little to do."""
    if threads:
        return threads
    work = multiplications(model)
    return 1 if work is not None and work < SMALL else 0
