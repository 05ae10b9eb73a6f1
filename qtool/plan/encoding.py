"""How the codes of a weight become what its node multiplies or looks up."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from qtool.ops import OPS, attribute, constant
from qtool.plan.sites import WeightSite
from qtool.plan.tied import Key
from qtool.target import UNPACKED, Encoding, Fusing, Target


def encoding_of(
    node: ir.Node,
    site: WeightSite,
    target: Target,
    *,
    contrib: bool = False,
    heads: Mapping[str | None, ir.Node],
    ties: Mapping[Key, WeightSite],
) -> Encoding:
    """The encoding of a weight; `ties` are tables and the heads that have their codes."""
    kind, blocks = site.scheme.weight.type, bool(site.scheme.weight.block)
    booked = site.scheme.weight.mapping != "linear"
    if site.form == "dynamic":
        return "gates" if node.op_type in target.recurrent.dynamic else "integer"
    if site.form == "static":
        # Of two bits onnxruntime 1.31 makes QLinearConv and its like all the same, which take none.
        narrow = "cast-dq" if kind.container == 2 else target.narrow
        return narrow if kind.container < 8 and not blocks else "dq"
    wanted = target.weights[node.op_type]
    if booked and wanted != "gathered":
        return "codebook"
    if wanted == "fused":
        return "dq" if _fuses(node, site, target.fuses) else "cast-mul"
    if wanted != "gathered":
        return wanted
    table = constant(node.inputs[site.position])
    assert table is not None
    large = table.size >= target.gathers
    if booked:
        return "gathered" if large and kind.container >= 8 else "codebook"
    head = ties.get((site.node, site.position))
    if blocks and head is not None:
        # In blocks the codes that are unpacked lie in another shape than those that are fused.
        beside = encoding_of(heads[head.node], head, target, heads=heads, ties={})
        large = large or beside not in UNPACKED
    if not large:
        return "cast-mul"
    return "packed-rows" if contrib and _packs(node, site, table) else "gathered"


def _packs(node: ir.Node, site: WeightSite, table: ir.TensorProtocol) -> bool:
    """Whether GatherBlockQuantized takes the table: rows of 4 bits, in blocks of 16, 32, 64 …"""
    scheme = site.scheme.weight
    block = scheme.block
    return (
        scheme.type.container == 4
        and len(table.shape) == 2
        and attribute(node, "axis", 0) in (0, -2)
        and (not block or (block >= 16 and block & (block - 1) == 0))
    )


def _fuses(node: ir.Node, site: WeightSite, asks: Fusing) -> bool:
    """Whether the runtime fuses the DequantizeLinear of a stored weight, and gains by it.

    It does not where others read the weight too.
    """
    value, spec = node.inputs[site.position], OPS[node.op_type]
    tensor = constant(value)
    assert value is not None and tensor is not None and spec.contracted is not None
    readers = {use.node.op_type for value in node.outputs for use in value.uses()}
    return (
        len(value.uses()) == 1
        and site.scheme.weight.type.container in asks.bits
        and len(tensor.shape) == asks.rank
        and tensor.shape.numpy()[spec.contracted(node)] >= asks.contracted
        and tensor.size >= asks.values
        and not readers & set(asks.unless_read_by.get(node.op_type, ()))
    )
