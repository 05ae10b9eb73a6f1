"""Einsum where it is a matrix product.

einsum("bik,bkj->bij", x, y) => matmul(x, y)     labels: b in both and kept, k in both and summed,
                                                 i of x alone, j of y alone

around it, where needed: Transpose of x, y (constants are transposed here) and the result; Reshape
where k stands for several labels, or j of a constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qtool.ops import constant
from qtool.passes.edit import Around, array


@dataclass(frozen=True)
class Product:
    """The labels of x, y and the result, and what each is: see above."""

    x: str
    y: str
    out: str
    batch: str
    rows: str
    summed: str
    columns: str


class LowerEinsum(ir.passes.InPlacePass):
    """Einsum of two tensors  =>  Transpose, Reshape, MatMul."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed, self.around = False, Around(model.graph)
        for node in list(model.graph.all_nodes()):
            if (node.domain, node.op_type) == ("", "Einsum"):
                product = _product(node)
                if product is not None:
                    self._replace(node, product)
                    changed = True
        return ir.passes.PassResult(model, modified=changed)

    def _replace(self, node: ir.Node, p: Product) -> None:
        x, y = node.inputs
        assert x is not None and y is not None
        # The labels of all but one row count as batch too, which y does not have.
        self.node, rows = node, p.rows[:-1] + p.batch + p.rows[-1]
        made = rows + p.columns
        x = self._transpose(x, p.x, rows + p.summed)
        if len(p.summed) > 1:
            x = self._reshape(x, [0] * len(rows) + [-1])
        sizes: tuple[int, ...] = ()
        if constant(y) is not None:
            values = array(y).transpose([p.y.index(c) for c in p.batch + p.summed + p.columns])
            sizes = values.shape[len(p.batch + p.summed) :]
            lead = values.shape[: len(p.batch)]
            inner = int(np.prod(values.shape[len(p.batch) : len(p.batch + p.summed)]))
            y = self.around.constant(
                self.node, np.ascontiguousarray(values.reshape(*lead, inner, -1))
            )
        else:
            y = self._transpose(y, p.y, p.batch + p.summed + p.columns)
        joined = [0] * len(rows) + list(sizes)
        if len(p.columns) == 1 and made == p.out:
            _become(node, "MatMul", x, y)
            return
        value = self.around.before(self.node, "MatMul", [x, y]).outputs[0]
        value.type = node.outputs[0].type
        if made == p.out:
            _become(node, "Reshape", value, self.around.constant(self.node, np.array(joined)))
            return
        if len(p.columns) > 1:
            value = self._reshape(value, joined)
        _become(node, "Transpose", value)
        perm = [made.index(label) for label in p.out]
        node.attributes["perm"] = ir.AttrInt64s("perm", perm)

    def _transpose(self, value: ir.Value, labels: str, wanted: str) -> ir.Value:
        if labels == wanted:
            return value
        node = self.around.before(self.node, "Transpose", [value])
        node.attributes["perm"] = ir.AttrInt64s("perm", [labels.index(c) for c in wanted])
        node.outputs[0].type = value.type
        return node.outputs[0]

    def _reshape(self, value: ir.Value, shape: list[int]) -> ir.Value:
        made = self.around.before(
            self.node, "Reshape", [value, self.around.constant(self.node, np.array(shape))]
        ).outputs[0]
        made.type = value.type
        return made


def _become(node: ir.Node, operator: str, *inputs: ir.Value) -> None:
    node.op_type = operator
    node.attributes.clear()
    node.resize_inputs(len(inputs))
    for position, value in enumerate(inputs):
        node.replace_input_with(position, value)


def _product(node: ir.Node) -> Product | None:
    """The product that the equation is, if it is one. Not one, in order:

    1. not two tensors of known rank, or a label stands twice in one (a diagonal)
    2. no summed label, or no row, or no column: nothing is multiplied and accumulated
    3. a label of one tensor alone that is not in the result (a sum beside the product)
    4. several columns of a tensor that is not constant, whose sizes would be looked up on the run
    """
    if len(node.inputs) != 2 or any(v is None or v.shape is None for v in node.inputs):  # 1
        return None
    equation = node.attributes["equation"].as_string().replace(" ", "")
    terms = _terms(equation, [len(v.shape) for v in node.inputs if v is not None and v.shape])
    if terms is None:
        return None
    x, y, out = terms
    if any(len(set(term)) != len(term) for term in terms):
        return None
    both = set(x) & set(y)
    batch = "".join(label for label in x if label in both and label in out)
    summed = "".join(label for label in x if label in both and label not in out)
    rows = "".join(label for label in x if label in out and label not in both)
    columns = "".join(label for label in y if label in out and label not in both)
    if not (summed and rows and columns):  # 2
        return None
    if set(x) | set(y) != set(out) | set(summed):  # 3
        return None
    fixed = constant(node.inputs[1]) is not None
    if not fixed and (len(columns) > 1 or len(summed) > 1):  # 4
        return None
    return Product(x, y, out, batch, rows, summed, columns)


def _terms(equation: str, ranks: list[int]) -> tuple[str, str, str] | None:
    """The labels of x, y and the result; `...` becomes labels of its own."""
    left, arrow, out = equation.partition("->")
    inputs = left.split(",")
    if len(inputs) != 2:
        return None
    if not arrow:  # labels that stand once, in the order of the alphabet
        letters = [c for c in left if c.isalpha()]
        out = "..." * ("..." in left) + "".join(sorted(c for c in letters if letters.count(c) == 1))
    hidden = [rank - len(t.replace("...", "")) for t, rank in zip(inputs, ranks, strict=True)]
    most = "0123456789"[: max(hidden)] if "..." in left else ""
    filled = [
        term.replace("...", most[len(most) - max(0, count) :])
        for term, count in zip(inputs, hidden, strict=True)
    ]
    if any(len(term) != rank for term, rank in zip(filled, ranks, strict=True)):
        return None
    return filled[0], filled[1], out.replace("...", most)
