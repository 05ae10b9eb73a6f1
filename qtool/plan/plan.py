"""The plan: what was decided, as names, numbers and reasons. It holds no graph object.

Everything before the plan measures and decides; the rewrite after it reads the plan and nothing
else. What stays float is in it too, with its reason.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from numpy.typing import NDArray

from qtool.numeric.affine import Codes, QParams, quantize
from qtool.numeric.codebook import Codebook
from qtool.plan.half import HalfSite
from qtool.target import Clipping, Encoding, Form


@dataclass(frozen=True)
class TensorPlan:
    """An activation: its parameters, and who reads the quantized form.

    `readers` are (node name, input position); None means everybody, the graph's output included,
    because the float form will no longer exist.
    `clips`: what is clipped where the ONNX type has more codes than the parameters allow: the reals
    in front of the quantizer, or the codes behind it.
    """

    params: QParams
    readers: tuple[tuple[str, int], ...] | None
    clips: Clipping = "reals"

    @property
    def few(self) -> bool:
        """Whether it has fewer codes than 8 bits."""
        return self.params.type.codes < 256


@dataclass(frozen=True, eq=False)
class Rounded:
    """Codes that the algorithm `by` chose for a weight, of its shape, and their parameters."""

    by: str
    codes: Codes
    params: QParams


@dataclass(frozen=True)
class WeightPlan:
    """A constant input of a node, how it is stored, and whether its zero point is written out.

    Each value becomes the nearest code, unless an algorithm chose others. `half`: its scales are
    written as float16, which holds them, behind a Cast. `free`: they may be chosen otherwise, being
    neither given nor powers of two.
    """

    tensor: str
    params: QParams
    encoding: Encoding = "dq"
    zero_point: bool = False
    form: Form = "stored"
    rounded: Rounded | None = None
    half: bool = False
    free: bool = True

    def codes(self, values: NDArray[Any]) -> Codes:
        """What is stored of these values, int32."""
        return quantize(values, self.params) if self.rounded is None else self.rounded.codes

    def stored(self, values: NDArray[Any]) -> NDArray[Any]:
        """The same in the narrowest type that numpy has for them."""
        kind = self.params.type
        dtype = f"{'' if kind.signed else 'u'}int{max(8, kind.container)}"
        if self.rounded is None:
            return quantize(values, self.params, dtype)
        return self.rounded.codes.astype(dtype)


@dataclass(frozen=True)
class Plan:
    """The whole decision.

    `weights`, `biases` and `operands` (constants of arithmetic, quantized as activations are) are
    keyed by (node name, input position); the others by node name.
    `guarded`, keyed so too, says who reads a quantized tensor restored with equal scales along an
    axis, given with its length: the runtime leaves a layer behind that in float.
    `moved` are activations restored and moved, and made the same codes again: no value changes.
    `tied` heads have the codes of a table, transposed, and are stored as what the table is.
    `widened` nodes compute in float32, and did in another float type.
    `notes` say why only the weights of a node are quantized where more was asked for.
    """

    activations: dict[str, TensorPlan] = field(default_factory=dict)
    weights: dict[tuple[str, int], WeightPlan] = field(default_factory=dict)
    biases: dict[tuple[str, int], WeightPlan] = field(default_factory=dict)
    operands: dict[tuple[str, int], WeightPlan] = field(default_factory=dict)
    guarded: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    moved: dict[str, TensorPlan] = field(default_factory=dict)
    tied: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    halves: dict[str, HalfSite] = field(default_factory=dict)
    widened: tuple[str, ...] = ()
    keep_io_types: bool = True
    skipped: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    schemes: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {
            "activations": {
                name: {
                    **_params(t.params),
                    **({} if t.params.type.fills else {"clips": t.clips}),
                    "readers": t.readers and [list(r) for r in t.readers],
                }
                for name, t in self.activations.items()
            },
            "weights": [_weight(key, w) for key, w in self.weights.items()],
            "biases": [_weight(key, w) for key, w in self.biases.items()],
            "operands": [_weight(key, w) for key, w in self.operands.items()],
            "guarded": [
                {"node": node, "input": position, "axis": axis, "length": length}
                for (node, position), (axis, length) in self.guarded.items()
            ],
            "moved": list(self.moved),
            "tied": [{"head": list(head), "table": list(to)} for head, to in self.tied.items()],
            "halves": {name: asdict(half) for name, half in self.halves.items()},
            "widened": list(self.widened),
            "keep_io_types": self.keep_io_types,
            "skipped": self.skipped,
            "notes": self.notes,
            "schemes": self.schemes,
        }


def _params(params: QParams) -> dict[str, Any]:
    return {
        "type": str(params.type),
        "granularity": str(params.granularity),
        "scale": params.scale.reshape(-1).tolist(),
        "zero_point": sorted(set(params.zero_point.reshape(-1).tolist())),
        **({} if params.book is None else _book(params.book)),
    }


def _book(book: Codebook) -> dict[str, Any]:
    return {"mapping": book.maker, "channels": book.size or None, "levels": book.levels.tolist()}


def _weight(key: tuple[str, int], weight: WeightPlan) -> dict[str, Any]:
    return {
        "node": key[0],
        "input": key[1],
        "tensor": weight.tensor,
        "form": weight.form,
        "encoding": weight.encoding,
        "rounding": "nearest" if weight.rounded is None else weight.rounded.by,
        "scales": "float16" if weight.half else "float32",
        **_params(weight.params),
    }
