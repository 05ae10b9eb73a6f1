"""Products that do not bear a step of 8 bits of what they read.

1. a part of a distance between points

|x - v|^2  =  |x|^2 - 2 x v + |v|^2

Near to each other, the two squares and the product nearly cancel: a step of x in the product alone
would be larger than the distance. So the product's activations stay float; its weights may be
integers, since |v|^2 is that of the same integers (`qtool.passes.classical.kernels`).

2. a sum of powers beyond squares: x^3 of values from 0.1 to 10 is 0.001 to 1,000
3. a step of an iteration (`qtool.plan.iterations`)

And what only moves integers that are floats for a while, as the labels of scikit-learn's exporter:

4. cast to float, moved, cast back: 0.996 becomes 0
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from qtool.ops import OPS, attribute, constant
from qtool.plan.iterations import iterations

CANCELS = "it is a part of a distance, which is small beside its parts"
POWERS = "it reads powers, of which one step of 8 bits is more than most of them"
WHOLE = "it moves integers, which steps of 8 bits would make others"
_ON = {"Add", "Cast", "Mul", "Neg", "Sub", "Sum"}


def delicate(nodes: Iterable[ir.Node]) -> dict[ir.Node, str]:
    """The nodes that must read floats, and why. Of distances the products that meet the squares of
    what they read, and all sums behind these and the squares of the other side."""
    every = list(nodes)
    products = [n for n in every if n.op_type in ("Gemm", "MatMul") and n.domain == ""]
    squares = {node: _behind(node) for node in every if node.op_type == "ReduceSumSquare"}
    found = dict[ir.Node, str]()
    for node in products:  # 2
        if powers := _powers(node.inputs[0]):
            found |= dict.fromkeys((node, *powers), POWERS)
    for node in products if squares else ():  # 1
        if (x := node.inputs[0]) is not None:
            own = [squares[use.node] for use in x.uses() if use.node in squares]
            sums = _behind(node)
            if any(not sums.isdisjoint(each) for each in own):
                found |= dict.fromkeys((node, *sums.union(*own)), CANCELS)
    for sums in squares.values():
        if not sums.isdisjoint(found):
            found |= dict.fromkeys(sums, CANCELS)
    return found | iterations(every) | dict.fromkeys(_of_integers(every), WHOLE)  # 3, 4


def _of_integers(nodes: Iterable[ir.Node]) -> set[ir.Node]:
    """What stands between a Cast of integers to floats and a Cast back, and only moves them."""
    moved, found = dict[ir.Value | None, set[ir.Node]](), set[ir.Node]()
    for node in nodes:
        if node.domain != "" or not node.inputs:
            continue
        if node.op_type == "Cast":
            given = node.inputs[0]
            if ir.DataType(attribute(node, "to", 1)).is_integer():
                found |= moved.get(given, set())
            elif given is not None and given.dtype is not None and given.dtype.is_integer():
                moved[node.outputs[0]] = set()
        elif node.op_type in OPS and OPS[node.op_type].shares:
            before = [moved[value] for value in node.inputs if value in moved]
            if before:
                moved |= dict.fromkeys(node.outputs, {node}.union(*before))
    return found


def _powers(value: ir.Value | None) -> set[ir.Node]:
    """The products that make a power beyond the square; none if it is no such."""
    _, degree, made = _power(value)
    return made if degree > 2 else set()


def _power(value: ir.Value | None, far: int = 0) -> tuple[ir.Value | None, float, set[ir.Node]]:
    """What a value is a power of, which one, and what makes it of that, not too far up."""
    node = value.producer() if value is not None and far < _FAR else None
    if node is not None and node.domain == "" and node.op_type == "Pow":
        root, degree, made = _power(node.inputs[0], far + 1)
        exponent = constant(node.inputs[1])
        return root, degree * (3.0 if exponent is None else exponent.numpy().max()), {node, *made}
    if node is not None and node.domain == "" and node.op_type == "Mul":
        (root, degree, made), (other, more, beside) = (_power(x, far + 1) for x in node.inputs)
        if root is other:
            return root, degree + more, {node, *made, *beside}
    return value, 1.0, set()


_FAR = 6  # products in a row: twice as many are looked at for each


def _behind(node: ir.Node) -> set[ir.Node]:
    """The sums, and products with numbers, that a node leads into."""
    found, stack = set[ir.Node](), [node]
    while stack:
        for value in stack.pop().outputs:
            more = {use.node for use in value.uses() if use.node.op_type in _ON} - found
            found |= more
            stack.extend(more)
    return found
