"""Operators of `ai.onnx.ml` in standard ones, for runtimes that have no others.

`qtool.standard` says which, and of those that stay why; each file says by what law. It follows
`LowerClassical`, which has turned all that multiplies into Gemm.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from qtool import model as models
from qtool.classical import DOMAIN, NARROW, Machine, left, read
from qtool.passes.classical import machines
from qtool.passes.classical.scores import Scores, replace
from qtool.passes.standard.at import At
from qtool.passes.standard.columns import binarizer, imputer, normalizer, one_hot, scaler
from qtool.passes.standard.lookups import encoder, extractor
from qtool.passes.standard.scores import (
    linear_classifier,
    linear_regressor,
    svm_classifier,
    svm_regressor,
)
from qtool.standard import unwritten


def has_classical(model: ir.Model) -> bool:
    """Whether there is any operator of `ai.onnx.ml`."""
    return any(node.domain == DOMAIN for node in model.graph.all_nodes())


class ToStandard(ir.passes.InPlacePass):
    """Write what `ai.onnx.ml` does in standard operators, where they do the same."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        write, changed = Scores(model.graph, models.opset(model)), False
        for node in list(model.graph.all_nodes()):
            if node.domain == DOMAIN and not unwritten(node):
                if left(node) == NARROW:
                    _distances(node, write)
                if node.graph is not None:
                    replace(node, *_LAWS[node.op_type](At(node, write)))
                changed = True
        if not has_classical(model):
            model.graph.opset_imports.pop(DOMAIN, None)
        return ir.passes.PassResult(model, modified=changed)


def _distances(node: ir.Node, write: Scores) -> None:
    """Write the kernel that `LowerClassical` has left, in float."""
    held = read(node)
    assert isinstance(held, Machine)
    law = machines.svm_regressor if node.op_type == "SVMRegressor" else machines.svm_classifier
    law(node, held, write)


_LAWS: dict[str, Callable[[At], tuple[ir.Value, ...]]] = {
    "ArrayFeatureExtractor": extractor,
    "Binarizer": binarizer,
    "Imputer": imputer,
    "LabelEncoder": encoder,
    "LinearClassifier": linear_classifier,
    "LinearRegressor": linear_regressor,
    "Normalizer": normalizer,
    "OneHotEncoder": one_hot,
    "SVMClassifier": svm_classifier,
    "SVMRegressor": svm_regressor,
    "Scaler": scaler,
}
