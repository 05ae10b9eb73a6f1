"""Rows that make tensors, or the same in another type."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from qtool.ops import attribute
from qtool.tune.operators.reading import cannot, listed, tensor_of, type_of


def cast(node: ir.Node, x: Tensor) -> Tensor:
    """In the type `to`; floats to integers cut off at the point."""
    return x.to(type_of(node, "to", x.dtype))


def cast_like(node: ir.Node, x: Tensor, like: Tensor) -> Tensor:
    """In the type of the other."""
    return x.to(like.dtype)


# the attribute that is given -> the tensor that it says
_CONSTANTS: dict[str, Callable[[ir.Node, ir.Attr], Tensor]] = {
    "value": lambda node, attr: tensor_of(node, attr.as_tensor()),
    "value_float": lambda node, attr: torch.tensor(attr.as_float(), dtype=torch.float32),
    "value_floats": lambda node, attr: torch.tensor(attr.as_floats(), dtype=torch.float32),
    "value_int": lambda node, attr: torch.tensor(attr.as_int(), dtype=torch.int64),
    "value_ints": lambda node, attr: torch.tensor(attr.as_ints(), dtype=torch.int64),
}


def constant(node: ir.Node) -> Tensor:
    """What the one attribute says."""
    for name, attr in node.attributes.items():
        if name not in _CONSTANTS:
            raise cannot(node, name)
        return _CONSTANTS[name](node, attr)
    raise cannot(node, "no value")


def constant_of_shape(node: ir.Node, shape: Tensor) -> Tensor:
    """One value, 0 in float32 where none is given, everywhere."""
    attr = node.attributes.get("value")
    value = torch.zeros(()) if attr is None else tensor_of(node, attr.as_tensor()).reshape(())
    return value.to(shape.device).expand(listed(shape))


def dropout(
    node: ir.Node, x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None
) -> Tensor | tuple[Tensor, Tensor]:
    """x, and that all was kept: a model that runs drops nothing.

    Raises:
        ModelError: it is to drop some, by chance.
    """
    if training is not None and any(listed(training)) and (ratio is None or bool(ratio.any())):
        raise cannot(node, "training_mode = true")
    return x if len(node.outputs) < 2 else (x, torch.ones_like(x, dtype=torch.bool))


def eye_like(node: ir.Node, x: Tensor) -> Tensor:
    """Ones on the k-th diagonal."""
    k, dtype = attribute(node, "k", 0), type_of(node, "dtype", x.dtype)
    return torch.ones_like(x, dtype=torch.int8).triu(k).tril(k).to(dtype)


def range_(node: ir.Node, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """start + i delta, before the limit.

    Raises:
        ModelError: delta is zero.
    """
    begin, end, step = (each.reshape(-1).tolist()[0] for each in (start, limit, delta))
    if not step:
        raise cannot(node, "a delta of 0")
    many = max(0, math.ceil((end - begin) / step))
    ramp = torch.arange(many, device=start.device).to(start.dtype)
    return start.reshape(()) + ramp * delta.reshape(())


MAKING: dict[str, Callable[..., Any]] = {
    "Cast": cast,
    "CastLike": cast_like,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Dropout": dropout,
    "EyeLike": eye_like,
    "Range": range_,
}
