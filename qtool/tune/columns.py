"""Labels as columns of scores: a map behind the scores may name its classes in any order."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.data.dataset import Dataset


def columns_of(graph: ir.Graph, data: Dataset) -> NDArray[Any] | None:
    """One for each sample, -1 where the map has no such class; labels that no map is about as they
    are, and None where there are none."""
    labels = data.labels
    keys = _keys(graph)
    if labels is None or labels.dtype.kind == "f" or labels.ndim != 1 or not keys:
        return labels
    names, columns = data.classes, {key: column for column, key in enumerate(keys)}
    texts = isinstance(keys[0], str)
    found = [_name(each, names) if texts else each for each in labels.tolist()]
    return np.array([columns.get(each, -1) for each in found], np.int64)


def _keys(graph: ir.Graph) -> list[Any]:
    """Of the one map that scores go through which are no output themselves."""
    maps = [node for node in graph if node.op_type == "ZipMap"]
    if len(maps) != 1 or maps[0].inputs[0] in set(graph.outputs):
        return []
    given = maps[0].attributes
    for name in ("classlabels_strings", "classlabels_int64s"):
        if name in given and len(given[name].value):
            return list(given[name].value)
    return []


def _name(label: int, names: Any) -> str:
    return str(names[label]) if names and 0 <= label < len(names) else str(label)
