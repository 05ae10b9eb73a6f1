"""Products that do not bear a step of 8 bits of what they read.

1. a part of a distance between points

|x - v|^2  =  |x|^2 - 2 x v + |v|^2

Near to each other, the two squares and the product nearly cancel: a step of x in the product alone
would be larger than the distance. So the product's activations stay float; its weights may be
integers, since |v|^2 is that of the same integers (`qtool.passes.classical.kernels`).

2. a sum of powers: x^3 of values from 0.1 to 10 is 0.001 to 1,000
3. a step of an iteration (`qtool.plan.iterations`)
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from qtool.plan.iterations import iterations

CANCELS = "it is a part of a distance, which is small beside its parts"
POWERS = "it reads powers, of which one step of 8 bits is more than most of them"
_ON = {"Add", "Cast", "Mul", "Neg", "Sub", "Sum"}


def delicate(nodes: Iterable[ir.Node]) -> dict[ir.Node, str]:
    """The nodes that must read floats, and why. Of distances the products that meet the squares of
    what they read, and all sums behind these and the squares of the other side."""
    every = list(nodes)
    products = [n for n in every if n.op_type in ("Gemm", "MatMul") and n.domain == ""]
    squares = {node: _behind(node) for node in every if node.op_type == "ReduceSumSquare"}
    found = {node: POWERS for node in products if _is_power(node.inputs[0])}  # 2
    for node in products if squares else ():  # 1
        if (x := node.inputs[0]) is not None:
            own = [squares[use.node] for use in x.uses() if use.node in squares]
            sums = _behind(node)
            if any(not sums.isdisjoint(each) for each in own):
                found |= dict.fromkeys((node, *sums.union(*own)), CANCELS)
    for sums in squares.values():
        if not sums.isdisjoint(found):
            found |= dict.fromkeys(sums, CANCELS)
    return found | iterations(every)  # 3


def _is_power(value: ir.Value | None) -> bool:
    """Whether a Pow made it, or a product with itself, once or twice."""
    node = value.producer() if value is not None else None
    if node is None or node.domain != "":
        return False
    first, *others = node.inputs
    return node.op_type == "Pow" or (
        node.op_type == "Mul" and (first in others or any(map(_is_power, node.inputs)))
    )


def _behind(node: ir.Node) -> set[ir.Node]:
    """The sums, and products with numbers, that a node leads into."""
    found, stack = set[ir.Node](), [node]
    while stack:
        for value in stack.pop().outputs:
            more = {use.node for use in value.uses() if use.node.op_type in _ON} - found
            found |= more
            stack.extend(more)
    return found
