"""Linear models.

regressor    gemm(x, W, b)
classifier   scores = gemm(x, W, b)
             label = labels[argmax(scores)], the first of equals     probabilities: by _TRANSFORMS

The runtime's own rules for one score of two classes, and for other transforms, stay in the node.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qtool.classical import Linear, Machine, labels
from qtool.passes.classical.scores import Scores, label_table, passing_on, replace

# on scores of two classes and more; their names in ai.onnx.ml
_TRANSFORMS = {"NONE": "", "LOGISTIC": "Sigmoid", "SOFTMAX": "Softmax"}


def linear_regressor(node: ir.Node, held: Linear | Machine, write: Scores) -> None:
    """LinearRegressor  =>  Gemm."""
    assert isinstance(held, Linear)
    scores = _scores(node, held, write)
    if held.transform == "NONE":
        replace(node, scores)
    else:
        _passed_on(node, scores, len(held.bias), "intercepts")


def linear_classifier(node: ir.Node, held: Linear | Machine, write: Scores) -> None:
    """LinearClassifier  =>  Gemm, ArgMax, Gather, and Softmax or Sigmoid."""
    assert isinstance(held, Linear)
    classes, scores = labels(node), _scores(node, held, write)
    if len(held.bias) < 2 or len(classes) != len(held.bias) or held.transform not in _TRANSFORMS:
        _passed_on(node, scores, len(held.bias), "intercepts")
        return
    best = write.then(node, "ArgMax", scores, axis=1, keepdims=0)
    best.type = ir.TensorType(ir.DataType.INT64)
    if classes != tuple(range(len(classes))):
        table = label_table(classes)
        best = write.then(node, "Gather", write.constant(node, table), best)
        best.type = ir.TensorType(table.dtype)
    transform = _TRANSFORMS[held.transform]
    replace(node, best, write.then(node, transform, scores) if transform else scores)


def _scores(node: ir.Node, held: Linear, write: Scores) -> ir.Value:
    return write.linear(node, write.rows(node, len(held.weights)), held.weights, held.bias)


def _passed_on(node: ir.Node, scores: ir.Value, count: int, bias: str) -> None:
    ones, none = np.eye(count).reshape(-1).tolist(), [0.0] * count
    passing_on(
        node,
        scores,
        coefficients=ir.AttrFloat32s("coefficients", ones),
        **{bias: ir.AttrFloat32s(bias, none)},
    )
