"""Two models over the same samples, in turns of several runs each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from qtool.compare.block import BYTES, Values, bytes_of
from qtool.compare.interface import Casts, Feeds
from qtool.data import Carry
from qtool.runtime import Session

RUNS = 32
"""Runs of one model before the other has its turn, if what they hold is less than BYTES.

A session's threads look for work for a while after each run, at the cost of the other's.
"""


class Turns:
    """A reference and a candidate; each carries states of its own."""

    def __init__(
        self, reference: Session, candidate: Session, casts: Casts, carry: Mapping[str, str]
    ) -> None:
        self._reference = reference
        self._candidate = candidate
        self._casts = casts
        self._states = Carry(carry), Carry(carry)

    def run(self, batches: Iterable[Feeds]) -> Iterator[tuple[Feeds, Values, Values]]:
        """What was fed, and what the reference and the candidate make of it, in order."""
        waiting: list[tuple[Feeds, Values]] = []
        held = 0
        for feeds in batches:
            outputs = self._reference.run(self._states[0].fill(feeds))
            self._states[0].keep(outputs)
            waiting.append((feeds, outputs))
            held += bytes_of(feeds) + bytes_of(outputs)
            if len(waiting) >= RUNS or held >= BYTES:
                yield from self._second(waiting)
                waiting, held = [], 0
        yield from self._second(waiting)

    def _second(
        self, waiting: Collection[tuple[Feeds, Values]]
    ) -> Iterator[tuple[Feeds, Values, Values]]:
        for feeds, reference in waiting:
            candidate: dict[str, Any] = self._candidate.run(
                self._casts(self._states[1].fill(feeds))
            )
            self._states[1].keep(candidate)
            yield feeds, reference, candidate
