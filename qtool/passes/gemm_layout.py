"""gemm(x, W^T, transB=1) => gemm(x, W): the runtime fuses a weight behind DequantizeLinear only
where it lies as (inputs, outputs)."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qtool.ops import attribute, weight_of
from qtool.passes.edit import array, set_constant


class GemmLayout(ir.passes.InPlacePass):
    """Transposes constant Gemm weights once, here, and not on every run."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for node in model.graph:
            if (node.domain, node.op_type) != ("", "Gemm") or not attribute(node, "transB", 0):
                continue
            weight = weight_of(node)
            if weight is None:
                continue
            set_constant(node, 1, np.ascontiguousarray(array(weight).T), f"{node.name}_weight")
            del node.attributes["transB"]
            changed = True
        return ir.passes.PassResult(model, modified=changed)
