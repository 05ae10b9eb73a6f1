"""Outputs held against target arrays of their own shape, as of a decoder or a generator."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtool.numeric.metrics import squared_errors

Array = NDArray[Any]


class TargetErrors:
    """How far both models' values of one output are from the targets: one number per sample."""

    def __init__(self, name: str, targets: Array) -> None:
        self.name = name
        self._targets = targets
        self._seen = 0
        self._fits = True
        self._errors: list[tuple[Array, Array]] = []

    def see(self, reference: Any, candidate: Any, count: int) -> None:
        """Take in the next `count` samples; an output of another shape than its targets is out."""
        targets = self._targets[self._seen : self._seen + count]
        self._seen += count
        self._fits = self._fits and all(
            isinstance(value, np.ndarray)
            and value.dtype.kind == "f"
            and value.shape == targets.shape
            for value in (reference, candidate)
        )
        if self._fits:
            pair = squared_errors(targets, reference), squared_errors(targets, candidate)
            self._errors.append(pair)

    def columns(self) -> tuple[Array, Array] | None:
        """Mean squared errors (n,) of reference and candidate; None for an output that is out."""
        if not self._fits:
            return None
        reference, candidate = zip(*self._errors, strict=True)
        return np.concatenate(reference), np.concatenate(candidate)
