"""Gemm of a constant weight without its extras, which integer kernels do not have.

gemm(x, W, c; alpha=a, beta=b) => gemm(x, a W, b c)
gemm(x, W; transA=1)           => gemm(transpose(x), W)
gemm(x, W, C), C no vector     => add(gemm(x, W), C)     C of a value for each row, or computed
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qtool.ops import attribute, constant, weight_of
from qtool.passes.edit import Around, array, is_float, rounded, set_constant


class GemmPlain(ir.passes.InPlacePass):
    """Takes alpha, beta, transA and a bias that is no vector out of Gemm."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed, self.around = False, Around(model.graph)
        for node in list(model.graph.all_nodes()):
            if (node.domain, node.op_type) != ("", "Gemm") or weight_of(node) is None:
                continue
            if is_float(array(weight_of(node))):
                changed |= self._scales(node) | self._turn(node) | self._part(node)
        return ir.passes.PassResult(model, modified=changed)

    def _scales(self, node: ir.Node) -> bool:
        changed = False
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        for name, position, value in (("alpha", 1, node.inputs[1]), ("beta", 2, bias)):
            given = node.attributes.get(name)
            if given is None or (value is not None and constant(value) is None):
                continue
            if value is not None and given.as_float() != 1.0:
                old = array(value)
                scaled = rounded(old.astype(np.float64) * given.as_float(), old.dtype)
                if scaled is None:
                    continue
                set_constant(node, position, scaled, f"{node.name}_{name}")
            del node.attributes[name]
            changed = True
        return changed

    def _turn(self, node: ir.Node) -> bool:
        if not attribute(node, "transA", 0):
            return False
        value = node.inputs[0]
        assert value is not None
        made = self.around.before(node, "Transpose", [value])
        made.outputs[0].type = value.type
        if value.shape is not None:
            made.outputs[0].shape = ir.Shape(reversed(list(value.shape)))
        made.attributes["perm"] = ir.AttrInt64s("perm", [1, 0])
        node.replace_input_with(0, made.outputs[0])
        del node.attributes["transA"]
        return True

    def _part(self, node: ir.Node) -> bool:
        """After GemmLayout: a constant that is one value per column is a vector by now."""
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if bias is None or "beta" in node.attributes:
            return False
        if constant(bias) is not None and array(bias).ndim == 1:
            return False
        # The Gemm is made anew and the old node adds, so that the result keeps its name.
        made = self.around.before(node, "Gemm", [node.inputs[0], node.inputs[1]])
        for each in node.attributes.values():
            made.attributes[each.name] = each
        made.outputs[0].type, made.outputs[0].shape = node.outputs[0].type, node.outputs[0].shape
        node.attributes.clear()
        node.op_type = "Add"
        node.replace_input_with(0, made.outputs[0])
        node.replace_input_with(1, bias)
        node.resize_inputs(2)
        # Names follow what is multiplied: patterns and plans speak of that.
        made.name, node.name = node.name, made.name
        return True
