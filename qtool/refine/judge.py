"""How far a quantized model's outputs are from the float model's, on samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.apart import open_model
from qtool.compare.rows import real
from qtool.refine.taps import Feeds

MOST = 120.0  # dB, about what float32 holds
BYTES = 256 << 20  # of outputs that may be held: beyond it the last samples are left out
_FEWEST = 8  # samples that always stay


class Judge:
    """Holds what the float model gives, and judges others by it."""

    def __init__(self, model: ir.Model, feeds: Sequence[Feeds], threads: int) -> None:
        self._threads, held = threads, 0
        self._runs = list[tuple[Feeds, dict[str, NDArray[Any]]]]()
        session = open_model(model, threads=threads)
        for each in feeds:
            outputs = session.run(each).items()
            reals = {n: x for n, value in outputs if (x := real(value)) is not None}
            self._runs.append((each, reals))
            held += sum(x.nbytes for x in reals.values())
            if held > BYTES and len(self._runs) >= _FEWEST:
                break

    def sqnr_db(self, model: ir.Model) -> NDArray[np.float64]:
        """Signal over error of the real outputs in each run, dB, at most `MOST`.

        Each output counts alike; empty if none is a real number. One that has another shape, as
        the number of boxes found may be, is lost: 0 dB. As the runtime computes it, kernels fused.
        """
        session = open_model(model, threads=self._threads)
        energies = []
        for feeds, expected in self._runs:
            found = session.run(feeds)
            energies.append([_energies(x, real(found[name])) for name, x in expected.items()])
        signal, noise = np.array(energies, np.float64).reshape(len(energies), -1, 2).T
        heard = signal.any(axis=1)
        signal, noise = signal[heard], noise[heard]
        if not len(signal):
            return np.empty(0)
        floor = signal.mean(axis=1, keepdims=True) * 10 ** (-MOST / 10)
        lost = np.where(np.isnan(noise), 1.0, noise / np.maximum(signal, floor))
        return np.asarray(-10 * np.log10(np.maximum(lost.mean(axis=0), 10 ** (-MOST / 10))))


def _energies(expected: NDArray[Any], found: NDArray[Any] | None) -> tuple[float, float]:
    """Of the signal, and of the error: NaN where shapes differ. What is not finite counts as 0."""
    found = np.empty(0) if found is None else found
    x, y = (
        np.nan_to_num(each.astype(np.float64), nan=0, posinf=0, neginf=0)
        for each in (expected, found)
    )
    error = y - x if x.shape == y.shape else np.full(1, np.nan)
    return float(np.vdot(x, x)), float(np.vdot(error, error))
