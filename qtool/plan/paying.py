"""Layers that gain nothing by integers, though the runtime has kernels for them.

An integer convolution gathers its inputs place by place. With one channel or three that takes as
long as multiplying them, and a depthwise one has little else to do; a product of one row with a
small matrix is over before its row is quantized and its result is float again. From how much on
integers pay, the target tells (`[pays]`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from math import prod

import onnx_ir as ir

from qtool.ops import attribute, data_inputs, weight_of
from qtool.target import Paying

FEW = "integers are slower than float with so few channels"
SMALL = "integers are slower than float on so few weights"


def is_slow(node: ir.Node, pays: Paying) -> bool:
    """Whether it is a Conv that takes longer in integers, quantizing left out. Cases:

    1. of few input channels, and not many for each: the first of a network
    2. depthwise, of few channels
    """
    weight = weight_of(node)
    if node.op_type != "Conv" or weight is None or weight.shape is None:
        return False
    shape = weight.shape.numpy()
    if attribute(node, "group", 1) == 1:
        return shape[1] < pays.inputs and shape[0] * shape[1] < pays.pairs  # 1
    return shape[1] == 1 and shape[0] < pays.depthwise  # 2


def small_products(
    nodes: Collection[ir.Node], anchors: Collection[ir.Node], pays: Paying
) -> list[ir.Node]:
    """Of nodes in integers those in islands that multiply rows by few weights, and do no more."""
    found = list[ir.Node]()
    for island in connected(nodes):
        sizes = [_of_rows(node) for node in island if node in anchors]
        known = [size for size in sizes if size is not None]
        if sizes and len(known) == len(sizes) and sum(known) < pays.products:
            found += island
    return found


def _of_rows(node: ir.Node) -> int | None:
    """How many weights each row is multiplied with; None where a sample may be many rows."""
    weight, data = weight_of(node), node.inputs[0]
    assert weight is not None and weight.shape is not None and data is not None
    rows = node.op_type == "Gemm" or (data.shape is not None and len(data.shape) == 2)
    return prod(weight.shape.numpy()) if rows and node.op_type in ("Gemm", "MatMul") else None


def connected(nodes: Collection[ir.Node]) -> Iterable[list[ir.Node]]:
    """The nodes in groups that hand values to one another, each in the order given."""
    first = {node: node for node in nodes}

    def root(node: ir.Node) -> ir.Node:
        while first[node] is not node:
            node = first[node] = first[first[node]]
        return node

    for node in nodes:
        for _, value in data_inputs(node):
            producer = value.producer()
            if producer is not None and producer in first:
                first[root(node)] = root(producer)
    groups: dict[ir.Node, list[ir.Node]] = {}
    for node in nodes:
        groups.setdefault(root(node), []).append(node)
    return groups.values()
