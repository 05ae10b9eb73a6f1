"""What nodes read that multiply weights, in a float model and in the quantized one, run by run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.ops import constant
from qtool.passes.edit import fresh, names
from qtool.refine.columns import Seen
from qtool.refine.layers import Key, Layer
from qtool.refine.taps import Feeds, Taps

_Values: TypeAlias = Mapping[Key, Sequence[ir.Value | None]]


class Reads:
    """Both models, and what there is to be seen in them for some layers."""

    def __init__(
        self, model: ir.Model, quantized: ir.Model, layers: Sequence[Layer], threads: int
    ) -> None:
        exact, rounded = (_observable(each, layers) for each in (model, quantized))
        self._before = _values(exact, layers)
        # A product whose input is quantized on the run is another node by now, its input is not.
        self._after = {**self._before, **_values(rounded, layers)}
        self._exact = _taps(exact, self._before, threads)
        self._rounded = _taps(rounded, self._after, threads)

    def run(self, feeds: Feeds) -> dict[Key, tuple[Seen, Seen]]:
        """One run, in float and quantized; twice the latter where places of the one are not those
        of the other, since there are as many as the data have it."""
        expected = self._exact.run(feeds)
        given = {**expected, **self._rounded.run(feeds)}
        found: dict[Key, tuple[Seen, Seen]] = {}
        for key, values in self._before.items():
            x = [_seen(value, expected) for value in values]
            y = [_seen(value, given) for value in self._after[key]]
            found[key] = (x if all(map(_comparable, x, y)) else y), y
        return found


def _values(model: ir.Model, layers: Sequence[Layer]) -> _Values:
    nodes = {node.name: node for node in model.graph}
    uses = (use for layer in layers for use in layer.uses)
    return {key: form.reads(nodes[key[0]]) for key, form in uses if key[0] in nodes}


def _observable(model: ir.Model, layers: Sequence[Layer]) -> ir.Model:
    """The model, or a copy where all that is read has a name: the states of a recurrent layer need
    not be one of its outputs."""
    values = _values(model, layers).items()
    bare = {key[0] for key, read in values if any(v is not None and not v.name for v in read)}
    if not bare:
        return model
    model = model.clone()
    taken = names(model.graph)
    for node in model.graph:
        if node.name in bare:
            data, states = node.inputs[0], node.outputs[0]
            states.name = fresh(f"{node.name}_states", taken)
            states.type = None if data is None else data.type
    return model


def _taps(model: ir.Model, values: _Values, threads: int) -> Taps:
    made = {value.name for node in model.graph for value in node.outputs}
    made |= {value.name for value in model.graph.inputs}
    asked = (v.name for read in values.values() for v in read if v is not None)
    return Taps(model, [name for name in asked if name and name in made], threads=threads)


def _seen(value: ir.Value | None, run: Mapping[str, NDArray[Any]]) -> NDArray[Any] | None:
    if value is None:
        return None
    tensor = constant(value)
    return run[value.name or ""] if tensor is None else tensor.numpy()


def _comparable(x: NDArray[Any] | None, y: NDArray[Any] | None) -> bool:
    """Whether shapes are equal, and lengths of sequences are the same."""
    if x is None or y is None:
        return x is y
    return x.shape == y.shape and (x.dtype.kind == "f" or np.array_equal(x, y))
