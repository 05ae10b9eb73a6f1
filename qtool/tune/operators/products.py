"""Products of matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from qtool.ops import real, text
from qtool.tune.operators.windows import flag


def gemm(node: ir.Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """alpha * A' B' + beta * C."""
    alpha, beta = real(node, "alpha", 1.0), real(node, "beta", 1.0)
    y = (a.T if flag(node, "transA") else a) @ (b.T if flag(node, "transB") else b)
    y = y if alpha == 1.0 else alpha * y
    if c is None or beta == 0.0:
        return y
    return y + (c if beta == 1.0 else beta * c)


def matmul(node: ir.Node, a: Tensor, b: Tensor) -> Tensor:
    """As numpy's: vectors are rows before and columns behind, and batches broadcast."""
    return torch.matmul(a, b)


def einsum(node: ir.Node, *factors: Tensor) -> Tensor:
    """sum of the factors' product over every letter that the output lacks."""
    y: Tensor = torch.einsum(text(node, "equation", ""), *factors)
    return y


PRODUCTS: dict[str, Callable[..., Any]] = {"Gemm": gemm, "MatMul": matmul, "Einsum": einsum}
