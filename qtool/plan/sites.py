"""Where to quantize: which tensors, under which scheme, sharing what; and what stays float.

Which nodes run in integers is decided in `islands`. Of those that do not, one with constant weights
keeps them stored as integers and computes in float, or in dynamic mode measures its input anew on
every run; both need no data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from types import MappingProxyType

import onnx_ir as ir

from qtool.bodies import nodes_in
from qtool.errors import ModelError
from qtool.numeric.histogram import Histogram
from qtool.numeric.scheme import ActivationScheme, Scheme
from qtool.ops import OPS, attribute, constant, data_inputs, weights_of
from qtool.plan.booking import pays
from qtool.plan.eligible import NO_ROW
from qtool.plan.float_types import FLOATS, is_widened
from qtool.plan.half import HalfSite
from qtool.plan.islands import Islands
from qtool.plan.kernel_steps import FEWEST, steps_of
from qtool.plan.masks import above, bounds, hidden
from qtool.recipe import Recipe
from qtool.target import Form, Target


@dataclass(frozen=True)
class ActivationSite:
    """A tensor to be quantized; `source` is the tensor whose statistics and scale it takes."""

    scheme: ActivationScheme
    source: str
    readers: tuple[tuple[str, int], ...] | None


@dataclass(frozen=True)
class WeightSite:
    """A weight of a node, and what becomes of the node."""

    node: str
    position: int
    tensor: str
    scheme: Scheme
    form: Form


@dataclass(frozen=True)
class OperandSite:
    """A constant beside activations, quantized as they are: `x + c`."""

    node: str
    position: int
    scheme: ActivationScheme


@dataclass
class Sites:
    """All places, in graph order."""

    activations: dict[str, ActivationSite] = field(default_factory=dict)
    weights: list[WeightSite] = field(default_factory=list)
    operands: list[OperandSite] = field(default_factory=list)
    products: list[str] = field(default_factory=list)  # nodes that multiply activations
    halves: dict[str, HalfSite] = field(default_factory=dict)
    widened: list[str] = field(default_factory=list)  # nodes of other floats, from now on float32
    skipped: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)  # node -> why only its weights
    unbooked: list[str] = field(default_factory=list)  # nodes with too few weights for a codebook
    masks: bool = False  # whether ranges leave out values that are huge and say no more than that

    @property
    def sources(self) -> list[str]:
        """Tensors that must be observed, each once."""
        return list(dict.fromkeys(site.source for site in self.activations.values()))

    @property
    def fewest_bits(self) -> int:
        """Of a weight or an activation; 32 where there is none."""
        kinds = [site.scheme.weight.type for site in self.weights]
        kinds += [site.scheme.type for site in self.activations.values()]
        return min((kind.bits for kind in kinds), default=32)


def find_sites(
    model: ir.Model,
    recipe: Recipe,
    target: Target,
    unfit: Mapping[str, str] = MappingProxyType({}),
) -> Sites:
    """Every site of a prepared model under a recipe, for a target; none for tensors that are unfit,
    for the reason that is given with them."""
    islands = Islands(model.graph, recipe, target, unfit)
    islands.classify()
    islands.settle()
    return _Collector(islands).collect()


def require_work(sites: Sites, *, allow_empty: bool) -> None:
    """Refuse a model in which there is nothing to do, unless that is allowed.

    Raises:
        ModelError: there is not.
    """
    if not (sites.weights or sites.activations or sites.halves or allow_empty):
        reasons = Counter(reason for reason in sites.skipped.values() if reason != NO_ROW)
        why = "".join(f"; {reason}" for reason, _ in reasons.most_common(2))
        raise ModelError(
            "there is nothing to quantize in this model",
            "no operator with constant float weights that the recipe and the target allow" + why,
            "qtool inspect MODEL  tells why for each; --allow-empty writes it all the same",
        )


def fitting(
    sites: Sites, ranges: Mapping[str, Histogram], model: ir.Model, recipe: Recipe, target: Target
) -> Sites:
    """The sites that are left by what was measured. Cases:

    1. a tensor held nothing: a branch that no sample took
    2. a scale that the target wants leaves too few codes: a Softmax of many values, all small
    3. huge values leave too few codes to all others, and what reads them may want them
    """
    known = steps_of(model.graph.all_nodes(), target)
    lows = bounds(model, sites, ranges) if sites.masks else {}
    schemes = {site.source: site.scheme for site in sites.activations.values()}

    def why(name: str) -> str:
        if name not in ranges or not ranges[name].total:  # 1
            return "no sample reached it"
        few = name in known and ranges[name].high * max(known[name]) < FEWEST  # 2
        if few:
            return "its values are too small for the steps of the runtime's kernel"
        lost = sites.masks and hidden(above(ranges[name], lows.get(name, -inf)), schemes[name])
        return "it holds huge values, beside which all others would be 0" if lost else ""  # 3

    unfit = {n: reason for n in sites.sources if n in ranges and (reason := why(n))}
    more = unfit
    while more:
        sites = find_sites(model, recipe, target, unfit)
        # What one site fewer would have others measure was not measured.
        more = {n: reason for n in sites.sources if n not in unfit and (reason := why(n))}
        unfit = {**unfit, **more}
    return sites


def _shape(node: ir.Node, weight: ir.Value) -> tuple[int, int]:
    """How many values a weight has, and how many channels."""
    tensor, spec = constant(weight), OPS[node.op_type]
    assert tensor is not None and spec.channel is not None
    shape = tensor.shape.numpy()
    return tensor.size, int(shape[spec.channel(node) % len(shape)])


class _Collector:
    """Turns islands into sites."""

    def __init__(self, islands: Islands) -> None:
        self.islands, self.integer = islands, islands.integer
        masks = "masks" in islands.recipe.algorithms
        self.sites = Sites(skipped=islands.skipped, halves=islands.halves, masks=masks)

    def collect(self) -> Sites:
        """The sites of what has settled, in graph order."""
        sites = self.sites
        source: dict[ir.Value, ir.Value] = {}  # a moved tensor -> the one it was moved from
        for node in nodes_in(self.islands.graph):
            if node in self.islands.schemes:
                self._add_weights(sites, node)
            if node not in self.integer:
                continue
            self._add_widened(node, "static")
            for position, value in data_inputs(node):
                if constant(value) is not None:
                    self._add_operand(sites, node, position)
                elif not self._swallowed(value):
                    self._add(sites, source, value, node)
            if OPS[node.op_type].bias is not None and node not in self.islands.anchors:
                sites.products.append(node.name or "")
            if self.islands.moves(node):
                first = node.inputs[0]
                assert first is not None
                for value in node.outputs:
                    source[value] = source.get(first, first)
            for value in node.outputs:
                used = any(reader in self.integer for reader, _ in value.uses())
                wanted = used or self.islands.kernel(node) not in ("open", "reads")
                if wanted and value.dtype in _REAL and not self._swallowed(value):
                    self._add(sites, source, value, node)
        return sites

    def _add_operand(self, sites: Sites, node: ir.Node, position: int) -> None:
        scheme = self.islands.schemes[node].activation
        assert scheme is not None
        sites.operands.append(OperandSite(node.name or "", position, scheme))

    def _add_weights(self, sites: Sites, node: ir.Node) -> None:
        name, scheme = node.name or "", self.islands.schemes[node]
        if not all(pays(scheme.weight, *_shape(node, weight)) for _, weight in weights_of(node)):
            scheme = replace(scheme, weight=scheme.weight.linear())
            sites.unbooked.append(name)
        form, why = self._form(node, scheme)
        for position, weight in weights_of(node):
            sites.weights.append(WeightSite(name, position, weight.name or "", scheme, form))
            if why:
                sites.notes[name] = why
        if form != "static" and weights_of(node):
            self._add_widened(node, form)

    def _add_widened(self, node: ir.Node, form: Form) -> None:
        if is_widened(node, form):
            self.sites.widened.append(node.name or "")

    def _form(self, node: ir.Node, scheme: Scheme) -> tuple[Form, str]:
        """What becomes of a node with weights, and why not more where more was asked for."""
        if node in self.integer:
            return "static", ""
        if scheme.activation is None:
            return "stored", ""
        op, own = node.op_type, node.op_type in self.islands.target.recurrent.dynamic
        if self.islands.recipe.mode == "static":
            return "stored", self.islands.lacks(node)
        if own and not self.islands.recipe.contrib:
            return "stored", "its dynamic kernel is the runtime's own, taken with --contrib"
        if not own and op not in self.islands.target.dynamic:
            slow = self.islands.target.slow_dynamic.get(op)
            return "stored", (
                f"dynamic {op} is {slow}" if slow else f"there is no dynamic kernel for {op}"
            )
        if node in self.islands.delicate:
            return "stored", self.islands.delicate[node]
        if scheme.weight.block:
            return "stored", "blocks cannot be multiplied in integers"
        if scheme.weight.type.container > 8:
            return "stored", "integer products take bytes"
        if own and attribute(node, "layout", 0):
            return "stored", "its dynamic kernel wants the steps first (layout = 0)"
        if not own and any(len(weight.shape or ()) != 2 for _, weight in weights_of(node)):
            return "stored", "its weight is no matrix"
        return "dynamic", ""

    def _swallowed(self, value: ir.Value) -> bool:
        """Whether a clamp alone reads the value: the quantizer behind the clamp does its work."""
        producer = value.producer()
        if producer not in self.integer or producer is None or self.islands.moves(producer):
            return False
        uses = tuple(value.uses())
        if len(uses) != 1 or value.is_graph_output() or uses[0].node.graph is not producer.graph:
            return False
        reader = uses[0].node
        return reader in self.integer and OPS[reader.op_type].clamps

    def _add(
        self, sites: Sites, source: dict[ir.Value, ir.Value], value: ir.Value, node: ir.Node
    ) -> None:
        name = value.name or ""
        scheme = self.islands.schemes[node].activation
        assert scheme is not None
        if name in sites.activations:
            return
        root = source.get(value, value).name or ""
        if root in sites.activations:
            scheme = sites.activations[root].scheme
        readers = None if self.islands.gives_integers(value.producer()) else self._readers(value)
        sites.activations[name] = ActivationSite(scheme, root, readers)

    def _readers(self, value: ir.Value) -> tuple[tuple[str, int], ...]:
        found = [
            (node.name or "", position)
            for node, position in value.uses()
            if node in self.integer and position in [i for i, _ in data_inputs(node)]
        ]
        return tuple(sorted(found))


_REAL = (None, *FLOATS)  # ArgMax gives places
