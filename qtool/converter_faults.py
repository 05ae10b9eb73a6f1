"""What onnx's version converter forgets or makes up, mended before it and after it.

Hardmax, opset < 13     of all axes from `axis` on => of the last one, between Flatten and Reshape
shapes of outputs       axes without a name are given one => as they were
Upsample, Resize-10     they map coordinates by the scale alone => said so, since Resize-11 need not
"""

from __future__ import annotations

import onnx_ir as ir

from qtool.errors import ModelError


def before(model: ir.Model, opset: int) -> None:
    """Mend what is lost on the way from `opset`; changes the model.

    Raises:
        ModelError: there is no way: Scan had a batch axis up to opset 8.
    """
    if opset >= 13:
        return
    if opset < 9 and any(node.op_type == "Scan" for node in model.graph.all_nodes()):
        raise ModelError(
            f"the opset of this model, {opset}, cannot be raised",
            "Scan had a batch axis up to opset 8, which it has lost",
            "export the model with a newer opset",
        )
    taken = {value.name for node in model.graph.all_nodes() for value in node.outputs}
    for node in list(model.graph.all_nodes()):
        if (node.domain, node.op_type) == ("", "Hardmax") and node.inputs[0] is not None:
            _flatten(node, taken)


def after(model: ir.Model, opset: int) -> None:
    """Mend what got lost on the way from `opset`; changes the model."""
    if opset >= 11:
        return
    for node in model.graph.all_nodes():
        if (node.domain, node.op_type) == ("", "Resize"):
            mode, rounding = "coordinate_transformation_mode", "nearest_mode"
            node.attributes[mode] = ir.AttrString(mode, "asymmetric")
            node.attributes[rounding] = ir.AttrString(rounding, "floor")


def keep_shapes(before: ir.Model, after: ir.Model) -> None:
    """Outputs have the shapes that they had: inference gives names to axes that have none."""
    for old, new in zip(before.graph.outputs, after.graph.outputs, strict=True):
        new.shape = old.shape


def _flatten(node: ir.Node, taken: set[str | None]) -> None:
    """hardmax(x, axis) => reshape(hardmax(flatten(x, axis)), shape(x))"""
    axis, value, graph = node.attributes.get("axis"), node.inputs[0], node.graph
    assert graph is not None
    flat = ir.node("Flatten", [value], attributes={"axis": 1 if axis is None else axis.as_int()})
    largest = ir.node("Hardmax", [flat.outputs[0]], attributes={"axis": 1})
    shape = ir.node("Shape", [value])
    for made in (flat, largest, shape):
        number = len(taken)
        while f"hardmax_{number}" in taken:
            number += 1
        made.outputs[0].name = f"hardmax_{number}"
        taken.add(made.outputs[0].name)
    graph.insert_before(node, [flat, largest, shape])
    node.op_type = "Reshape"
    node.attributes.clear()
    node.resize_inputs(2)
    node.replace_input_with(0, largest.outputs[0])
    node.replace_input_with(1, shape.outputs[0])
