"""Channels that a candidate holds scaled, and values that it holds under another name.

Equalization moves factors between layers:  W2 f(W1 x) = (W2 / g) f(g W1 x)  for the channels of f,
so that a candidate's tensor is g_c times the reference's and no worse for it. Over the first
samples, with sums over all but the channels' axis, the factors of least error are

    g_c = sum r c / sum r^2          and undoing them leaves     sum (c / g_c - r)^2

Quantization too may seem to scale a channel. Who reads the tensor tells the two apart: fed with
g * r, layers that undo the factors give what the reference gives, others do so fed with r.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.compare.layers.merge import Gain, Merged
from qtool.compare.layers.place import Place
from qtool.compare.layers.sums import seen, widest

Floats = NDArray[np.float64]
Shapes = Mapping[str, tuple[int, ...]]

PLAIN, UNDONE = 0.01, 0.1
"""An error above 1 % of the signal, of which undoing leaves less than a tenth, is a suspicion."""

MOST_CHANNELS = 1 << 16
_LEAST_NOISE = 1e-9  # what float32 rounds away
FEWEST_VALUES = 4  # of a channel: factors fitted to fewer explain any error


@dataclass(frozen=True)
class Fit:
    """What one value of the reference is to a place: noise over signal, as it is and undone.

    `sums` are those of r r, r c and c c, along the gain's axis.
    """

    place: Place
    tensor: str
    plain: float
    undone: float
    gain: Gain | None
    sums: tuple[Floats, Floats, Floats]

    def noise(self, factors: Floats) -> float:
        """Noise over signal once these factors are undone."""
        rr, rc, cc = self.sums
        return float((cc / factors**2 - 2 * rc / factors + rr).sum() / rr.sum())


class Fitting:
    """Sums per channel of every place and every value that it may stand for."""

    def __init__(self, merged: Merged, places: Sequence[Place], shapes: Shapes) -> None:
        self._rows: list[tuple[Place, str, int | None, tuple[str, str, str]]] = []
        self._sums: dict[str, Floats] = {}
        self._runs = 0
        for place in places:
            c = seen(merged, merged.candidate, place)
            for axis in _axes(shapes[place.key]):
                for tensor in place.choices:
                    r = merged.reference.values[tensor]
                    kind = widest(r, c)
                    x, y = merged.cast(r, kind), merged.cast(c, kind)
                    rank = len(shapes[place.key])
                    names = [_summed(merged, pair, axis, rank) for pair in ((x, x), (x, y), (y, y))]
                    self._rows.append((place, tensor, axis, (names[0], names[1], names[2])))

    def see(self, results: Mapping[str, Any]) -> None:
        """Take in one run."""
        for *_, names in self._rows:
            for name in names:
                more = np.asarray(results[name], np.float64)
                so_far = self._sums.get(name, np.zeros_like(more))
                if so_far.shape != more.shape:  # an axis of changing size is none of channels
                    so_far, more = so_far.sum(), more.sum()
                self._sums[name] = np.asarray(so_far + more)

    def fits(self) -> list[Fit]:
        """One for each place: the value of the reference and the axis of least noise."""
        found: dict[str, Fit] = {}
        for place, tensor, axis, names in self._rows:
            fit = _fit(place, tensor, axis, *(self._sums[name] for name in names))
            best = found.get(place.key)
            if best is None or min(fit.plain, fit.undone) < min(best.plain, best.undone):
                found[place.key] = fit
        return list(found.values())


def suspects(fits: Iterable[Fit], values: Mapping[str, int]) -> dict[str, Fit]:
    """Places that look scaled; `values` of each were seen."""
    return {
        fit.place.key: fit
        for fit in fits
        if fit.gain is not None
        and fit.plain > PLAIN
        and fit.undone < UNDONE * fit.plain
        and values[fit.place.key] >= FEWEST_VALUES * fit.gain.factors.size
        and not fit.place.output
        and fit.place.node
    }


def confirmed(
    places: Sequence[Place],
    suspected: Mapping[str, Fit],
    *,
    plain: Mapping[str, float],
    scaled: Mapping[str, float],
) -> dict[str, Gain]:
    """Gains of those suspects whose readers want them.

    Places that no layer lies between hold the same channels: they are judged together. `plain` and
    `scaled` are own noise over signal, by place, where readers got the suspects' values as they are
    and times the factors.
    """
    found: dict[str, Gain] = {}
    for group in _groups(places, suspected):
        judges = [
            place.key
            for place in places
            if group & set(place.sources) and (place.key not in group or place.mixes)
        ]
        without, with_gain = (sum(min(n[j], 1.0) for j in judges) for n in (plain, scaled))
        if with_gain < without / 2:
            found |= _agreed([suspected[key] for key in sorted(group)])
    return found


def _groups(places: Sequence[Place], suspected: Collection[str]) -> list[set[str]]:
    group = {key: {key} for key in suspected}
    for place in places:
        for source in place.sources:
            if place.key in group and source in group and not place.mixes:
                joined = group[place.key] | group[source]
                group.update(dict.fromkeys(joined, joined))
    return list({id(members): members for members in group.values()}.values())


def _agreed(fits: Sequence[Fit]) -> dict[str, Gain]:
    """The gains of places that hold the same channels: equal ones, wherever these fit all.

    The less noise a place has, the more it counts.
    """
    found = {}
    for fit in fits:
        assert fit.gain is not None
        alike = [f for f in fits if f.gain and f.gain.factors.shape == fit.gain.factors.shape]
        weights = [1 / (float(f.sums[0].sum()) * (f.undone + _LEAST_NOISE)) for f in alike]
        rr, rc, _ = (
            np.sum([w * f.sums[i] for w, f in zip(weights, alike, strict=True)], axis=0)
            for i in range(3)
        )
        pooled = _factors(rr, rc)
        fits_all = all(f.noise(pooled) < 2 * f.undone + _LEAST_NOISE for f in alike)
        found[fit.place.key] = Gain(fit.gain.axis, pooled) if fits_all else fit.gain
    return found


def _factors(rr: Floats, rc: Floats) -> Floats:
    with np.errstate(all="ignore"):
        return np.where((rr > 0) & (rc > 0), rc / rr, 1.0)


def _fit(place: Place, tensor: str, axis: int | None, rr: Floats, rc: Floats, cc: Floats) -> Fit:
    sums, factors = (rr, rc, cc), _factors(rr, rc)
    fit = Fit(place, tensor, np.inf, np.inf, None, sums)
    with np.errstate(all="ignore"):
        plain, undone = fit.noise(np.ones_like(factors)), fit.noise(factors)
    if not np.isfinite([plain, undone]).all():
        return fit
    if axis is None or factors.ndim == 0:
        return replace(fit, plain=plain, undone=plain)
    return replace(fit, plain=plain, undone=max(undone, 0.0), gain=Gain(axis, factors))


def _axes(shape: tuple[int, ...]) -> list[int | None]:
    """Where channels may be: behind the batch, or last."""
    ends = dict.fromkeys((1, len(shape) - 1)) if len(shape) > 1 else {}
    found: list[int | None] = [axis for axis in ends if 1 < shape[axis] <= MOST_CHANNELS]
    return found or [None]


def _summed(merged: Merged, pair: tuple[ir.Value, ir.Value], axis: int | None, rank: int) -> str:
    kind = pair[0].dtype
    assert kind is not None
    product = merged.node("Mul", pair, kind)
    others = [] if axis is None else [each for each in range(rank) if each != axis]
    axes = [merged.constant(np.array(others))] if others else []
    return merged.output(merged.node("ReduceSum", [product, *axes], kind, keepdims=0))
