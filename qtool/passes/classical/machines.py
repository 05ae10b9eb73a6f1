"""Support vector machines.

regressor    gemm(k(x), a, rho)
classifier   pairs = gemm(k(x), A, rho)     one score for each pair of classes
             labels and probabilities of them by the same operator: its vectors are the pairs, and
             each multiplies its own pair with 1

linear       gemm(x, V A, rho): of all vectors one matrix is left
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import onnx_ir as ir

from qtool.classical import Linear, Machine
from qtool.passes.classical.kernels import KERNELS
from qtool.passes.classical.scores import Scores, passing_on, replace


def svm_regressor(node: ir.Node, held: Linear | Machine, write: Scores) -> None:
    """SVMRegressor  =>  the kernel, Gemm."""
    scores = _scores(node, held, write)
    one_class = node.attributes.get("one_class")
    if one_class is None or not one_class.as_int():
        replace(node, scores)
        return
    passing_on(
        node,
        scores,
        coefficients=ir.AttrFloat32s("coefficients", [1.0]),
        n_supports=ir.AttrInt64("n_supports", 0),
        rho=ir.AttrFloat32s("rho", [0.0]),
    )
    node.attributes.pop("support_vectors", None)


def svm_classifier(node: ir.Node, held: Linear | Machine, write: Scores) -> None:
    """SVMClassifier  =>  the kernel, Gemm, and SVMClassifier of the scores."""
    # Of two classes the runtime's rule for the label asks whether all coefficients are positive.
    given = node.attributes["coefficients"].as_floats()
    sign = 1.0 if min(given) >= 0 else -1.0
    if isinstance(held, Linear):
        scores = _scores(node, Linear(sign * held.weights, sign * held.bias, "NONE"), write)
        count = len(held.bias)
        own = sign * np.eye(count)
        passing_on(node, scores, **_attributes(coefficients=own, rho=[0.0]))
        return
    scores, classes = _scores(node, held, write), len(held.counts)
    pairs = list(combinations(range(classes), 2))
    # A vector for each pair, of its first class; the last class is first in none, and needs one.
    vectors = np.vstack([sign * np.eye(len(pairs)), np.zeros(len(pairs))])
    own = np.zeros((classes - 1, len(vectors)))
    for place, (_, second) in enumerate(pairs):
        own[second - 1, place] = sign
    passing_on(
        node,
        scores,
        **_attributes(support_vectors=vectors, coefficients=own, rho=np.zeros(len(pairs))),
        vectors_per_class=ir.AttrInt64s("vectors_per_class", [*range(classes - 1, 0, -1), 1]),
        kernel_type=ir.AttrString("kernel_type", "LINEAR"),
    )


def _scores(node: ir.Node, held: Linear | Machine, write: Scores) -> ir.Value:
    if isinstance(held, Linear):
        x = write.rows(node, len(held.weights))
        return write.linear(node, x, held.weights, held.bias)
    x = write.rows(node, held.vectors.shape[1])
    if held.kernel == "LINEAR":
        return write.linear(node, x, held.vectors.T @ held.coefficients, held.rho)
    return write.product(
        node, KERNELS[held.kernel](node, held, x, write), held.coefficients, held.rho
    )


def _attributes(**numbers: object) -> dict[str, ir.Attr]:
    return {
        name: ir.AttrFloat32s(name, np.asarray(values, float).reshape(-1).tolist())
        for name, values in numbers.items()
    }
