"""Where to quantize: which tensors, under which scheme, sharing what; and what stays float.

Two kinds of operator pay for integers: those that multiply and accumulate ("anchors": Conv, Gemm,
MatMul with a constant weight), and whatever lies between integers anyway ("passengers": Add,
pooling, data movement), for which leaving would cost a conversion each way.

    anchor      always, if its scheme and the target allow
    passenger   while every activation it reads comes from an integer operator, and its own result
                goes on into one or its producer had to give integers anyway

An anchor whose integers the target cannot use keeps its weights stored as integers and computes in
float, and in dynamic mode measures its input anew on every run; both need no data.

The second line is a fixed point: start with all, drop until nothing changes. It makes a CNN one
island of integers, and leaves a transformer's masks, normalizations and attention scores alone,
since those read what float operators made: found by what they are, not by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from qtool.numeric.scheme import ActivationScheme, Half, Scheme
from qtool.ops import OPS, constant, data_inputs, weights_of
from qtool.plan.eligible import wish_of
from qtool.plan.half import HalfSite, half_site
from qtool.recipe import Recipe
from qtool.target import Form, Kernel, Target


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


@dataclass
class Sites:
    """All places, in graph order."""

    activations: dict[str, ActivationSite] = field(default_factory=dict)
    weights: list[WeightSite] = field(default_factory=list)
    halves: dict[str, HalfSite] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)  # node -> why only its weights

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
        self.halves: dict[str, HalfSite] = {}
        self.schemes: dict[ir.Node, Scheme] = {}  # nodes that may be quantized
        self.anchors: dict[ir.Node, None] = {}  # of those, the ones with weights and activations
        self.integer: dict[ir.Node, None] = {}  # nodes that will run in integers

    def classify(self) -> None:
        """Each node is an anchor, a possible passenger, weights only, or float with its reason."""
        for node in self.graph:
            name, wish = node.name or "", wish_of(node, self.recipe, self.target)
            if isinstance(wish, Half):
                found = half_site(node, wish, self.target)
                if isinstance(found, HalfSite):
                    self.halves[name] = found
                else:
                    self.skipped[name] = found
                continue
            if isinstance(wish, str):
                self.skipped[name] = wish
                continue
            self.schemes[node] = wish
            if self.recipe.mode == "static" and wish.activation and self._has_kernel(node):
                self.integer[node] = None
                if weights_of(node):
                    self.anchors[node] = None
        for body in self.graph.subgraphs():
            for node in body:
                self.skipped[node.name or ""] = "it is inside the body of an If, Loop or Scan"

    def _has_kernel(self, node: ir.Node) -> bool:
        """Whether the target runs it in integers; a table that is looked up is read as it is."""
        tables = any(constant(value) is not None for _, value in data_inputs(node))
        return node.op_type in self.target.integer and not tables

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
        # Boxes in pixels and scores up to 1 meet like this at the end of detectors.
        if OPS[node.op_type].joins and not self._purpose(node):
            return "one scale would have to serve all that it joins"
        closed = any(self._gives_integers(v.producer()) for _, v in data_inputs(node))
        return "" if closed or self._purpose(node) else "nothing behind it runs in integers"

    def _kernel(self, node: ir.Node) -> Kernel:
        """How the target runs the node: with float output only if nothing takes it away before.

        The runtime makes one float kernel of a Gemm and its activation, before it looks for
        integers.
        """
        kernel = self.target.integer[node.op_type]
        taken = set(self.target.fuses.unless_read_by.get(node.op_type, ()))
        readers = {use.node.op_type for value in node.outputs for use in value.uses()}
        return "closed" if kernel == "open" and readers & taken else kernel

    def _moves(self, node: ir.Node) -> bool:
        return self._kernel(node) == "moves"

    def _gives_integers(self, node: ir.Node | None) -> bool:
        """Whether the node has no float form: its kernel ends in integers, or it reads them."""
        while node in self.integer and node is not None:
            kernel = self._kernel(node)
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
        sites = Sites(skipped=self.skipped, halves=self.halves)
        source: dict[ir.Value, ir.Value] = {}  # a moved tensor -> the one it was moved from
        for node in self.graph:
            if node in self.schemes:
                self._add_weights(sites, node)
            if node not in self.integer:
                continue
            for _, value in data_inputs(node):
                if not self._swallowed(value):
                    self._add(sites, source, value, node)
            if self._moves(node):
                first = node.inputs[0]
                assert first is not None
                for value in node.outputs:
                    source[value] = source.get(first, first)
            for value in node.outputs:
                used = any(reader in self.integer for reader, _ in value.uses())
                wanted = used or self._kernel(node) != "open"
                if wanted and not self._swallowed(value):
                    self._add(sites, source, value, node)
        return sites

    def _add_weights(self, sites: Sites, node: ir.Node) -> None:
        name, scheme = node.name or "", self.schemes[node]
        form, why = self._form(node, scheme)
        for position, weight in weights_of(node):
            sites.weights.append(WeightSite(name, position, weight.name or "", scheme, form))
            if why:
                sites.notes[name] = why

    def _form(self, node: ir.Node, scheme: Scheme) -> tuple[Form, str]:
        """What becomes of a node with weights, and why not more where more was asked for."""
        if node in self.integer:
            return "static", ""
        if scheme.activation is None:
            return "stored", ""
        op = node.op_type
        if self.recipe.mode == "static":
            return "stored", self.target.lacks(op)
        if op not in self.target.dynamic:
            slow = self.target.slow_dynamic.get(op)
            return "stored", (
                f"dynamic {op} is {slow}" if slow else f"there is no dynamic kernel for {op}"
            )
        if scheme.weight.block:
            return "stored", "blocks cannot be multiplied in integers"
        if scheme.weight.type.container > 8:
            return "stored", "integer products take bytes"
        if any(len(weight.shape or ()) != 2 for _, weight in weights_of(node)):
            return "stored", "its weight is no matrix"
        return "dynamic", ""

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
