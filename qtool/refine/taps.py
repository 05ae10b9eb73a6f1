"""The values of named tensors while a model runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from qtool.apart import open_model

Feeds = Mapping[str, NDArray[Any]]


class Taps:
    """A model that gives other values than its outputs: inputs, outputs or anything between.

    A quantized model is not optimized: onnxruntime fuses other nodes around new outputs, and makes
    of some what the model does not say.

    Raises:
        KeyError: a name is of no value in the main graph.
        ModelError: the runtime cannot load it.
    """

    def __init__(
        self, model: ir.Model, names: Iterable[str], *, threads: int = 0, optimize: bool = False
    ) -> None:
        tapped = model.clone()
        graph = tapped.graph
        self._fed = {value.name for value in graph.inputs}
        self._names = list(dict.fromkeys(names))
        values = {v.name: v for node in graph for v in node.outputs}
        graph.outputs.clear()
        for name in self._names:
            if name not in self._fed:
                value = values[name]
                if value.type is None:
                    value.type = ir.TensorType(ir.DataType.FLOAT)
                graph.outputs.append(value)
        RemoveUnusedNodesPass()(tapped)  # what lies behind costs time and gives nothing
        # It refuses to run for nothing.
        self._session = (
            open_model(tapped, threads=threads, optimize=optimize) if graph.outputs else None
        )

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """One run: name -> value; real numbers as float32."""
        found = {} if self._session is None else self._session.run(feeds)
        return {n: _real(feeds[n] if n in self._fed else found[n]) for n in self._names}


def _real(x: NDArray[Any]) -> NDArray[Any]:
    return x.astype(np.float32, copy=False) if x.dtype.kind == "f" else x
