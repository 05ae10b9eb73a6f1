"""Runs of a merged graph, batch by batch, with the states of both models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from numpy.typing import NDArray

from qtool.apart import open_model
from qtool.compare.interface import Casts
from qtool.compare.layers.merge import CANDIDATE, Merged
from qtool.data import Carry, Dataset
from qtool.errors import ModelError
from qtool.runtime import Session
from qtool.signature import Signature

Feeds = Mapping[str, NDArray[Any]]


class Feeding:
    """The samples as merged graphs take them; each iteration begins anew."""

    def __init__(
        self, data: Dataset, batch_size: int, reference: Signature, candidate: Signature
    ) -> None:
        self.carry = dict(data.declaration.carry)
        self._data, self._size = data, batch_size
        self._casts = Casts(reference, candidate)

    def batches(self, samples: int | None = None) -> Iterator[tuple[int, Batch]]:
        """(samples in it, batch), of all samples or about so many first ones."""
        states = Carry(self.carry), Carry(self.carry)
        runs = None if samples is None else -(-samples // self._size)
        for feeds in islice(self._data.batches(self._size), runs):
            count = len(next(iter(feeds.values())))
            given = dict(states[0].fill(feeds))
            if self.carry:
                own = self._casts(states[1].fill(feeds))
                given |= {CANDIDATE + name: own[name] for name in self.carry.values()}
            batch = Batch(given)
            yield count, batch
            if self.carry:
                states[0].keep({name: batch.results[name] for name in self.carry})
                states[1].keep({name: batch.results[CANDIDATE + name] for name in self.carry})


class Batch:
    """What goes into one run, and the results of the last session that ran it."""

    def __init__(self, feeds: Feeds) -> None:
        self.feeds = feeds
        self.results: dict[str, Any] = {}

    def run(self, session: Session) -> dict[str, Any]:
        """Run it; states are kept for the next batch."""
        self.results = session.run(self.feeds)
        return self.results


def opened(merged: Merged, threads: int) -> Session:
    """A session of a merged graph.

    Raises:
        ModelError: the runtime does not load both models as one.
    """
    try:
        return open_model(merged.model(), threads=threads, eager=True, layouts=False)
    except ModelError as error:
        raise ModelError("layers cannot be compared: the models do not run in one graph",
                         f"{error.what}: {error.why}") from error  # fmt: skip
