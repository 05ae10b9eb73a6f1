"""What is learned from: samples in batches of one shape, and what the float model makes of each."""

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

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Lesson:
    """One batch: inputs, what the float model gives for them, and labels where there are some."""

    feeds: dict[str, Tensor]
    expected: dict[str, Tensor]
    labels: Tensor | None


class Lessons:
    """All samples, in memory. Those of one shape are batched together.

    Args:
        names: values of the float model to be told beside its inputs.

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
        threads: int = 0,
    ) -> None:
        self._taps, self._labels = Taps(model, names, threads=threads), labels
        self._samples, alike = list[Arrays](), dict[tuple[Any, ...], list[int]]()
        for place, feeds in enumerate(data.batches(1)):
            self._samples.append(feeds)
            alike.setdefault(tuple(x.shape for x in feeds.values()), []).append(place)
        self._alike = list(alike.values())

    def __len__(self) -> int:
        return len(self._samples)

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[Lesson]:
        """Every sample once, in random order; a batch may be smaller than asked for."""
        every = []
        for places in self._alike:
            mixed = rng.permutation(places)
            every += [mixed[i : i + size] for i in range(0, len(mixed), size)]
        for place in rng.permutation(len(every)):
            yield self._lesson(every[place])

    def _lesson(self, places: NDArray[Any]) -> Lesson:
        chosen = [self._samples[place] for place in places]
        feeds = {name: np.concatenate([each[name] for each in chosen]) for name in chosen[0]}
        labels = None if self._labels is None else torch.from_numpy(self._labels[places])
        return Lesson(_tensors(feeds), _tensors(self._taps.run(feeds)), labels)


def _tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(x.astype(np.float32) if x.dtype.kind == "f" else np.array(x))
        for name, x in arrays.items()
    }
