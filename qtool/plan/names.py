"""By what names the nodes of a model may be meant, from the file on through all that is made of it.

Preparation renames, folds and rewrites; who writes a pattern has the file before him. So names are
taken down before it, and given to the nodes that are left after it:

1. a node keeps its name
2. where its name is new, the values that it makes tell which node of the file it was
3. a part of a node begins with its name
"""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common

from qtool.bodies import bodies_of
from qtool.errors import ModelError
from qtool.passes.edit import fresh
from qtool.passes.name_nodes import NameNodes
from qtool.patterns import Meant
from qtool.plan.meant import KEY, each, meant, named

_CALL = "qtool.call"  # the function call that a node was part of: its name and its operator


class Names:
    """The names in a file: `nodes` are what the nodes are meant by, each under a name of its own.

    Changes the model that it is made of, not its function: functions are inlined, and nodes without
    a name are called after what they make.

    Raises:
        ModelError: functions that cannot be inlined.
    """

    def __init__(self, model: ir.Model) -> None:
        _inline(model)
        self._constants: dict[ir.Value, frozenset[str]] = {}
        found = {node: _with_call(node, own) for node, own in each(model, self._constants)}
        self._by_value = {v.name: node for node in found for v in node.outputs if v.name}
        taken = {node.name or "" for node in found}
        for node in found:
            if not node.name:
                made = next((v.name for v in node.outputs if v.name), None)
                node.name = fresh(made or node.op_type, taken)
        for step in (common.NameFixPass, NameNodes):
            step()(model)
        self._nodes = {node.name or "": node for node in found}
        self.nodes = {node.name or "": own | named(node.name) for node, own in found.items()}
        self._left: set[str] = set()

    def give(self, model: ir.Model) -> None:
        """Tell the nodes of the prepared model by what they are meant.

        What means an If, Loop or Scan means all that is in its bodies.
        """
        for node, own in each(model, {}):
            origin = self._origin(node)
            if origin:
                self._left.add(origin)
                own |= self.nodes[origin]
            node.meta[KEY] = own
        for node in model.graph.all_nodes():  # the outer ones come first
            for body in bodies_of(node):
                for inner in body.all_nodes():
                    inner.meta[KEY] = meant(inner) | meant(node)

    def became(self, name: str) -> str:
        """What has become of a node of the file that was not left to be given its names."""
        node: ir.Node | None = self._nodes[name]
        if node is not None and self._reads(node) is None:
            return "computed beforehand: what it makes is constant"
        while node is not None and node.name not in self._left:
            value = self._reads(node)
            node = value.producer() if value is not None and len(value.uses()) == 1 else None
        return "left out" if node is None else f"folded into {node.name!r}"

    def _reads(self, node: ir.Node) -> ir.Value | None:
        """The first input that is no constant."""
        values = (v for v in node.inputs if v is not None and v not in self._constants)
        return next(values, None)

    def _origin(self, node: ir.Node) -> str:
        """The name in the file of the node that this one is, or is a part of; empty if of none."""
        name = node.name or ""
        if name in self.nodes:
            return name
        for value in node.outputs:
            if (maker := self._by_value.get(value.name or "")) is not None:
                return maker.name or ""
        while name and name not in self.nodes:
            name = name.rpartition("_")[0]
        return name


def _inline(model: ir.Model) -> None:
    functions = set(model.functions)
    if not functions:
        return
    for node in model.graph.all_nodes():
        if node.op_identifier() in functions:
            node.metadata_props[_CALL] = f"{node.name or ''}\n{node.op_type}"
    try:
        common.InlinePass()(model)
    except ValueError as error:
        why = str(error).splitlines()[0]
        raise ModelError("a function of the model cannot be inlined", why) from error


def _with_call(node: ir.Node, own: Meant) -> Meant:
    name, _, operator = node.metadata_props.pop(_CALL, "").partition("\n")
    return own | Meant(named(name).names, frozenset((operator,) if operator else ()))
