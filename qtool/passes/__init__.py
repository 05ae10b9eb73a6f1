"""Graph passes, in the order in which a model meets them.

prepare    brings any model into one form; the function stays as it is
transform  data-free changes that keep the function and make it easier to quantize; a recipe
           lists them by name
rewrite    carries out a plan, at the very end
"""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common

from qtool import model as models
from qtool.errors import ModelError, UsageError, did_you_mean
from qtool.passes.drop_identity import DropIdentity
from qtool.passes.equalize import Equalize
from qtool.passes.fold_batchnorm import FoldBatchNorm
from qtool.passes.fold_bias import FoldBias
from qtool.passes.fold_constants import FoldConstants
from qtool.passes.gemm_layout import GemmLayout
from qtool.passes.insert_dynamic import InsertDynamic
from qtool.passes.insert_qdq import InsertQDQ
from qtool.passes.name_nodes import NameNodes
from qtool.passes.to_half import ToHalf

# Per-channel scales (`axis`) need opset 13.
LEAST_OPSET = 13

_QUANTIZED = {
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul",
    "ConvInteger", "MatMulInteger", "MatMulNBits", "QGemm", "DynamicQuantizeMatMul",
    "QLinearAdd", "GatherBlockQuantized",
}  # fmt: skip

PREPARE: tuple[type[ir.passes.PassBase], ...] = (
    common.InlinePass,
    common.RemoveInitializersFromInputsPass,
    common.NameFixPass,
    NameNodes,
    DropIdentity,
    FoldConstants,
    FoldBias,
    FoldBatchNorm,
    FoldBias,
    GemmLayout,
    common.RemoveUnusedNodesPass,
)

REWRITES = (InsertQDQ, InsertDynamic, ToHalf)

TRANSFORMS: dict[str, type[ir.passes.PassBase]] = {"equalize": Equalize}


def prepare(model: ir.Model, opset: int = LEAST_OPSET) -> ir.Model:
    """A new model of the same function: opset raised, constants lifted, norms and biases folded.

    Raises:
        ModelError: it is quantized already, or cannot be brought to the opset.
    """
    done = sorted({n.op_type for n in model.graph.all_nodes()} & _QUANTIZED)
    if done:
        raise ModelError(
            "the model is already quantized",
            f"it holds {', '.join(done)}",
            "give the float model it was made from",
        )
    model = models.raise_opset(model.clone(), max(opset, LEAST_OPSET))
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    model = models.infer_shapes(model)
    for make in PREPARE:
        model = make()(model).model
    return models.infer_shapes(model)


def transform(model: ir.Model, names: tuple[str, ...]) -> ir.Model:
    """A new model with the named transforms applied in order.

    Raises:
        UsageError: no transform of that name.
    """
    model = model.clone()
    for name in names:
        if name not in TRANSFORMS:
            raise UsageError(
                f"transform {name!r} is not known",
                f"known: {', '.join(TRANSFORMS)}",
                did_you_mean(name, TRANSFORMS),
            )
        model = TRANSFORMS[name]()(model).model
    return model
