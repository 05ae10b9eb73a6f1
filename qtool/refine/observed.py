"""What is kept of a stream's quantized tensors while samples run: extremes of each channel, rows.

A row holds the values of one place, along all axes that have labels: (N, C, H, W) with labels
(C, 1, 1) has rows of C values; what a Conv reads has columns besides (see `columns`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qtool.numeric.affine import QParams
from qtool.numeric.deciding import covered, covering
from qtool.numeric.histogram import Histogram
from qtool.numeric.scheme import ActivationScheme, WeightScheme
from qtool.passes.channels import Labels, as_vector
from qtool.passes.edit import array
from qtool.passes.ends import End
from qtool.passes.streams import Factors, Stream
from qtool.plan.sites import Sites
from qtool.refine.columns import Floats, Window, chosen, rows

Part = Literal["fit", "check"]
_LAYERS = ("Conv", "Gemm", "MatMul")


@dataclass
class Tensor:
    """A tensor of a stream: its rows (places, values), and the label of each value of a row.

    `scheme` is None where it is not quantized; `carried` tells that others than layers read it.
    """

    name: str
    labels: Labels
    scheme: ActivationScheme | None
    source: str
    carried: bool
    low: NDArray[np.float32] = field(init=False)
    high: NDArray[np.float32] = field(init=False)
    kept: dict[Part, list[Floats]] = field(default_factory=lambda: {"fit": [], "check": []})

    def __post_init__(self) -> None:
        self.low = np.full(self.labels.size, np.inf, np.float32)
        self.high = np.full(self.labels.size, -np.inf, np.float32)

    def observe(self, x: Floats, part: Part, most: int) -> None:
        """Extremes of all of it, and at most so many rows."""
        over = _filled(self.labels.shape, x.ndim)
        axes = [axis for axis in range(x.ndim) if over[axis] == 1]
        along = [axis for axis in range(x.ndim) if over[axis] > 1]
        flat = x.transpose(*axes, *along).reshape(-1, self.labels.size)
        self.low = np.minimum(self.low, flat.min(axis=0, initial=np.inf))
        self.high = np.maximum(self.high, flat.max(axis=0, initial=-np.inf))
        self.kept[part].append(flat[chosen(len(flat), most)])

    def rows(self, part: Part) -> Floats:
        """All rows that were kept."""
        if len(self.kept[part]) > 1:
            self.kept[part] = [np.concatenate(self.kept[part])]
        return self.kept[part][0]

    @property
    def sound(self) -> bool:
        """Whether it was seen in both parts, and held nothing but numbers."""
        seen = all(sum(map(len, kept)) for kept in self.kept.values())
        return seen and bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    def params(self, factors: Factors) -> QParams:
        """What would be decided for the tensor divided by the factors."""
        assert self.scheme is not None
        by = factors[self.labels.reshape(-1)]
        low, high = float((self.low / by).min()), float((self.high / by).max())
        scaled = (self.rows("fit") / by).astype(np.float32).reshape(-1)
        ends = min(low, float(scaled.min())), max(high, float(scaled.max()))
        seen = Histogram.of(scaled, *ends)
        return covering(*covered(seen, self.scheme), self.scheme, seen)


@dataclass
class Reader:
    """A layer that multiplies a quantized tensor of a stream, and the columns that it reads."""

    end: End
    tensor: str
    scheme: WeightScheme
    labels: Labels  # of the columns: (groups, columns, 1)
    kept: dict[Part, list[Floats]] = field(default_factory=lambda: {"fit": [], "check": []})

    _exact: dict[Part, Floats] = field(default_factory=dict)

    def observe(self, x: Floats, part: Part, most: int) -> None:
        """At most so many places."""
        node = self.end.node
        if node.op_type == "Conv":
            window = Window.of(node, array(node.inputs[1]).shape)
            self.kept[part].append(window.columns(x, most))
        else:
            self.kept[part].append(rows(x, most))

    def columns(self, part: Part) -> Floats:
        """All columns that were kept: (groups, columns, places)."""
        if len(self.kept[part]) > 1:
            self.kept[part] = [np.concatenate(self.kept[part], axis=2)]
        return self.kept[part][0]

    def exact(self, part: Part) -> Floats:
        """What the layer gives for them in float, without its bias: (groups, outputs, places)."""
        if part not in self._exact:
            columns = self.columns(part)
            weight = array(self.end.node.inputs[self.end.position]).astype(np.float32)
            self._exact[part] = matrices(self.end.node, weight, len(columns)) @ columns
        return self._exact[part]


def tensors_of(stream: Stream, sites: Sites) -> dict[str, Tensor]:
    """The tensors of a stream that are quantized, and what its clips give; by name."""
    direct = {(end.node.name, 0) for end in stream.readers if end.node.op_type in _LAYERS}
    found = {}
    for value, labels in stream.values.items():
        name = value.name or ""
        site = sites.activations.get(name)
        clip = value.producer() in stream.clips
        if site is None and not clip:
            continue
        elsewhere = any((node.name, position) not in direct for node, position in value.uses())
        carried = site is not None and site.source == name and elsewhere
        scheme = None if site is None else site.scheme
        source = name if site is None or site.source not in _names(stream) else site.source
        found[name] = Tensor(name, labels, scheme, source, carried)
    return found


def readers_of(stream: Stream, sites: Sites, *, stored: bool = False) -> list[Reader]:
    """The layers that multiply quantized tensors of a stream in integers; with `stored` also those
    whose weights alone are quantized."""
    known = {
        (w.node, w.position): w.scheme.weight
        for w in sites.weights
        if w.form == "static" or (stored and w.form == "stored")
    }
    found = []
    for end in stream.readers:
        value, scheme = end.node.inputs[0], known.get((end.node.name or "", end.position))
        if scheme is None or value is None or value not in stream.values:
            continue
        if not stored and value.name not in sites.activations:
            continue
        weight = array(end.node.inputs[end.position])
        spatial = weight.ndim - 2 if end.node.op_type == "Conv" else 0
        vector = as_vector(stream.values[value], spatial)
        if end.node.op_type not in _LAYERS or vector is None or weight.ndim != spatial + 2:
            continue
        window = Window.of(end.node, weight.shape) if spatial else None
        groups, kernel = (window.groups, int(np.prod(window.kernel))) if window else (1, 1)
        labels = np.repeat(vector.reshape(groups, -1), kernel, axis=1)[:, :, None]
        found.append(Reader(end, value.name or "", scheme, labels))
    return found


def _names(stream: Stream) -> set[str | None]:
    return {value.name for value in stream.values}


def _filled(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    return (1,) * (rank - len(shape)) + shape


def matrices(node: ir.Node, weight: Floats, groups: int) -> Floats:
    """A layer's weight -> (groups, outputs, columns)."""
    if node.op_type == "Conv":
        return weight.reshape(groups, weight.shape[0] // groups, -1)
    transposed = node.op_type == "Gemm" and "transB" in node.attributes
    stored = transposed and bool(node.attributes["transB"].as_int())
    return (weight if stored else weight.T)[None]
