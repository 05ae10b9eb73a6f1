"""Heads that multiply with the table that tokens are looked up in, as language models have them.

table  gather(W, ids)        W (tokens, width), a grid along its rows
head   y = x W^T             the same grid, each row now being a column

Wherever the two may have the same codes they are stored once, as the table has them: half of what
both took, and much of a small language model is that. The runtime turns the codes for the head when
it loads, and packs them as it would have packed its own: time and memory stay what they were
(tests/benchmarks/tied.py). Exporters write W^T as a Transpose of W, or a second time; preparation
makes one of both, so that they are known by what is in them.

No algorithm rounds a tied head by its inputs: its codes would no longer be the table's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.numeric.affine import QParams
from qtool.numeric.granularity import PerBlock, PerChannel
from qtool.ops import attribute, constant
from qtool.plan.eligible import bias_of
from qtool.plan.sites import Sites, WeightSite
from qtool.target import Target

Key: TypeAlias = tuple[str, int]  # node name, input position


def tied(
    graph: ir.Graph, nodes: Mapping[str | None, ir.Node], sites: Sites, target: Target
) -> dict[Key, WeightSite]:
    """Tables -> the heads whose codes they have, both in the main graph.

    Of one scheme, linear, in bits that the target turns; a head that is multiplied in integers has
    no bias, to which its scales would have to fit; and the table stands before it.
    """
    tables: dict[tuple[int, ...], list[WeightSite]] = {}
    found: dict[Key, WeightSite] = {}
    for site in sites.weights:
        node, scheme = nodes[site.node], site.scheme.weight
        tensor = constant(node.inputs[site.position])
        if tensor is None or len(tensor.shape) != 2 or node.graph is not graph:
            continue
        rows, columns = tensor.shape.numpy()
        if scheme.mapping != "linear":
            continue
        if node.op_type == "Gather" and attribute(node, "axis", 0) in (0, -2):
            tables.setdefault((rows, columns), []).append(site)
        if node.op_type not in ("Gemm", "MatMul") or scheme.type.container not in target.ties:
            continue
        if site.form == "dynamic" or (site.form == "static" and bias_of(node) is not None):
            continue
        for table in tables.get((columns, rows), ()):
            key = table.node, table.position
            alike = table.scheme.weight == scheme and key not in found
            if alike and _turned(nodes[table.node].inputs[table.position], tensor):
                found[key] = site
                break
    return found


def turned(params: QParams) -> QParams:
    """The parameters of a matrix, for its transpose."""
    grains = params.granularity
    if isinstance(grains, PerChannel):
        grains = PerChannel(1 - grains.axis)
    elif isinstance(grains, PerBlock):
        grains = PerBlock(1 - grains.axis, grains.size)
    if not params.scale.ndim:
        return params
    scale, zero = np.ascontiguousarray(params.scale.T), np.ascontiguousarray(params.zero_point.T)
    return replace(params, scale=scale, zero_point=zero, granularity=grains)


def _turned(table: ir.Value | None, weight: ir.TensorProtocol) -> bool:
    stored = constant(table)
    assert stored is not None
    return transposed(stored.numpy(), weight.numpy())


def transposed(rows: NDArray[Any], columns: NDArray[Any]) -> bool:
    """Whether the one matrix is the other's transpose."""
    # A row tells most tables apart, and they may be of gigabytes.
    return np.array_equal(rows[0], columns[:, 0]) and np.array_equal(rows, columns.T)
