"""Types of inputs and outputs that onnx_ir cannot hold: maps, which scikit-learn's exporter makes.

They are taken out of a file before onnx_ir reads it, wait beside the graph (a clone keeps them),
and go back as they were when the model becomes a file again. Types of inner values are left out:
the runtime finds those itself.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import onnx_ir as ir

# Protobuf messages are Any here: qtool.model alone imports onnx.
Types = Mapping[str, Any]
_KEY = "qtool.maps"


def take_out(proto: Any) -> Types:
    """Take such types out of a ModelProto; those of its inputs and outputs by name."""
    graph = proto.graph
    ends = [*graph.input, *graph.output]
    types = {value.name: copy.deepcopy(value.type) for value in ends if _foreign(value.type)}
    inner = [v for owner in (graph, *proto.functions) for v in owner.value_info]
    for owner in (graph, *proto.functions):
        for body in _bodies(owner.node):
            inner += [*body.input, *body.output, *body.value_info]
    for value in (*ends, *inner):
        if _foreign(value.type):
            value.ClearField("type")
    return types


def remember(model: ir.Model, types: Types) -> None:
    """Keep types with the model."""
    if types:
        model.graph.meta[_KEY] = types


def remembered(model: ir.Model) -> Types:
    """The types of the inputs and outputs that onnx_ir cannot hold, by name."""
    types: Types = model.graph.meta.get(_KEY, {})
    return types


def put_back(proto: Any, types: Types) -> None:
    """Write the types into a ModelProto as they were."""
    for value in (*proto.graph.input, *proto.graph.output):
        if value.name in types:
            value.type.CopyFrom(types[value.name])


def name_of(kind: Any) -> str:
    """A TypeProto's name, as runtime sessions say it too: "seq(map(int64,float32))"."""
    match kind.WhichOneof("value"):
        case "tensor_type":
            return name_of_dtype(kind.tensor_type.elem_type)
        case "sparse_tensor_type":
            return f"sparse_tensor({name_of_dtype(kind.sparse_tensor_type.elem_type)})"
        case "sequence_type":
            return f"seq({name_of(kind.sequence_type.elem_type)})"
        case "optional_type":
            return f"optional({name_of(kind.optional_type.elem_type)})"
        case "map_type":
            value = name_of(kind.map_type.value_type)
            return f"map({name_of_dtype(kind.map_type.key_type)},{value})"
    return "unknown"


def name_of_dtype(number: int) -> str:
    """numpy's name of an ONNX element type; "str" for strings, "unknown" for none."""
    dtype = ir.DataType(number)
    if dtype is ir.DataType.UNDEFINED:
        return "unknown"
    return "str" if dtype is ir.DataType.STRING else dtype.numpy().name


def _foreign(kind: Any) -> bool:
    """Whether a map, or a type of its maker's own, is in there."""
    while (outer := kind.WhichOneof("value")) in ("sequence_type", "optional_type"):
        kind = getattr(kind, outer).elem_type
    return outer in ("map_type", "opaque_type")


def _bodies(nodes: Any) -> Iterator[Any]:
    """The graphs inside If, Loop and Scan, at every depth."""
    for node in nodes:
        for attribute in node.attribute:
            for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())):
                yield graph
                yield from _bodies(graph.node)
