"""Linear models and support vector machines of `ai.onnx.ml`, as products that can be quantized.

linear_regressor(x)    =>  gemm(x, W, b)
linear_classifier(x)   =>  s = gemm(x, W, b)         labels[argmax(s)], softmax(s) or sigmoid(s)
svm_regressor(x)       =>  gemm(k(x), A, rho)        k: see `kernels`
svm_classifier(x)      =>  svm_classifier(gemm(k(x), A, rho)), which multiplies each score with 1

Where columns are of very different sizes, and so their weights, x s and W / s stand for x and W.

What standard operators cannot do as well is left to the node itself, with numbers that pass scores
on as they are: votes, the coupling of pairwise probabilities (whose result depends on where the
kernel's iteration stops), rare transforms of scores. It costs a few numbers and no time.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from qtool import model as models
from qtool.classical import Linear, Machine, lowered
from qtool.passes.classical.linear import linear_classifier, linear_regressor
from qtool.passes.classical.machines import svm_classifier, svm_regressor
from qtool.passes.classical.scores import Scores


class LowerClassical(ir.passes.InPlacePass):
    """Write what multiplies in `ai.onnx.ml` as Gemm, and the rest around it; what is `kept`, by
    name, stays as it is."""

    def __init__(self, kept: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self._kept = kept

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        write, changed = Scores(model.graph, models.opset(model)), False
        for node in list(model.graph.all_nodes()):
            held = lowered(node) if node.name not in self._kept else None
            if held is not None:
                _LAWS[node.op_type](node, held, write)
                changed = True
        return ir.passes.PassResult(model, modified=changed)


_LAWS: dict[str, Callable[[ir.Node, Linear | Machine, Scores], None]] = {
    "LinearClassifier": linear_classifier,
    "LinearRegressor": linear_regressor,
    "SVMClassifier": svm_classifier,
    "SVMRegressor": svm_regressor,
}
