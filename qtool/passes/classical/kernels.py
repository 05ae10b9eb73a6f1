"""The kernels of support vector machines: rows x (rows, features) -> (rows, vectors).

    poly      (gamma x v + coef0) ^ degree
    sigmoid   tanh(gamma x v + coef0)
    rbf       exp(-gamma |x - v|^2)    with  -gamma |x - v|^2 = x w - |w|^2 / 4 gamma - gamma |x|^2
                                             w = 2 gamma v

The squares of w are taken in the graph: once w is quantized they are those of what it became, so
that this is a distance still, from vectors a little elsewhere. The runtime computes them at load.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qtool.classical import Floats, Machine, is_narrow, needs_double
from qtool.passes.classical.scores import Scores


def poly(node: ir.Node, machine: Machine, x: ir.Value, write: Scores) -> ir.Value:
    """POLY."""
    found, degree = _dots(node, machine, x, write), machine.degree
    if degree == 2:
        return write.then(node, "Mul", found, found)
    if degree == 3:
        return write.then(node, "Mul", write.then(node, "Mul", found, found), found)
    return write.then(node, "Pow", found, np.asarray(degree, np.float32))


def sigmoid(node: ir.Node, machine: Machine, x: ir.Value, write: Scores) -> ir.Value:
    """SIGMOID."""
    return write.then(node, "Tanh", _dots(node, machine, x, write))


def rbf(node: ir.Node, machine: Machine, x: ir.Value, write: Scores) -> ir.Value:
    """RBF; in double where float32 would lose digits of the difference that a distance is here, and
    of the sum of kernels then."""
    if is_narrow(machine):
        return _apart(node, machine, x, write)
    wide = needs_double(machine)
    dtype = np.dtype(np.float64 if wide else np.float32)
    if wide:
        x = write.cast(node, x, ir.DataType.DOUBLE)
    gamma, vectors = machine.gamma, machine.vectors.astype(np.float64)
    weights = write.constant(node, np.ascontiguousarray(2 * gamma * vectors.T, dtype))
    found = write.then(node, "MatMul", x, weights)  # first: what it becomes, squares are taken of
    own, squares = (
        write.then(node, "Mul", write.squares(node, each, axis), np.asarray(factor, dtype))
        for each, axis, factor in ((weights, 0, -0.25 / gamma), (x, 1, gamma))
    )  # (1, vectors), (rows, 1)
    found = write.then(node, "Add", found, own)
    return write.then(node, "Exp", write.then(node, "Sub", found, squares))


def _apart(node: ir.Node, machine: Machine, x: ir.Value, write: Scores) -> ir.Value:
    """RBF where 8 bits would not tell the vectors apart: each difference for itself, in float."""
    rows = write.then(node, "Unsqueeze", x, np.array([1]))
    away = write.squares(node, write.then(node, "Sub", rows, machine.vectors), 2)
    found = write.then(node, "Squeeze", away, np.array([2]))
    return write.then(
        node, "Exp", write.then(node, "Mul", found, np.asarray(-machine.gamma, np.float32))
    )


def _dots(node: ir.Node, machine: Machine, x: ir.Value, write: Scores) -> ir.Value:
    weights: Floats = machine.gamma * machine.vectors.T
    bias = np.full(len(machine.vectors), machine.coef0, np.float32)
    return write.product(node, x, weights, bias)


KERNELS = {"POLY": poly, "RBF": rbf, "SIGMOID": sigmoid}
