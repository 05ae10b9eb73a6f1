"""What all cells of a sweep have in common, and the samples that this stands for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from qtool.data import Dataset, open_dataset
from qtool.data.remote import located
from qtool.data.split import split
from qtool.errors import DataError
from qtool.recipe import Recipe
from qtool.signature import Signature


@dataclass(frozen=True)
class Setup:
    """It can be pickled, and means the same wherever the data lies at the same place.

    `data` and `evaluation` are paths or URLs; without the latter a part of the data judges.
    `recipe` says which samples: how many to calibrate on, the seed, and how to read them.
    `labels` is a file of those of the samples that judge. `scorers` are as `--scorer` has them,
    `metric` is "" for the best there is.
    """

    data: str
    recipe: Recipe
    target: str = "cpu"
    evaluation: str | None = None
    on_bad_file: Literal["error", "skip"] = "error"
    metric: str = ""
    scorers: tuple[str, ...] = ()
    batch_size: int = 1
    threads: int = 1
    requantize: bool = False
    latency: bool = False
    labels: Path | None = None

    def opened(self, signature: Signature) -> tuple[Dataset, Dataset]:
        """Samples to calibrate on, and others to judge on: no sample is in both.

        Raises:
            DataError: they cannot be read, or are too few to be parted.
        """
        of_all = None if self.evaluation is not None else self.labels
        data = self._open(self.data, signature, of_all)
        if self.evaluation is not None:
            chosen = data.choose(self.recipe.samples, self.recipe.seed)
            return chosen, self._open(self.evaluation, signature, self.labels)
        few = min(self.recipe.samples, len(data) // 2)
        first, rest = split(data, (few, len(data) - few), self.recipe.seed)
        if not (len(first) and len(rest)):
            raise DataError(
                f"{self.data} has too few samples to judge on others than those calibrated on",
                f"there is {len(data)}" if len(data) == 1 else f"there are {len(data)}",
                "give more, or others in  --eval DIR",
            )
        return first, rest

    def absolute(self, parts: tuple[Dataset, Dataset]) -> Setup:
        """The same for a process that starts elsewhere; URLs stay what they are."""

        def whole(place: str, data: Dataset) -> str:
            return str(data.path.absolute()) if data.path == Path(place) else place

        judged = self.evaluation and whole(self.evaluation, parts[1])
        scorers = tuple(str(Path(text).absolute()) for text in self.scorers)
        data = whole(self.data, parts[0])
        labels = self.labels and self.labels.absolute()
        return replace(self, data=data, evaluation=judged, scorers=scorers, labels=labels)

    def _open(self, place: str, signature: Signature, labels: Path | None) -> Dataset:
        declared, bad = self.recipe.data, self.on_bad_file
        return open_dataset(located(place), signature, declared, on_bad_file=bad, labels=labels)
