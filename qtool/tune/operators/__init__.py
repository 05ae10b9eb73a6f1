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

from qtool.errors import ModelError
from qtool.tune.operators.arithmetic import ARITHMETIC
from qtool.tune.operators.layers import LAYERS
from qtool.tune.operators.recurrent import RECURRENT
from qtool.tune.operators.shapes import SHAPES

Row: TypeAlias = Callable[..., Any]  # (node, *inputs) -> Tensor or tuple of them

OPERATORS: dict[str, Row] = {**ARITHMETIC, **SHAPES, **LAYERS, **RECURRENT}


def require_rows(nodes: Iterable[ir.Node]) -> None:
    """Refuse nodes that no row is for.

    Raises:
        ModelError: with the operators that have none.
    """
    lacking = {
        f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        for node in nodes
        if node.domain != "" or node.op_type not in OPERATORS
    }
    if lacking:
        raise ModelError(
            f"qtool tune cannot differentiate {', '.join(sorted(lacking))}",
            "it has no row for it in torch",
            "qtool quantize  works without; --layerwise  learns without torch",
        )


def run(node: ir.Node, inputs: list[Tensor | None]) -> tuple[Tensor, ...]:
    """What a node gives."""
    found = OPERATORS[node.op_type](node, *inputs)
    return found if isinstance(found, tuple) else (found,)
