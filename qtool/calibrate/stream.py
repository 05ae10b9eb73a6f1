"""One pass over the data: run the model batch by batch, observe, forget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import onnx_ir as ir
from numpy.typing import NDArray

from qtool import model as models
from qtool.errors import DataError
from qtool.numeric.histogram import Histogram
from qtool.runtime import Session

Step: TypeAlias = Callable[[int, int], None]


def observe(
    model: ir.Model,
    tensors: list[str],
    batches: Iterable[Mapping[str, NDArray[Any]]],
    total: int,
    *,
    threads: int = 0,
    step: Step = lambda done, total: None,
) -> dict[str, Histogram]:
    """Tensor name -> histogram of all that it held; memory does not grow with the samples.

    Raises:
        DataError: a sample does not fit, or NaN or Inf appears in a tensor.
    """
    inputs = {v.name for v in model.graph.inputs}
    inside = [name for name in tensors if name not in inputs]
    session = Session(models.serialize(_with_outputs(model, inside)), threads=threads)
    seen = {name: Histogram.empty() for name in tensors}
    done = 0
    for feeds in batches:
        results = session.run(feeds) if inside else {}  # the runtime refuses to run for nothing
        for name in tensors:
            try:
                seen[name] = seen[name].observe(feeds[name] if name in inputs else results[name])
            except ValueError as error:
                last = done + _length(feeds) - 1
                where = f"in sample {done}" if last == done else f"within samples {done} to {last}"
                raise DataError(
                    f"{error} in tensor {name!r}",
                    f"it appeared {where} (counted from 0)",
                    "look at these samples and at the model's own output for them",
                ) from None
        done += _length(feeds)
        step(done, total)
    return seen


def _with_outputs(model: ir.Model, tensors: list[str]) -> ir.Model:
    """A copy whose outputs are the tensors alone."""
    copy = model.clone()
    values = {v.name: v for node in copy.graph for v in node.outputs}
    copy.graph.outputs.clear()
    for name in tensors:
        value = values[name]
        if value.type is None:
            value.type = ir.TensorType(ir.DataType.FLOAT)
        copy.graph.outputs.append(value)
    return copy


def _length(feeds: Mapping[str, NDArray[Any]]) -> int:
    return int(next(iter(feeds.values())).shape[0]) if feeds else 1
