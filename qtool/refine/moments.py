"""What the inputs of a layer are like, in the float model and in the quantized one: the moments
that decide about the rounding of its weights.

With x what the layer reads in float, x' what it reads where all before it is quantized, and codes
that stand for W':

    sum |W x - W' x'|^2 = sum over rows of (W' - W*) H (W' - W*)^T + what no W' can change
    H = sum of x' x'^T        W* = W + W C H^-1        C = sum of (x - x') x'^T

so W* would undo of the error so far what a linear layer can. Measured on few samples, and for one
layer while all are to be right, it does too much: half of it is done, and little where H is small.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from qtool.refine.columns import Floats
from qtool.refine.layers import Layer
from qtool.refine.reads import Reads
from qtool.refine.state import State
from qtool.rounding.problem import Reals

_FEWEST = 512  # columns that are worth a product of their own
_PLACES, _FEWEST_PLACES = 256, 16  # of one run, that count
_WORK = 2e9  # multiplications that the places of one run may cost in one layer
_LARGEST = 1e15  # the sum of the squares of any number of these is a float32


class Moments:
    """Sums over the columns of a layer's inputs; memory does not grow with their number."""

    def __init__(self, groups: int, width: int) -> None:
        self._count, self._pending = 0, 0
        self._waiting: list[tuple[Floats, Floats]] = []
        # as many as take the memory of the sums
        self._most = max(2 * width, _FEWEST)
        self._second, self._cross = np.zeros((2, groups, width, width))

    def add(self, exact: Floats, quantized: Floats) -> None:
        """Columns of one run, (groups, columns, places); those with NaN, Inf or values that are as
        good as Inf, such as a mask's, do not count."""
        fit = (np.abs(exact) < _LARGEST).all((0, 1)) & (np.abs(quantized) < _LARGEST).all((0, 1))
        self._waiting.append((exact[:, :, fit], quantized[:, :, fit]))
        self._pending += int(fit.sum())
        if self._pending >= self._most:
            self._flush()

    def second(self, damping: float) -> Reals:
        """H by place, (groups, columns, columns), a share of its mean diagonal added to it."""
        self._flush()
        second: Reals = self._second / max(self._count, 1)
        mean = np.diagonal(second, axis1=1, axis2=2).mean(1)
        second += damping * mean[:, None, None] * np.eye(second.shape[1])
        return second

    def target(self, weight: Floats, share: float, damping: float) -> Reals:
        """W + share (W* - W), (groups, rows, columns), with H damped as in `second`."""
        second, exact = self.second(damping), weight.astype(np.float64)
        lost = exact @ (self._cross / max(self._count, 1))
        if not lost.any() or not share:
            return exact
        alive = np.diagonal(second, axis1=1, axis2=2)[:, :, None] > 0
        solvable = second + ~alive * np.eye(second.shape[1])
        return exact + share * np.linalg.solve(solvable, lost.swapaxes(1, 2)).swapaxes(1, 2)

    def _flush(self) -> None:
        if not self._waiting:
            return
        exact, quantized = (np.concatenate(each, 2) for each in zip(*self._waiting, strict=True))
        for group, (x, y) in enumerate(zip(exact, quantized, strict=True)):
            self._second[group] += y @ y.T
            self._cross[group] += (x - y) @ y.T
        self._count += self._pending
        self._waiting, self._pending = [], 0


def moments_of(state: State, quantized: ir.Model, layers: Sequence[Layer]) -> list[Moments]:
    """Of what each layer reads, over all samples, in float and with all before it quantized."""
    reads = Reads(state.followed, quantized, layers, state.threads)
    sums = [Moments(layer.groups, layer.width) for layer in layers]
    for feeds in state.samples.fit:
        seen = reads.run(feeds)
        for layer, moments in zip(layers, sums, strict=True):
            work = layer.groups * layer.width**2
            most = max(_FEWEST_PLACES, min(_PLACES, int(_WORK / work)))
            for key, form in layer.uses:
                x, y = (form.columns(each, most) for each in seen[key])
                moments.add(x, y)
    return sums
