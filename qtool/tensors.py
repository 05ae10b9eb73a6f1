"""Tensors in a model file that are settled before anything reads them: sparse ones, and doubles.

A sparse tensor becomes the dense one that it stands for, as the runtime itself does. The indices of
its values are those of the flattened tensor, [NNZ], or coordinates, [NNZ, rank]; both in ascending
order, as the standard wants them. What is not like that is refused before the dense tensor, whose
size is the file's to choose, takes any memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.errors import ModelError

_KEY = "qtool.sparse"
_MOST = 2**31 - 1  # bytes, of which a dense tensor in one file can have no more


def settle(proto: Any) -> tuple[str, ...]:
    """Make sparse tensors dense and equal doubles one; the names of those that were sparse.

    Raises:
        ModelError: as `fill` and `settle_doubles`.
    """
    names = fill(proto)
    settle_doubles(proto)
    return names


def fill(proto: Any) -> tuple[str, ...]:
    """Make the sparse tensors of a ModelProto dense, in bodies and functions too; their names.

    Raises:
        ModelError: one is not what the standard says, or would take more than 2 GB.
    """
    names = list[str]()
    for graph, nodes in _graphs(proto):
        for sparse in graph.sparse_initializer if graph is not None else ():
            _write(sparse, sparse.values.name, graph.initializer.add())
            names.append(sparse.values.name)
        if graph is not None:
            del graph.sparse_initializer[:]
        for node in nodes:
            for attribute in node.attribute if node.op_type == "Constant" else ():
                if attribute.name == "sparse_value":
                    name = node.output[0] if node.output else node.name
                    _write(attribute.sparse_tensor, name, attribute.t)
                    attribute.ClearField("sparse_tensor")
                    attribute.name, attribute.type = "value", ir.AttributeType.TENSOR.value
                    names.append(name)
    return tuple(names)


def settle_doubles(proto: Any) -> None:
    """Of equal initializers of one name keep one.

    Raises:
        ModelError: they differ, and the runtime says that it takes the last, and takes the first.
    """
    for graph, _ in _graphs(proto):
        if graph is None:
            continue
        tensors = graph.initializer
        first: dict[str, Any] = {}
        for tensor in list(tensors):
            known = first.setdefault(tensor.name, tensor)
            if known is not tensor and known != tensor:
                raise ModelError(
                    f"two initializers are named {tensor.name!r}",
                    "their values differ, and nothing says which one is meant",
                    "take one of them out",
                )
        if len(first) < len(tensors):
            kept = list(first.values())
            del tensors[:]
            tensors.extend(kept)


def remember(model: ir.Model, names: tuple[str, ...]) -> None:
    """Keep with the model which of its tensors were sparse."""
    if names:
        model.graph.meta[_KEY] = names


def remembered(model: ir.Model) -> tuple[str, ...]:
    """The tensors that were sparse in the file."""
    names: tuple[str, ...] = model.graph.meta.get(_KEY, ())
    return names


def _write(sparse: Any, name: str, into: Any) -> None:
    """The dense tensor of a SparseTensorProto, into a TensorProto."""
    what = f"sparse tensor {name!r}"
    dims = tuple(sparse.dims)
    if any(dim < 0 for dim in dims):
        raise ModelError(f"{what} has no size", f"its shape is {dims}")
    for part in (sparse.values, sparse.indices):
        if part.external_data:
            raise ModelError(f"{what} lies in another file", "only whole ones can be read")
        if any(dim < 0 for dim in part.dims) or math.prod(part.dims) > 8 * part.ByteSize():
            raise ModelError(f"{what} is cut short", f"{tuple(part.dims)} of its values are given")
    try:
        values = ir.serde.deserialize_tensor(sparse.values)
        indices = ir.serde.deserialize_tensor(sparse.indices).numpy()
        given = values.numpy()
        size = max(1, given.dtype.itemsize)
    except Exception as error:  # damaged in one of many ways
        raise ModelError(f"{what} cannot be read", str(error).splitlines()[0]) from error
    if math.prod(dims) * size > _MOST:
        raise ModelError(
            f"{what} is too large to be stored dense",
            f"its shape is {dims}, and one ONNX file holds at most 2 GB",
        )
    flat = _flat(what, indices, dims)
    if given.ndim != 1 or len(flat) != given.size:
        raise ModelError(
            f"{what} is damaged",
            f"values of shape {given.shape}, indices of shape {indices.shape}",
        )
    dense = np.zeros(math.prod(dims), given.dtype)
    dense[flat] = given
    made = ir.tensor(dense.reshape(dims), dtype=values.dtype, name=name)
    ir.serde.serialize_tensor_into(into, from_=made)


def _flat(what: str, indices: NDArray[Any], dims: tuple[int, ...]) -> NDArray[np.int64]:
    """Places in the flattened tensor, in ascending order."""
    if indices.dtype.kind not in "iu" or indices.ndim not in (1, 2):
        raise ModelError(
            f"{what} is damaged", f"its indices are {indices.dtype} of shape {indices.shape}"
        )
    places = indices.astype(np.int64)
    limits = np.array(dims if indices.ndim == 2 else [math.prod(dims)], np.int64)
    if indices.ndim == 2 and indices.shape[1] != len(dims):
        raise ModelError(
            f"{what} is damaged", f"its indices are {indices.shape}, its shape is {dims}"
        )
    if ((places.reshape(-1, len(limits)) < 0) | (places.reshape(-1, len(limits)) >= limits)).any():
        raise ModelError(f"{what} has indices out of range", f"its shape is {dims}")
    if indices.ndim == 2:
        places = np.ravel_multi_index(tuple(places.T), dims) if len(dims) else places[:, 0]
    if (np.diff(places) <= 0).any():
        raise ModelError(
            f"{what} has indices out of order", "the standard wants them ascending, each once"
        )
    return np.asarray(places, np.int64)


def _graphs(proto: Any) -> Iterator[tuple[Any, Any]]:
    """(graph or None for a function, its nodes), bodies included."""
    owners = [(proto.graph, proto.graph.node)]
    owners += [(None, function.node) for function in proto.functions]
    while owners:
        graph, nodes = owners.pop()
        yield graph, nodes
        for node in nodes:
            for attribute in node.attribute:
                bodies = [*attribute.graphs]
                if attribute.HasField("g"):
                    bodies.append(attribute.g)
                owners += [(body, body.node) for body in bodies]
