"""By what names a pattern may mean a node: its own, what it makes, and the constants it reads.

`qtool.plan.names` adds the names that it has in the file.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from qtool.patterns import Meant

KEY = "qtool.meant"


def meant(node: ir.Node) -> Meant:
    """By what a pattern may mean a node."""
    found = node.meta.get(KEY)
    return found if isinstance(found, Meant) else _own(node, {})


def each(
    model: ir.Model, constants: dict[ir.Value, frozenset[str]]
) -> Iterator[tuple[ir.Node, Meant]]:
    """Each node and the names that it has here; `constants` becomes what depends on no input."""
    for node in model.graph.all_nodes():
        yield node, _own(node, constants)


def _own(node: ir.Node, constants: dict[ir.Value, frozenset[str]]) -> Meant:
    """The names of the node, of what it makes, and of the constants that it reads.

    `constants` are the values seen so far that depend on no input, with all names that they are
    made from: of Transpose(Identity(w)), three.
    """
    read = [value for value in node.inputs if value is not None]
    for value in read:
        if value.is_initializer():
            constants[value] = frozenset((value.name or "",))
    made = frozenset(value.name for value in node.outputs if value.name)
    fixed = frozenset[str]().union(*(constants.get(value, ()) for value in read))
    if all(value in constants for value in read):
        constants.update(dict.fromkeys(node.outputs, fixed | made))
    full = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    return named(node.name) | Meant(made | fixed, frozenset((node.op_type, full)))


def named(*names: str | None) -> Meant:
    return Meant(frozenset(name for name in names if name), frozenset())
