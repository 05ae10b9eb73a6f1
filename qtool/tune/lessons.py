"""What is learned from: samples in batches of one shape, and what the float model makes of each.

Of samples that are all floats half are made anew of two (`qtool.tune.variety`). Labels are of the
others, the `plain` ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from qtool.data.dataset import Dataset
from qtool.refine.taps import Taps
from qtool.tune.variety import varied

Arrays = Mapping[str, NDArray[Any]]
BYTES = 1 << 30  # of samples that stay in memory
_AT_ONCE = 64


@dataclass(frozen=True)
class Lesson:
    """One batch: what the float model makes of it, by name of the value; labels, where there are
    some, of the rows that are `plain`."""

    values: dict[str, Tensor]
    labels: Tensor | None
    plain: Tensor


class Lessons:
    """Samples, read again where they are more than memory is for; those of one shape are batched
    together. Where states are carried, those that start a sequence.

    Args:
        names: values of the float model to be told.
        labels: one for each sample.
        unit: how many samples a run must have; 0 for any number.

    Raises:
        DataError: a sample cannot be read or fed.
        ModelError: the model cannot be run.
    """

    def __init__(
        self,
        model: ir.Model,
        data: Dataset,
        names: Sequence[str],
        labels: NDArray[Any] | None = None,
        *,
        unit: int = 0,
    ) -> None:
        self._taps, self._labels, self._data = Taps(model, names, threads=1), labels, data
        self._kept, alike = dict[int, Arrays](), dict[tuple[Any, ...], list[int]]()
        self.unit, held, floats = unit, 0, True
        for block in data.blocks(1):
            place, feeds = block[0], self._read(block[0])
            alike.setdefault(tuple(x.shape for x in feeds.values()), []).append(place)
            floats = floats and all(x.dtype.kind == "f" for x in feeds.values())
            held += sum(x.nbytes for x in feeds.values())
            if held <= BYTES:
                self._kept[place] = feeds
        if unit:
            alike = {shape: rows[: len(rows) // unit * unit] for shape, rows in alike.items()}
        self._alike = [rows for rows in alike.values() if rows]
        self.mixes = floats and not data.states

    def _read(self, place: int) -> Arrays:
        known = self._kept.get(place)
        return next(self._data.batches(1, [range(place, place + 1)])) if known is None else known

    def __len__(self) -> int:
        return sum(map(len, self._alike))

    def within(self, names: Sequence[str], most: float) -> tuple[str, ...]:
        """Those whose values are finite, and of no greater magnitude."""
        left = dict.fromkeys(names)
        for lesson in self.batches(_AT_ONCE):
            for name in list(left):
                if not bool((lesson.values[name].abs() <= most).all()):
                    del left[name]
        return tuple(left)

    def batches(
        self, size: int, rng: np.random.Generator | None = None, *, mixed: bool = False
    ) -> Iterator[Lesson]:
        """Every sample once, in random order; a batch may be smaller than asked for."""
        every, size = list[tuple[NDArray[Any], Sequence[int]]](), self.unit or size
        for rows in self._alike:
            order = np.asarray(rows if rng is None else rng.permutation(rows))
            every += [(order[i : i + size], rows) for i in range(0, len(order), size)]
        for place in range(len(every)) if rng is None else rng.permutation(len(every)):
            places, alike = every[place]
            if rng is not None and mixed and self.mixes:
                plain = rng.random(len(places)) < 0.5
                others = self._fed(rng.choice(alike, len(places)))
                feeds = varied(self._fed(places), others, plain, rng)
            else:
                plain, feeds = np.ones(len(places), bool), dict(self._fed(places))
            labels = None if self._labels is None else torch.from_numpy(self._labels[places])
            yield Lesson(_tensors(self._taps.run(feeds)), labels, torch.from_numpy(plain))

    def _fed(self, places: NDArray[Any]) -> Arrays:
        chosen = [self._read(int(place)) for place in places]
        return {name: np.concatenate([each[name] for each in chosen]) for name in chosen[0]}


def _tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(x.astype(np.float32) if x.dtype.kind == "f" else np.array(x))
        for name, x in arrays.items()
    }
