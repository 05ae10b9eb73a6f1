"""How far a quantized model's outputs are from the float model's, on samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.apart import open_model
from qtool.refine.taps import Feeds

MOST = 120.0  # dB, about what float32 holds


class Judge:
    """Holds what the float model gives, and judges others by it."""

    def __init__(self, model: ir.Model, feeds: Sequence[Feeds], threads: int) -> None:
        self._feeds, self._threads = feeds, threads
        self._expected = self._outputs(model)

    def sqnr_db(self, model: ir.Model) -> NDArray[np.float64]:
        """Signal over error of the real outputs in each run, dB, at most `MOST`.

        Each output counts alike; empty if none is a real number. As the runtime computes it,
        kernels fused.
        """
        found = self._outputs(model)
        lost = []
        for name, expected in self._expected.items():
            pairs = zip(expected, found[name], strict=True)
            noise = np.array([np.vdot(y - x, y - x) for x, y in pairs])
            signal = np.array([np.vdot(x, x) for x in expected])
            if signal.any():
                lost.append(noise / np.maximum(signal, signal.mean() * 10 ** (-MOST / 10)))
        if not lost:
            return np.empty(0)
        return np.asarray(-10 * np.log10(np.maximum(np.mean(lost, axis=0), 10 ** (-MOST / 10))))

    def _outputs(self, model: ir.Model) -> dict[str, list[NDArray[np.float64]]]:
        """Output name -> its values in each run; what is not finite in float counts as 0."""
        session = open_model(model, threads=self._threads)
        found: dict[str, list[NDArray[np.float64]]] = {}
        for feeds in self._feeds:
            for name, value in session.run(feeds).items():
                if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                    real = np.nan_to_num(value.astype(np.float64), nan=0, posinf=0, neginf=0)
                    found.setdefault(name, []).append(real)
        return found
