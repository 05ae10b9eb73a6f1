"""What rows read of a node: attributes, axes and shapes as Python numbers, types, constants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from qtool.errors import ModelError
from qtool.ops import attribute, text

TYPES: dict[ir.DataType, torch.dtype] = {
    ir.DataType.FLOAT: torch.float32,
    ir.DataType.DOUBLE: torch.float64,
    ir.DataType.FLOAT16: torch.float16,
    ir.DataType.BFLOAT16: torch.bfloat16,
    ir.DataType.BOOL: torch.bool,
    ir.DataType.INT8: torch.int8,
    ir.DataType.INT16: torch.int16,
    ir.DataType.INT32: torch.int32,
    ir.DataType.INT64: torch.int64,
    ir.DataType.UINT8: torch.uint8,
    ir.DataType.UINT16: torch.uint16,
    ir.DataType.UINT32: torch.uint32,
    ir.DataType.UINT64: torch.uint64,
}


def cannot(node: ir.Node, what: str) -> ModelError:
    """The error to raise where a row does not do all of its operator."""
    name = f", node {node.name!r}" if node.name else ""
    return ModelError(
        f"qtool tune cannot differentiate {node.op_type} with {what}{name}",
        "its row in torch does not know that",
        "qtool quantize  works without; --layerwise  learns without torch",
    )


def choice(node: ir.Node, name: str, *known: str) -> str:
    """A text attribute that is one of `known`; the first is the default.

    Raises:
        ModelError: it is another.
    """
    found = text(node, name, known[0])
    if found not in known:
        raise cannot(node, f"{name} = {found!r}")
    return found


def numbers(node: ir.Node, name: str) -> list[int] | None:
    """An attribute of integers, or None where it is not given."""
    attr = node.attributes.get(name)
    return None if attr is None else list(attr.as_ints())


def texts(node: ir.Node, name: str) -> list[str]:
    """An attribute of texts; none where it is not given."""
    attr = node.attributes.get(name)
    return [] if attr is None else list(attr.as_strings())


def listed(values: Tensor) -> list[int]:
    """The elements of a tensor that says a shape, places or counts."""
    return [int(value) for value in values.reshape(-1).tolist()]


def axis_of(node: ir.Node, rank: int, default: int) -> int:
    """The attribute `axis`, counted from the front."""
    return from_front(attribute(node, "axis", default), rank)


def axes_of(node: ir.Node, given: Tensor | None, rank: int) -> list[int] | None:
    """The axes, an input or an attribute by the opset, from the front; None where not given."""
    found = numbers(node, "axes") if given is None else listed(given)
    return None if found is None else [from_front(axis, rank) for axis in found]


def from_front(axis: int, rank: int) -> int:
    """-1 -> rank - 1."""
    return axis + rank if axis < 0 else axis


def indices_from_front(indices: Tensor, size: int) -> Tensor:
    """The same of a tensor, in the type that torch wants of indices."""
    indices = indices.long()
    return torch.where(indices < 0, indices + size, indices)


def places(found: Sequence[int], like: Tensor) -> Tensor:
    """Indices, on the device of `like`."""
    return torch.tensor(list(found), dtype=torch.int64, device=like.device)


def type_of(node: ir.Node, name: str, default: torch.dtype) -> torch.dtype:
    """A type that an attribute names.

    Raises:
        ModelError: torch has no such type.
    """
    attr = node.attributes.get(name)
    return default if attr is None else _known(node, ir.DataType(attr.as_int()))


def tensor_of(node: ir.Node, values: ir.TensorProtocol) -> Tensor:
    """A constant as a tensor of its own memory.

    Raises:
        ModelError: torch has no such type.
    """
    dtype, array = _known(node, values.dtype), values.numpy()
    if dtype is torch.bfloat16:  # numpy's is not known to torch; float32 holds each of its values
        array = array.astype(np.float32)
    return torch.from_numpy(np.array(array)).to(dtype)


def _known(node: ir.Node, found: ir.DataType) -> torch.dtype:
    if found not in TYPES:
        raise cannot(node, f"type {found.name}")
    return TYPES[found]
