"""The passes over the data.

1. one run: shapes. What differs in shape is not matched
2. the first samples: per channel, what is scaled, and which value a folded name stands for
3. the same, only if something looks scaled: own errors with and without the factors
4. all samples: the sums
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import onnx_ir as ir

from qtool.compare.layers.form import computed
from qtool.compare.layers.gains import Fit, Fitting, confirmed, suspects
from qtool.compare.layers.match import Refused, match
from qtool.compare.layers.merge import Gain, Merged, plain_weights
from qtool.compare.layers.place import Matching
from qtool.compare.layers.run import Feeding, opened
from qtool.compare.layers.sums import Sums, look, seen
from qtool.compare.layers.totals import Totals, overflows
from qtool.errors import DataError
from qtool.runtime import Session

FIRST = 32  # samples from which factors of channels are taken

Progress = Callable[[int, int], None]


class Study:
    """Two models in one form, and what is known of their places so far."""

    def __init__(
        self, reference: ir.Model, candidate: ir.Model, feeding: Feeding, threads: int
    ) -> None:
        self.models = reference, candidate
        self.feeding, self.threads = feeding, threads
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.matching: Matching = self._match(())
        self.gains: Mapping[str, Gain] = {}
        self._careful: set[str] = set()
        graph = candidate.graph
        made = (value for node in graph for value in node.outputs)
        values = (*graph.inputs, *graph.initializers.values(), *made)
        self._values = {value.name or "": value for value in values}

    def prepare(self) -> None:
        """Steps 1 to 3."""
        refused = self._find_shapes() if self.matching.places else set()
        self.matching = self._match(refused)
        if not self.matching.places:
            return
        merged = Merged(*self.models, self.feeding.carry)
        fitting = Fitting(merged, self.matching.places, self._shapes)
        session, values = opened(merged, self.threads), dict.fromkeys(self._shapes, 0)
        for count, batch in self.feeding.batches(FIRST):
            fitting.see(batch.run(session))
            for key, shape in self._shapes.items():
                values[key] += math.prod(shape[1:]) * count
        del session
        fits = fitting.fits()
        for fit in fits:
            refused |= {(fit.place.key, name) for name in fit.place.choices if name != fit.tensor}
        self.matching = self._match(refused)
        suspected = suspects(fits, values)
        if suspected:
            self._judge(suspected)

    def total(
        self,
        *,
        first: int | None = None,
        feed: Mapping[str, Gain] | None = None,
        progress: Progress | None = None,
        samples: int = 0,
    ) -> dict[str, Totals]:
        """Step 4, of all samples or some first ones.

        `feed` are the gains by which readers get the reference's values, the known ones if not
        given.

        Raises:
            DataError: there are no samples.
        """
        feed = self.gains if feed is None else feed
        found = {place.key: Totals() for place in self.matching.places}
        if not found:
            return found
        sums, session = self._opened(feed)
        done = 0
        for count, batch in self.feeding.batches(first):
            results = batch.run(session)
            beyond = {key for key, each in sums.items() if overflows(each, results)}
            if beyond - self._careful:  # from here on, what is no activation is left out
                self._careful |= beyond
                del session
                sums, session = self._opened(feed)
                results = batch.run(session)
            for key, each in sums.items():
                found[key].add(each, results)
            done += count
            if progress is not None:
                progress(done, samples)
        if done == 0:
            raise DataError("no samples to compare on")
        return found

    def _match(self, refused: Refused) -> Matching:
        """Only places whose shapes are known, once some are."""
        found = match(*self.models, self.feeding.carry.values(), refused)
        known = self._shapes or {place.key for place in found.places}
        return replace(found, places=tuple(p for p in found.places if p.key in known))

    def _find_shapes(self) -> set[tuple[str, str]]:
        """Note the shapes of places in the first run; what a place cannot be."""
        merged = Merged(*self.models, self.feeding.carry)

        def shape(value: ir.Value) -> str:
            return merged.output(merged.node("Shape", [value], ir.DataType.INT64))

        ours = {p.key: shape(seen(merged, merged.candidate, p)) for p in self.matching.places}
        theirs = {
            (p.key, name): shape(merged.reference.values[name])
            for p in self.matching.places
            for name in p.choices
        }
        session = opened(merged, self.threads)
        for _, batch in self.feeding.batches(1):
            results = batch.run(session)
            self._shapes = {key: tuple(map(int, results[name])) for key, name in ours.items()}
            return {
                pair
                for pair, name in theirs.items()
                if tuple(results[name]) != self._shapes[pair[0]]
            }
        raise DataError("no samples to compare on")

    def _judge(self, suspected: Mapping[str, Fit]) -> None:
        """Keep the gains that readers undo."""
        places = self.matching.places
        self.gains = {key: fit.gain for key, fit in suspected.items() if fit.gain is not None}
        noises = []
        for feed in ({}, self.gains):
            totals = self.total(first=FIRST, feed=feed)
            noises.append({key: each.noise("own") for key, each in totals.items()})
        self.gains = confirmed(places, suspected, plain=noises[0], scaled=noises[1])

    def _opened(self, feed: Mapping[str, Gain]) -> tuple[dict[str, Sums], Session]:
        merged, sums = self.merged(feed)
        return sums, opened(merged, self.threads)

    def merged(self, feed: Mapping[str, Gain]) -> tuple[Merged, dict[str, Sums]]:
        """The graph that tells all sums, and which output is which."""
        places, candidate = self.matching.places, self.models[1]
        ranks = {key: len(shape) for key, shape in self._shapes.items()}
        merged = Merged(*self.models, self.feeding.carry)
        weights = computed(candidate, plain_weights(candidate, places))
        local = merged.local(places, feed, ranks, weights)
        sums = {
            place.key: look(
                merged,
                local,
                place,
                values=self._values,
                rank=ranks[place.key],
                gain=self.gains.get(place.key),
                careful=place.key in self._careful,
            )
            for place in places
        }
        return merged, sums
