"""Graph passes, in the order in which a model meets them.

prepare    brings any model into one form; the function stays as it is
transform  data-free changes that keep the function and make it easier to quantize; a recipe
           lists them by name
rewrite    carries out a plan, at the very end
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir
import onnx_ir.passes.common as common

from qtool import model as models
from qtool.errors import ModelError
from qtool.passes.classical import LowerClassical
from qtool.passes.drop_identity import DropIdentity
from qtool.passes.equalize import Equalize
from qtool.passes.fold_batchnorm import FoldBatchNorm
from qtool.passes.fold_bias import FoldBias
from qtool.passes.fold_constants import FoldConstants
from qtool.passes.fold_pad import FoldPad
from qtool.passes.fold_scale import FoldScale
from qtool.passes.fold_transpose import FoldTranspose
from qtool.passes.gemm_layout import GemmLayout
from qtool.passes.gemm_plain import GemmPlain
from qtool.passes.insert_dynamic import InsertDynamic
from qtool.passes.insert_gathered import InsertGathered
from qtool.passes.insert_lstm import InsertLSTM
from qtool.passes.insert_qdq import InsertQDQ
from qtool.passes.lift_constants import LiftConstants, constants_to_initializers
from qtool.passes.loop_inputs import LoopInputs
from qtool.passes.lower import Lower
from qtool.passes.lower_einsum import LowerEinsum
from qtool.passes.name_nodes import NameNodes
from qtool.passes.raise_matmul import RaiseMatMul
from qtool.passes.retype import Retype
from qtool.passes.share_turned import ShareFloats, ShareTurned
from qtool.passes.standard import ToStandard, has_classical
from qtool.passes.widen_bias import WidenBias
from qtool.passes.writer import is_made
from qtool.plan.plan import Plan
from qtool.quantized import kind_of
from qtool.typed import infer

# Per-channel scales (`axis`) need opset 13.
LEAST_OPSET = 13

PREPARE: tuple[type[ir.passes.PassBase], ...] = (
    common.InlinePass,
    common.RemoveInitializersFromInputsPass,
    common.NameFixPass,
    NameNodes,
    DropIdentity,
    FoldConstants,
    LowerClassical,
    Lower,
    LowerEinsum,
    FoldPad,
    GemmLayout,
    GemmPlain,
    FoldTranspose,
    FoldBias,
    FoldScale,
    FoldBatchNorm,
    FoldScale,
    FoldBias,
    NameNodes,  # of what the passes made in bodies
    LiftConstants,
    common.RemoveUnusedNodesPass,
    LoopInputs,
)

REWRITES = (
    WidenBias, InsertQDQ, InsertDynamic, InsertLSTM, InsertGathered, ShareTurned, RaiseMatMul,
    Retype, ShareFloats,
)  # fmt: skip

TRANSFORMS: dict[str, type[ir.passes.PassBase]] = {"equalize": Equalize}


def prepare(
    model: ir.Model,
    opset: int = LEAST_OPSET,
    *,
    dequantized: bool = False,
    standard: bool = False,
    kept: frozenset[str] = frozenset(),
) -> ir.Model:
    """A new model of the same function: opset raised, constants lifted, norms and biases folded.

    What `dequantize` gave may still take and give integers. With `standard` no operators of
    `ai.onnx.ml` are left but those that nothing else stands for; else those that are `kept`, by
    name, are not lowered.

    Raises:
        ModelError: it is quantized already, or cannot be brought to the opset.
    """
    kind = None if dequantized else kind_of(model)
    if kind is not None:
        raise ModelError(
            "the model is already quantized",
            str(kind),
            "give the float model it was made from, or add  --allow-requantize",
        )
    model = models.raise_opset(model.clone(), max(opset, LEAST_OPSET))
    constants_to_initializers(model)
    model = infer(model)
    for make in PREPARE:
        made = make(kept) if make is LowerClassical and not standard else make()
        model = made(model).model
        more = standard and make is LowerClassical
        while more and has_classical(model):  # what one of them gives, the next one asks for
            result = ToStandard()(infer(model))
            model, more = result.model, result.modified
    return infer(model)


def transform(model: ir.Model, names: Iterable[str]) -> ir.Model:
    """A new model with those of the named algorithms applied, in order, that need no data."""
    model = model.clone()
    for name in names:
        if name in TRANSFORMS:
            model = TRANSFORMS[name]()(model).model
    return model


def rewritten(model: ir.Model, plan: Plan) -> ir.Model:
    """A new model with the plan carried out.

    Types and shapes of what it adds are not written down: anybody can infer them, and of a small
    model they would be a tenth.
    """
    model = model.clone()
    for rewrite in REWRITES:
        model = rewrite(plan)(model).model
    for node in model.graph.all_nodes():
        for value in node.outputs if is_made(node) else ():
            if not value.is_graph_output():
                value.type = value.shape = None
    return model
