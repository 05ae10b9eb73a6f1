"""Floats of other widths than float32's, and which nodes leave them.

Integer kernels read and give float32. So a float16, bfloat16 or double node that becomes integers
computes in float32, between Casts. One whose weights are only stored keeps 16 bits: its weights get
a Cast, and the runtime, which widens such nodes by itself, goes on joining them. From double it
goes over to float32 all the same, which has packed products, and is twice as fast.
"""

from __future__ import annotations

import onnx_ir as ir

from qtool.ops import data_inputs, weights_of
from qtool.target import Form

FLOAT = ir.DataType.FLOAT
FLOATS = frozenset((FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE))


def float_type(node: ir.Node) -> ir.DataType:
    """The type of float that a node with a row works on; float32 where nothing tells."""
    values = [value for _, value in (*weights_of(node), *data_inputs(node))]
    return next((value.dtype for value in values if value.dtype in FLOATS), FLOAT)


def is_widened(node: ir.Node, form: Form) -> bool:
    """Whether a node of that form computes in float32 although it worked on another float."""
    kind = float_type(node)
    return kind is ir.DataType.DOUBLE or (kind is not FLOAT and form != "stored")


# The last bit of a value is worth this much of it. A model that computes so rounds after every
# node: where there are fewer, or others, it rounds elsewhere, and a few last bits add up on the way
# to an output.
_LAST_BIT = {ir.DataType.FLOAT16: 2.0**-10, ir.DataType.BFLOAT16: 2.0**-7}
_LAST_BITS = 8


def tolerance(model: ir.Model) -> float:
    """How far outputs may move where a model computes the same in another way, as a part of the
    largest value: 0.1 % in float32."""
    types = {value.dtype for node in model.graph.all_nodes() for value in node.outputs}
    return max(1e-3, *(_LAST_BITS * bit if kind in types else 0 for kind, bit in _LAST_BIT.items()))
