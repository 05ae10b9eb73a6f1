"""ONNX operators in torch, one row each: what `qtool tune` can differentiate.

A row takes the node and its inputs as tensors, None where one is left out, and gives one tensor, or
as many as the node has outputs. Preparation has raised models to opset 13 or more: where a later
opset turned an attribute into an input, a row reads both. All floats compute in the type that comes
in. What has no row ends in one error that names the operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import onnx_ir as ir
from torch import Tensor

from qtool.errors import MachineError, ModelError, QtoolError
from qtool.tune.operators.arithmetic import ARITHMETIC
from qtool.tune.operators.layers import LAYERS
from qtool.tune.operators.recurrent import RECURRENT
from qtool.tune.operators.shapes import SHAPES

Row: TypeAlias = Callable[..., Any]  # (node, *inputs) -> Tensor or tuple of them

OPERATORS: dict[str, Row] = {**ARITHMETIC, **SHAPES, **LAYERS, **RECURRENT}


def has_row(node: ir.Node) -> bool:
    """Whether torch can compute it."""
    return node.domain == "" and node.op_type in OPERATORS


def lacking(nodes: Iterable[ir.Node]) -> ModelError:
    """What to say of nodes that no row is for."""
    without = [node for node in nodes if not has_row(node)]
    types = {f"{n.domain}.{n.op_type}" if n.domain else n.op_type for n in without}
    names = sorted(node.name for node in without if node.name)
    where = f" ({', '.join(names[:3])}{' …' if len(names) > 3 else ''})" if names else ""
    return ModelError(
        f"qtool tune cannot differentiate {', '.join(sorted(types))}",
        f"it has no row for it in torch{where}, and weights lie on both sides",
        "add  --layerwise,  which learns without torch",
    )


def run(node: ir.Node, inputs: list[Tensor | None]) -> tuple[Tensor, ...]:
    """What a node gives.

    Raises:
        ModelError: its row, or torch, does not do this of the operator.
        MachineError: there is no memory for it.
    """
    try:
        found = OPERATORS[node.op_type](node, *inputs)
    except (NotImplementedError, RuntimeError, TypeError) as error:  # what torch raises
        raise _failed(node, inputs, error) from error
    return found if isinstance(found, tuple) else (found,)


def _failed(node: ir.Node, inputs: list[Tensor | None], error: Exception) -> QtoolError:
    name = f", node {node.name!r}" if node.name else ""
    said = next(iter(str(error).splitlines()), "") or type(error).__name__
    if "allocate" in said:
        what = f"no memory is left for {node.op_type}{name}"
        return MachineError(what, f"torch: {said}", "give smaller batches, or smaller samples")
    given = ", ".join("none" if x is None else f"{_type(x)}{list(x.shape)}" for x in inputs)
    return ModelError(
        f"qtool tune cannot compute {node.op_type} of {given}{name}",
        f"torch: {said}",
        "qtool quantize  works without; --layerwise  learns without torch",
    )


def _type(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")
