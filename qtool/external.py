"""Weights outside the model file: each is bound to one real file in the model's folder, or refused.

Whoever wrote the model chose the location, so nothing is opened before it is known to stay inside.
A link is fine while what it leads to lies in the folder of the model's name or of its bytes: in a
Hugging Face cache `snapshots/x/model.onnx` is a link to `blobs/a`, and the data are `blobs/b`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import onnx_ir as ir

from qtool.errors import ModelError
from qtool.inline import HERE
from qtool.ops import bytes_of

Mark: TypeAlias = tuple[int, ...]  # inode, size and time of the last change


def external(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    """The weights that lie in other files."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                yield value.const_value


def bind(model: ir.Model, path: Path) -> None:
    """Tie external weights to their files; the small ones in attributes are read at once.

    Raises:
        ModelError: a tensor's file leads out of the folder, is missing, or does not hold it.
    """
    for graph in model.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = _bound(value.const_value, path)
        for node in graph:
            for name, attribute in list(node.attributes.items()):
                tensor = attribute.value
                if isinstance(tensor, ir.ExternalTensor):
                    bound = _bound(tensor, path)
                    [loaded] = ir.external_data.convert_tensors_from_external([bound])
                    node.attributes[name] = ir.AttrTensor(name, loaded)


def _bound(tensor: ir.ExternalTensor, path: Path) -> ir.ExternalTensor:
    what = f"external data of {tensor.name!r}"
    if str(tensor.location) == HERE:
        return _placed(tensor, path.resolve(), what)
    location = Path(str(tensor.location))
    try:
        target = (path.parent / location).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL in the name
        raise ModelError(what, f"{error}: its location is {str(location)!r}") from error
    folders = (path.parent.resolve(), path.resolve().parent)
    outside = not any(target.is_relative_to(folder) for folder in folders)
    if location.is_absolute() or ".." in location.parts or outside:
        raise ModelError(
            f"{what} lies outside the model's folder",
            f"its location is {str(location)!r}",
            "move the data file beside the model",
        )
    if not target.is_file():
        raise ModelError(f"{what} is missing", f"no file {location} beside {path}")
    if target.stat().st_nlink > 1:  # nobody can tell where its other names are
        raise ModelError(
            f"{what} may lie outside the model's folder",
            f"{location} has several hard links",
            "copy the data file",
        )
    return _placed(tensor, target, what)


def _placed(tensor: ir.ExternalTensor, target: Path, what: str) -> ir.ExternalTensor:
    _check_extent(tensor, target.stat().st_size, what)
    return ir.ExternalTensor(
        target.name, tensor.offset, tensor.length, tensor.dtype,
        shape=tensor.shape, name=tensor.name, doc_string=tensor.doc_string, base_dir=target.parent,
    )  # fmt: skip


def _check_extent(tensor: ir.ExternalTensor, size: int, what: str) -> None:
    shape = tensor.shape.numpy()
    if any(dim < 0 for dim in shape):
        raise ModelError(f"{what} has no size", f"its shape is {shape}")
    if tensor.length not in (None, tensor.nbytes):
        raise ModelError(
            f"{what} has the wrong length",
            f"{tensor.length} bytes where {tensor.dtype.name} {shape} takes {tensor.nbytes}",
        )
    end = (tensor.offset or 0) + tensor.nbytes
    if end > size:
        raise ModelError(
            f"{what} is cut short",
            f"it ends at byte {end} of {tensor.location}, which has {size}",
        )


def marks(model: ir.Model) -> dict[Path, Mark]:
    """The files that weights of a model lie in, and by what each is known to be as it was."""
    places = {Path(tensor.base_dir) / tensor.location for tensor in external(model)}
    return {place: mark(place) for place in sorted(places)}


def require_unchanged(files: Mapping[Path, Mark]) -> None:
    """Weights are read when they are needed, from files that others may write to.

    Raises:
        ModelError: one of the files is not what it was.
    """
    for path, before in files.items():
        if mark(path) != before:
            raise ModelError(
                f"{path} changed while it was read",
                "what came of it is in part of the one model and in part of another",
                "run it again once nobody writes to the model",
            )


def mark(path: Path) -> Mark:
    """By what a file is known to be as it was."""
    try:
        about = path.stat()
    except OSError:  # it is gone
        return ()
    return about.st_ino, about.st_size, about.st_mtime_ns


def folder_of(model: ir.Model) -> Path | None:
    """The one folder in which all weights that lie in files do; None where there is none, or
    several, or its name is not for every reader."""
    places = [(str(tensor.base_dir), Path(tensor.location)) for tensor in external(model)]
    folders = {folder for folder, _ in places}
    nested = any(len(location.parts) != 1 for _, location in places)
    if len(folders) != 1 or nested or not all(f.isprintable() for f in folders):
        return None
    return Path(folders.pop())


def without_large(model: ir.Model) -> tuple[ir.Model, dict[str, ir.TensorProtocol]]:
    """A copy in which large weights are inputs, and these weights, which are not copied."""
    rest, large = model.clone(), {}
    graph = rest.graph
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor is not None and bytes_of(tensor) > _LARGE and not value.is_graph_input():
            large[name] = tensor
            del graph.initializers[name]
            value.const_value = None
            value.type, value.shape = ir.TensorType(tensor.dtype), ir.Shape(tensor.shape.numpy())
            graph.inputs.append(value)
    return rest, large


_LARGE = 1 << 16  # bytes of a weight that is not copied along with the graph
