"""One pass over the data: run the model batch by batch, observe, forget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.apart import open_model
from qtool.calibrate.bodies import inside
from qtool.calibrate.measuring import FETCHED, Measuring, known_sizes, measuring, sizing, small
from qtool.errors import DataError
from qtool.numeric.histogram import Histogram
from qtool.numeric.tally import Shifts, Tally, seeds, stretches
from qtool.runtime import Session

Feeds = Mapping[str, NDArray[Any]]


class Stream:
    """Sees batches in any order; memory does not grow with them.

    Args:
        model: the model to run.
        tensors: what to observe: inputs of the model and values inside it, in bodies too.
        most: how many values of a tensor are counted in a sample.
        kept: outputs that `see` gives back.
        threads: threads inside an operator, 0 for all cores.
        seen: what has been observed before, to go on from.
    """

    def __init__(
        self,
        model: ir.Model,
        tensors: Sequence[str],
        *,
        most: int,
        kept: Sequence[str] = (),
        threads: int = 0,
        seen: dict[str, Histogram] | None = None,
    ) -> None:
        inputs = {v.name for v in model.graph.inputs}
        self._model = model
        self._fed = [name for name in tensors if name in inputs]
        bodies = inside(model)
        self._inside = [name for name in tensors if name not in inputs and name not in bodies]
        self._within = [name for name in tensors if name in bodies]
        # The runtime computes in wider floats than it gives out, and gives these to whoever casts:
        # what is fetched would be rounded, what is reduced would not.
        made = (value for node in model.graph for value in node.outputs)
        self._narrow = {v.name for v in made if v.dtype not in (None, ir.DataType.FLOAT)}
        self._kept = tuple(kept)
        self._made = [name for name in kept if name not in inputs]  # an input may be an output
        self._threads = threads
        self._tally = Tally(tensors if seen is None else seen, most)
        self._most = most
        self._graph: Measuring | None = None
        self._session: Session | None = None

    def see(self, feeds: Feeds, shifts: Shifts, first: int) -> dict[str, Any]:
        """Run samples, counted from `first` on, one for each shift; gives the outputs in `kept`.

        Raises:
            DataError: a sample does not fit, or NaN or Inf appears in a tensor.
        """
        try:
            for name in self._fed:
                self._see(name, feeds[name], shifts)
            if not (self._inside or self._within or self._made):  # it refuses to run for nothing
                return {name: feeds[name] for name in self._kept}
            graph, session = self._ready(feeds)
            results = session.run(self._with_choice(graph, feeds, shifts))
            for name in graph.fetched:
                self._see(name, results[name], shifts)
            for name, made in graph.reduced.items():
                ends = [float(results[each]) for each in (made.low, made.high, made.sum)]
                if np.isfinite(ends).all():
                    self._tally.add(name, ends[0], ends[1], results[made.values])
                elif results[made.values].size:
                    # NaN, Inf, or a sum beyond float32: the tensor itself will tell.
                    self._see(name, self._whole(name, feeds), shifts)
            for each in graph.carried:
                for seen in each.seen(results):
                    self._tally.add(*seen)
        except ValueError as error:
            last = first + len(shifts) - 1
            where = f"in sample {first}" if last == first else f"within samples {first} to {last}"
            raise DataError(
                str(error),
                f"it appeared {where} (counted from 0)",
                "look at these samples and at the model's own output for them",
            ) from None
        if sum(results[name].size for name in graph.fetched) > 2 * FETCHED:
            self._graph = None  # shapes have grown: choose again what is fetched
        return {name: results[name] if name in results else feeds[name] for name in self._kept}

    def histograms(self) -> dict[str, Histogram]:
        """Tensor name -> statistic of all that it held."""
        return self._tally.histograms()

    def _ready(self, feeds: Feeds) -> tuple[Measuring, Session]:
        if self._graph is None or self._session is None:
            sizes = self._sizes(feeds) if self._inside else {}
            fetched = small({name: sizes[name] for name in sizes if name not in self._narrow})
            others = [name for name in self._inside if name not in fetched]
            self._graph = measuring(self._model, fetched, others, self._made, self._within)
            self._session = self._open(self._graph.model, eager=bool(self._graph.stretches))
        return self._graph, self._session

    def _sizes(self, feeds: Feeds) -> dict[str, int]:
        shapes = {name: array.shape for name, array in feeds.items()}
        if known := known_sizes(self._model, self._inside, shapes):
            return known
        model, outputs = sizing(self._model, self._inside)
        found = self._open(model, eager=True).run(feeds)
        return {name: int(found[output]) for name, output in outputs.items()}

    def _open(self, model: ir.Model, *, eager: bool = False) -> Session:
        return open_model(model, threads=self._threads, eager=eager)

    def _with_choice(self, graph: Measuring, feeds: Feeds, shifts: Shifts) -> Feeds:
        """The feeds, and which values of what is reduced are counted."""
        fed = dict(feeds)
        if graph.stretches:
            fed[graph.stretches] = stretches(shifts, self._most)
        if graph.seeds:
            fed[graph.seeds] = seeds(shifts, self._most)
        return fed

    def _see(self, name: str, x: NDArray[Any], shifts: Shifts) -> None:
        try:
            self._tally.see(name, x, shifts)
        except ValueError as error:
            raise ValueError(f"{error} in tensor {name!r}") from None

    def _whole(self, name: str, feeds: Feeds) -> NDArray[Any]:
        whole: NDArray[Any] = self._open(measuring(self._model, [name], []).model).run(feeds)[name]
        return whole
