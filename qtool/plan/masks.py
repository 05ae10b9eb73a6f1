"""Values of huge magnitude that only say "not this one": masks, and what they are added to.

An attention's mask puts -3.4e38, -1e9, -65504 or -10000 where a Softmax shall give 0. A range that
holds them leaves no codes to the scores. What reads them does not tell them from any number that is
low enough, so each tensor gets a bound B below which all may be B:

    y = Softmax(x)        B(x) = a - 9 ln 2 - ln r      exp(B - a) is below half a step of 8 bits
    y = max over x        B(x) = a - (high - a) / 64    a few codes lower than all others
    y = x + z             B(x) = B(y) - high(z)
    y = x * c, c > 0      B(x) = B(y) / min(c)
    y = x * c, x >= 0     B(c) = 256 B(y)               x = 1 where masked: less will do too
    y = Where(k, x, z)    B(x) = B(z) = B(y);  the same for what moves and joins values

a and high are the ends of the values of ordinary size, r the huge ones for each of those. B is the
lowest of what all readers allow; one that does not know it allows none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from qtool.numeric.deciding import covered
from qtool.numeric.histogram import Histogram
from qtool.numeric.scheme import ActivationScheme
from qtool.ops import OPS, attribute, constant

if TYPE_CHECKING:  # it asks here what fits
    from qtool.plan.sites import Sites

_HUGE = 64.0  # exp(-64) is nothing; and so many are
_GAP = 8.0  # times the greatest ordinary magnitude
_SHARE = 1 / 256  # of all values that are ordinary, at least
_FEWEST = 4  # codes that must be left to them
_NONE = -math.inf

_MOST = {"ReduceMax", "MaxPool", "GlobalMaxPool", "ArgMax", "TopK"}
_SAME = {"Concat", "Where", "Cast", "Identity", "Max"}  # what is low stays it, or gives way


@dataclass(frozen=True)
class Ordinary:
    """What is left of a statistic without values of huge magnitude, of which it had `ratio` each;
    `below` if all of those are negative."""

    low: float
    high: float
    ratio: float
    below: bool


def ordinary(histogram: Histogram) -> Ordinary | None:
    """The values on this side of the first gap behind which all are huge; None without a gap."""
    values, counts = histogram.sorted
    if max(-histogram.low, histogram.high) < _HUGE or not values.size:
        return None
    order = np.argsort(np.abs(values), kind="stable")
    sizes, counts = np.abs(values[order]), counts[order].cumsum()
    # The ends are known even where the values at them were not counted.
    nexts = np.append(sizes[1:], max(-histogram.low, histogram.high))
    found = (nexts > np.maximum(_HUGE, _GAP * sizes)) & (sizes > 0)
    found &= counts >= _SHARE * counts[-1]
    if not found.any():
        return None
    last = int(np.argmax(found))
    kept = values[order][: last + 1]
    ratio = (counts[-1] - counts[last]) / counts[last]
    below = histogram.high < nexts[last]
    return Ordinary(float(kept.min()), float(kept.max()), float(ratio), bool(below))


def above(histogram: Histogram, low: float) -> Histogram:
    """The statistic without what is lower."""
    if low <= histogram.low:
        return histogram
    edges = (histogram.bins.astype(np.uint32) << 16).view(np.float32)
    kept = edges >= low
    bins, counts = histogram.bins[kept], histogram.counts[kept]
    return replace(histogram, bins=bins, counts=counts, low=low, high=max(low, histogram.high))


def hidden(histogram: Histogram, scheme: ActivationScheme) -> bool:
    """Whether hardly a code is left to the values of ordinary size beside the huge ones."""
    rest = ordinary(histogram)
    if rest is None:
        return False
    low, high = covered(histogram, scheme)
    step = (high - low) / scheme.type.codes
    return max(-rest.low, rest.high) < _FEWEST * step


def bounds(model: ir.Model, sites: Sites, ranges: Mapping[str, Histogram]) -> dict[str, float]:
    """Tensor or constant -> its bound, at most 0; of those that a bound is known of."""
    found = _Bounds(sites, ranges)
    nodes = list(reversed(list(model.graph)))
    # What nodes give comes first: a constant that is read early and late would recurse to the end.
    for value in (*(v for n in nodes for v in n.outputs), *(v for n in nodes for v in n.inputs)):
        if value is not None:
            found.of(value)
    return {name: low for name, low in found.known.items() if low > _NONE}


class _Bounds:
    def __init__(self, sites: Sites, ranges: Mapping[str, Histogram]) -> None:
        self.sites, self.ranges = sites, ranges
        self.known: dict[str, float] = {}

    def of(self, value: ir.Value) -> float:
        """The bound that all readers of the codes allow; those behind it are known already."""
        name = value.name or ""
        if name not in self.known:
            site = self.sites.activations.get(name)
            readers = None if site is None else site.readers
            uses = [u for u in value.uses() if readers is None or (u.node.name, u.idx) in readers]
            shown = readers is None and value.is_graph_output()
            allowed = [self._allows(use.node, use.idx) for use in uses]
            self.known[name] = _NONE if shown else min([0.0, *allowed]) if uses else _NONE
        return self.known[name]

    def _allows(self, node: ir.Node, position: int) -> float:
        """What one reader allows of its input."""
        op, value = node.op_type, node.inputs[position]
        if node.domain != "" or value is None:
            return _NONE
        if op == "Softmax" or (op in _MOST and position == 0 and attribute(node, "largest", 1)):
            return self._ends(op, value)
        behind = min((self.of(v) for v in node.outputs if v.name), default=_NONE)
        if behind == _NONE:
            return _NONE
        if op in _SAME or (op in OPS and OPS[op].shares and position == 0):
            return behind
        if op in ("Add", "Mul") and len(node.inputs) == 2:
            other = node.inputs[1 - position]
            assert other is not None
            return (self._added if op == "Add" else self._scaled)(behind, value, other)
        return _NONE

    def _ends(self, op: str, value: ir.Value) -> float:
        histogram = self._measured(value)
        rest = None if histogram is None else ordinary(histogram)
        if rest is None or not rest.below:
            return _NONE
        if op == "Softmax":
            return rest.low - 9 * math.log(2) - math.log(max(1.0, rest.ratio))
        return rest.low - (rest.high - rest.low) / 64

    def _added(self, behind: float, value: ir.Value, other: ir.Value) -> float:
        del value
        _, high = self._span(other)
        return behind - high if high < math.inf else _NONE

    def _scaled(self, behind: float, value: ir.Value, other: ir.Value) -> float:
        low, _ = self._span(other)
        if constant(other) is not None and low > 0:
            return behind / low
        return 256 * behind if constant(value) is not None and low >= 0 else _NONE

    def _span(self, value: ir.Value) -> tuple[float, float]:
        """Least and greatest value, infinite where they are not known."""
        tensor = constant(value)
        if tensor is not None:
            values = tensor.numpy()
            return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
        histogram = self._measured(value)
        return (_NONE, math.inf) if histogram is None else (histogram.low, histogram.high)

    def _measured(self, value: ir.Value) -> Histogram | None:
        """The statistic of a value, or of the one that it was made of and is like."""
        site = self.sites.activations.get(value.name or "")
        name = value.name if site is None else site.source
        if name in self.ranges and name is not None:
            return self.ranges[name]
        maker = value.producer()
        first = None if maker is None or not maker.inputs else maker.inputs[0]
        if first is None or maker is None or maker.op_type not in ("Cast", "Identity", "Max"):
            return None
        return self._measured(first)
