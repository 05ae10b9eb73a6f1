"""Which nodes run in integers.

Two kinds of operator pay for integers: those that multiply and accumulate ("anchors": Conv, Gemm,
MatMul with a constant weight), and whatever lies between integers anyway ("passengers": Add,
pooling, data movement), for which leaving would cost a conversion each way.

    anchor      if its scheme and the target allow; under the placement "paying" not what is slower
                in integers (`paying`) where it reads floats: between integers it stays, since there
                the conversions would cost more
    passenger   while every activation it reads comes from an integer operator, or some do and the
                others are quantized for an anchor, and its own result goes on into one or its
                producer had to give integers anyway; under the placement "all" always

The second line is a fixed point: start with all, drop until nothing changes. It makes a CNN one
island of integers, and leaves a transformer's masks, normalizations and attention scores alone,
since those read what float operators made: found by what they are, not by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import onnx_ir as ir

from qtool.bodies import nodes_in
from qtool.numeric.scheme import Half, Scheme
from qtool.ops import OPS, constant, data_inputs, weights_of
from qtool.plan.delicate import delicate
from qtool.plan.eligible import wish_of
from qtool.plan.half import HalfSite, half_site
from qtool.plan.infinite import infinite
from qtool.plan.paying import FEW, SMALL, is_slow, small_products
from qtool.recipe import Recipe
from qtool.target import Kernel, Target


class Islands:
    """The search for them in a graph and its bodies.

    What a body takes and gives is float, as what a model takes and gives; what it reads from
    outside may be integers.
    """

    def __init__(
        self,
        graph: ir.Graph,
        recipe: Recipe,
        target: Target,
        unfit: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.graph, self.recipe, self.target = graph, recipe, target
        self.unfit = unfit  # tensors that what was measured of them rules out, and why
        self.everywhere = recipe.placement == "all"
        self.skipped: dict[str, str] = {}
        self.halves: dict[str, HalfSite] = {}
        self.schemes: dict[ir.Node, Scheme] = {}  # nodes that may be quantized
        self.anchors: dict[ir.Node, None] = {}  # of those, the ones with weights and activations
        self.integer: dict[ir.Node, None] = {}  # nodes that will run in integers
        self.slower: dict[ir.Node, str] = {}  # those with weights that gain nothing by it, and why

    def classify(self) -> None:
        """Each node is an anchor, a possible passenger, weights only, or float with its reason."""
        self.infinite = infinite(nodes_in(self.graph))
        self.delicate = delicate(nodes_in(self.graph))
        for node in nodes_in(self.graph):
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
            if self.recipe.mode == "static" and wish.activation:
                lacking = self.lacks(node)
                if not lacking:
                    self.integer[node] = None
                    if weights_of(node):
                        self.anchors[node] = None
                elif not weights_of(node):
                    self.skipped[name] = lacking
        known = set(nodes_in(self.graph))
        for node in self.graph.all_nodes():
            if node not in known:
                self.skipped[node.name or ""] = (
                    "it is inside a body that is not of If, Loop or Scan"
                )

    def lacks(self, node: ir.Node) -> str:
        """Why the target does not run the node in integers; empty where it does."""
        if node.op_type not in self.target.integer:
            return self.target.lacks
        if node in self.delicate:
            return self.delicate[node]
        if {i for i, _ in weights_of(node)} & {i for i, _ in data_inputs(node)}:
            return "a table that is looked up is read as it is"
        position = OPS[node.op_type].bias
        bias = (
            node.inputs[position] if position is not None and position < len(node.inputs) else None
        )
        if bias is not None and (constant(bias) is None or len(bias.shape or ()) != 1):
            return "its bias is no constant vector"
        values = (*(value for _, value in activations(node)), *node.outputs)
        if not self.infinite.isdisjoint(values):
            return "it holds Inf, as a mask does"
        if any(self._apart(v.producer()) for _, v in activations(node)):
            return (
                "what it reads is float: with integers behind it the runtime would fuse it wrongly"
            )
        unfit = next((self.unfit[v.name or ""] for v in values if v.name in self.unfit), "")
        return unfit or self.slower.get(node, "")

    def settle(self) -> None:
        """Drop what gains nothing until each passenger has integers before it and a purpose behind
        it, and each island is worth its conversions."""
        changed = not self.everywhere
        while changed:
            changed = False
            for node in list(self.integer):
                changed |= self._drop(node, self._stranded(node))
            if not changed:
                for node in small_products(self.integer, self.anchors, self.target.pays):
                    changed |= self._drop(node, SMALL)

    def _drop(self, node: ir.Node, reason: str) -> bool:
        """Leave the node in float if there is a reason; whether there was."""
        if not reason:
            return False
        del self.integer[node]
        if node in self.anchors:
            del self.anchors[node]
            self.slower[node] = reason
        else:
            self.skipped[node.name or ""] = reason
        return True

    def _stranded(self, node: ir.Node) -> str:
        if node in self.anchors:
            slow = is_slow(node, self.target.pays) and self._at_border(node)
            return FEW if slow else ""
        before = [value.producer() for _, value in activations(node)]
        some = any(producer in self.integer for producer in before)
        for _, value in activations(node):
            moved_input = value.producer() is None and self.moves(node)
            # A residual that starts behind a float layer is quantized for the first anchor.
            given = moved_input or (some and self._quantized(value))
            if value.producer() not in self.integer and not (given and self._purpose(node)):
                return "what it reads is float"
        # Boxes in pixels and scores up to 1 meet like this at the end of detectors.
        beside = len(before) < len(data_inputs(node))
        if beside and all(p in self.integer and self.kernel(p) == "open" for p in before if p):
            return "it adds to what an integer product gives in float"
        # The decoding of a detector: its boxes would lie on a grid of 8 bits once more.
        if beside and not self._purpose(node):
            return "nothing behind it runs in integers"
        if OPS[node.op_type].joins and not self._purpose(node):
            return "one scale would have to serve all that it joins"
        if OPS[node.op_type].normalizes and not self._purpose(node):
            return "8 bits are a coarse grid for what sums to one"
        if self.moves(node) and self._mixed(node) and not self.gives_integers(node):
            return "what it moves is read as float too"
        closed = any(self.gives_integers(v.producer()) for _, v in activations(node))
        return "" if closed or self._purpose(node) else "nothing behind it runs in integers"

    def _quantized(self, value: ir.Value) -> bool:
        """Whether an anchor reads the value as integers, whoever made it."""
        return any(node in self.anchors and position == 0 for node, position in value.uses())

    def _at_border(self, node: ir.Node) -> bool:
        """Whether the first that it reads was float, but for being moved."""
        value = node.inputs[0]
        producer = value.producer() if value is not None else None
        while producer in self.integer and producer is not None and self.moves(producer):
            value = producer.inputs[0]
            producer = value.producer() if value is not None else None
        return producer not in self.integer

    def _apart(self, node: ir.Node | None) -> bool:
        """Whether the runtime would take its kernel between Q and DQ, though that cannot do it."""
        apart = node is not None and node.domain == "" and node.op_type in self.target.needs_apart
        return node is not None and apart and not OPS[node.op_type].holds(node)

    def kernel(self, node: ir.Node) -> Kernel:
        """How the target runs the node: with float output only if nothing takes it away before.

        The runtime makes one float kernel of a Gemm and its activation, before it looks for
        integers; and a product gives either floats or integers, to all.
        """
        kernel = self.target.integer[node.op_type]
        taken = set(self.target.fuses.unless_read_by.get(node.op_type, ()))
        readers = {use.node.op_type for value in node.outputs for use in value.uses()}
        return "closed" if kernel == "open" and (readers & taken or self._mixed(node)) else kernel

    def _mixed(self, node: ir.Node) -> bool:
        """Whether some read the node's results as integers, and others, or the model, as floats."""
        uses = [use for value in node.outputs for use in value.uses()]
        kinds = {self._takes_integers(*use) for use in uses}
        return True in kinds and (
            False in kinds or any(value.is_graph_output() for value in node.outputs)
        )

    def _takes_integers(self, node: ir.Node, position: int) -> bool:
        return node in self.integer and position in [i for i, _ in data_inputs(node)]

    def moves(self, node: ir.Node) -> bool:
        return self.kernel(node) == "moves"

    def gives_integers(self, node: ir.Node | None) -> bool:
        """Whether the node has no float form: its kernel ends in integers, or it reads them."""
        while node in self.integer and node is not None:
            kernel = self.kernel(node)
            if kernel in ("open", "reads"):
                return False
            if self.everywhere or (kernel == "closed" and not OPS[node.op_type].clamps):
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


def activations(node: ir.Node) -> list[tuple[int, ir.Value]]:
    """(position, value) of what the node reads and quantizes, constants left out."""
    return [(i, value) for i, value in data_inputs(node) if constant(value) is None]
