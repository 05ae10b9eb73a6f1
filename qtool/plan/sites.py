"""Where to quantize: which tensors, under which scheme, sharing what; and what stays float.

Two kinds of operator pay for integers: those that multiply and accumulate ("anchors": Conv, Gemm,
MatMul with a constant weight), and whatever lies between integers anyway ("passengers": Add,
pooling, data movement), for which leaving would cost a conversion each way.

    anchor      always, if its scheme and the target allow
    passenger   while every activation it reads comes from an integer operator, and its own result
                goes on into one or its producer had to give integers anyway

The second line is a fixed point: start with all, drop until nothing changes. It makes a CNN one
island of integers, and leaves a transformer's masks, normalizations and attention scores alone,
since those read what float operators made: found by what they are, not by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from qtool.numeric.scheme import ActivationScheme, Scheme
from qtool.ops import OPS, constant, data_inputs, weight_of
from qtool.recipe import Recipe
from qtool.target import Target

NO_ROW = "its operator is left as it is"


@dataclass(frozen=True)
class ActivationSite:
    """A tensor to be quantized; `source` is the tensor whose statistics and scale it takes."""

    scheme: ActivationScheme
    source: str
    readers: tuple[tuple[str, int], ...] | None


@dataclass(frozen=True)
class WeightSite:
    """The weight of a node; `static` if the node's activations are quantized too."""

    node: str
    position: int
    tensor: str
    scheme: Scheme
    static: bool


@dataclass
class Sites:
    """All places, in graph order."""

    activations: dict[str, ActivationSite] = field(default_factory=dict)
    weights: list[WeightSite] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def sources(self) -> list[str]:
        """Tensors that must be observed, each once."""
        return list(dict.fromkeys(site.source for site in self.activations.values()))


def find_sites(model: ir.Model, recipe: Recipe, target: Target) -> Sites:
    """Every site of a prepared model under a recipe, for a target."""
    search = _Search(model.graph, recipe, target)
    search.classify()
    search.settle()
    return search.collect()


class _Search:
    def __init__(self, graph: ir.Graph, recipe: Recipe, target: Target) -> None:
        self.graph, self.recipe, self.target = graph, recipe, target
        self.skipped: dict[str, str] = {}
        self.schemes: dict[ir.Node, Scheme] = {}  # nodes that may be quantized
        self.anchors: dict[ir.Node, None] = {}  # of those, the ones with weights and activations
        self.integer: dict[ir.Node, None] = {}  # nodes that will run in integers

    def classify(self) -> None:
        """Each node is an anchor, a possible passenger, weights only, or float with its reason."""
        for node in self.graph:
            reason = self._reason(node)
            if reason:
                self.skipped[node.name or ""] = reason
                continue
            scheme = self.schemes[node]
            if scheme.activation is not None and node.op_type in self.target.integer:
                self.integer[node] = None
                if weight_of(node) is not None:
                    self.anchors[node] = None
        for body in self.graph.subgraphs():
            for node in body:
                self.skipped[node.name or ""] = "it is inside the body of an If, Loop or Scan"

    def _reason(self, node: ir.Node) -> str:
        """Why the node stays float; empty where it need not. Cases in order, the first one counts:

        1. no row in the table of operators      2. the recipe says so
        3. its form is not covered               4. not float32
        5. a weight that is not constant, or     6. the target has no integer kernel
           empty, or with NaN or Inf             7. what should be measured is a constant
        """
        spec = OPS.get(node.op_type) if node.domain == "" else None
        if spec is None:
            return NO_ROW
        scheme = self.recipe.scheme_of(node.name or "", node.op_type)
        if isinstance(scheme, str):
            return scheme
        if not spec.holds(node):
            return f"{node.op_type}: {spec.unless}"
        for _, value in data_inputs(node):
            if value.dtype is not None and value.dtype is not ir.DataType.FLOAT:
                return f"it works on {value.dtype.name.lower()}, not on float32"
        weight = weight_of(node)
        if spec.weight is not None and weight is None:
            return "both inputs are activations"
        if weight is not None and len(weight.shape or ()) < 2:
            return "its weight is a vector"  # onnxruntime 1.31 crashes on it
        unfit = [_unfit(v) for v in (weight, _bias_of(node)) if v is not None]
        if any(unfit):
            return next(filter(None, unfit))
        if weight is None and scheme.activation is None:
            return "it has no weights"
        known = node.op_type in self.target.integer
        if not known and (weight is None or node.op_type not in self.target.weights):
            return f"{self.target.name} has no integer kernel for {node.op_type}"
        if any(constant(v) is not None for _, v in data_inputs(node)):
            return "one input is a constant"
        self.schemes[node] = scheme
        return ""

    def settle(self) -> None:
        """Drop passengers until each has integers before it and a purpose behind it."""
        changed = True
        while changed:
            changed = False
            for node in list(self.integer):
                reason = "" if node in self.anchors else self._stranded(node)
                if reason:
                    del self.integer[node]
                    self.skipped[node.name or ""] = reason
                    changed = True

    def _stranded(self, node: ir.Node) -> str:
        for _, value in data_inputs(node):
            producer = value.producer()
            moved_input = producer is None and self._moves(node) and self._purpose(node)
            if producer not in self.integer and not moved_input:
                return "what it reads is float"
        closed = any(self._gives_integers(v.producer()) for _, v in data_inputs(node))
        return "" if closed or self._purpose(node) else "nothing behind it runs in integers"

    def _moves(self, node: ir.Node) -> bool:
        return self.target.integer[node.op_type] == "moves"

    def _gives_integers(self, node: ir.Node | None) -> bool:
        """Whether the node has no float form: its kernel ends in integers, or it reads them."""
        while node in self.integer and node is not None:
            kernel = self.target.integer[node.op_type]
            if kernel == "open":
                return False
            if kernel == "closed" and not OPS[node.op_type].clamps:
                return True
            value = node.inputs[0]
            node = value.producer() if value is not None else None
        return False

    def _purpose(self, node: ir.Node) -> bool:
        """Whether the node's results reach an anchor through integer operators."""
        stack, seen = [node], {node}
        while stack:
            for value in stack.pop().outputs:
                for reader, position in value.uses():
                    if reader in self.anchors and position == 0:
                        return True
                    if reader in self.integer and reader not in seen:
                        seen.add(reader)
                        stack.append(reader)
        return False

    def collect(self) -> Sites:
        """The sites of what has settled, in graph order."""
        sites = Sites(skipped=self.skipped)
        source: dict[ir.Value, ir.Value] = {}  # a moved tensor -> the one it was moved from
        for node in self.graph:
            weight = weight_of(node)
            if node in self.schemes and weight is not None:
                position = OPS[node.op_type].weight
                assert position is not None
                static = node in self.integer
                if static or node.op_type in self.target.weights:
                    site = (node.name or "", position, weight.name or "")
                    sites.weights.append(WeightSite(*site, self.schemes[node], static))
            if node not in self.integer:
                continue
            for _, value in data_inputs(node):
                if not self._swallowed(value):
                    self._add(sites, source, value, node)
            if self.target.integer[node.op_type] == "moves":
                first = node.inputs[0]
                assert first is not None
                for value in node.outputs:
                    source[value] = source.get(first, first)
            for value in node.outputs:
                used = any(reader in self.integer for reader, _ in value.uses())
                wanted = used or self.target.integer[node.op_type] != "open"
                if wanted and not self._swallowed(value):
                    self._add(sites, source, value, node)
        return sites

    def _swallowed(self, value: ir.Value) -> bool:
        """Whether a clamp alone reads the value: the quantizer behind the clamp does its work."""
        producer = value.producer()
        if producer not in self.integer or producer is None or self._moves(producer):
            return False
        uses = tuple(value.uses())
        if len(uses) != 1 or value.is_graph_output():
            return False
        reader = uses[0].node
        return reader in self.integer and OPS[reader.op_type].clamps

    def _add(
        self, sites: Sites, source: dict[ir.Value, ir.Value], value: ir.Value, node: ir.Node
    ) -> None:
        name = value.name or ""
        scheme = self.schemes[node].activation
        assert scheme is not None
        if name in sites.activations:
            return
        root = source.get(value, value).name or ""
        if root in sites.activations:
            scheme = sites.activations[root].scheme
        readers = None if self._gives_integers(value.producer()) else self._readers(value)
        sites.activations[name] = ActivationSite(scheme, root, readers)

    def _readers(self, value: ir.Value) -> tuple[tuple[str, int], ...]:
        found = [
            (node.name or "", position)
            for node, position in value.uses()
            if node in self.integer and position in [i for i, _ in data_inputs(node)]
        ]
        return tuple(sorted(found))


def _bias_of(node: ir.Node) -> ir.Value | None:
    """The node's bias where it is a constant."""
    position = OPS[node.op_type].bias
    value = node.inputs[position] if position is not None and position < len(node.inputs) else None
    return value if constant(value) is not None else None


def _unfit(value: ir.Value) -> str:
    """Why the constant cannot be stored as integers; empty where it can."""
    tensor = constant(value)
    assert tensor is not None
    if tensor.dtype is not ir.DataType.FLOAT:
        return "its weight is not float32"
    if tensor.size == 0:
        return "its weight is empty"
    return "" if np.isfinite(tensor.numpy()).all() else f"{value.name} holds NaN or Inf"
