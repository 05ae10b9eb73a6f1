"""Which values of a candidate stand for which of a reference's: by name, and by what folding does.

Folding keeps the first of the names it joins (ours, BatchNormalization into Conv; onnxruntime's,
Relu into a quantizer) or the last (onnxruntime's, BatchNormalization into Conv). So a value named t
may be what the reference has under t, or behind the operators that fold into t's producer; which
one, the numbers tell (`gains`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import takewhile

import onnx_ir as ir

from qtool.compare.layers.codes import Codes, codes_of, is_step, moves, same
from qtool.compare.layers.form import constants, reads
from qtool.compare.layers.place import Matching, Member, Place
from qtool.ops import OPS
from qtool.plan.float_types import FLOATS

Refused = Collection[tuple[str, str]]

_FOLD = {
    "BatchNormalization", "Add", "Sub", "Mul", "Div", "Identity", "Dropout",
    "Relu", "Clip",  # into the quantizer behind them
}  # fmt: skip
_MIX = ("Conv", "MatMul", "Gemm", "LSTM", "GRU", "RNN")  # found in names of operators
_SUFFIX = "_quantized"


def match(
    reference: ir.Model,
    candidate: ir.Model,
    carried: Collection[str] = (),
    refused: Refused = (),
) -> Matching:
    """The places of two models in one form; (key, tensor) that are `refused` are none."""
    return _Matcher(reference.graph, candidate.graph, carried, refused).matching()


@dataclass
class _Draft:
    key: str
    choices: tuple[str, ...]
    members: list[str] = field(default_factory=list)


class _Matcher:
    def __init__(
        self, reference: ir.Graph, candidate: ir.Graph, carried: Collection[str], refused: Refused
    ) -> None:
        self.refused = set(refused)
        self.theirs, self.ours = _values(reference), _values(candidate)
        self.fixed = constants(candidate)
        hidden = constants(reference)
        self.floats = {
            name: value
            for name, value in self.theirs.items()
            if _is_real(value) and name not in hidden
        }
        self.drafts: dict[str, _Draft] = {}
        self.home: dict[str, _Draft] = {}  # the candidate's value -> its place
        self.codes: dict[str, Codes] = {}
        for name, value in self.ours.items():
            if name not in self.fixed:
                self._place(name, value)
        self.swallowed = {key for key in self.drafts if self._swallowed(key)}
        idle = {key for key in self.drafts if key not in carried and self._idle(key)}
        for key in self.swallowed | idle:
            for member in self.drafts.pop(key).members:
                del self.home[member]

    def matching(self) -> Matching:
        places = tuple(map(self._finish, self.drafts.values()))
        told = {name for place in places for name in place.choices} | self.swallowed
        left = [
            name
            for name, value in self.floats.items()
            if value.producer() is not None
            and (value.uses() or value.is_graph_output())
            and not told & {name, *self._chain(name)}
        ]
        return Matching(places, tuple(left))

    def _place(self, name: str, value: ir.Value) -> None:
        node = value.producer()
        made = codes_of(node, self.codes) if node is not None else None
        if made is not None:
            self.codes[name] = made
        source = node.inputs[0] if is_step(node) and node is not None else None
        within = self.home.get(source.name or "") if source is not None else None
        wanted = self._wanted(name, value)
        coded = within is not None and within.key in self.codes
        if coded and within is not None and wanted in self._chain(within.choices[-1]):
            within.choices = (wanted,) if wanted else ()  # named as what the kernel folds in
        if within is not None and (wanted is None or wanted in within.choices):
            within.members.append(name)
            self.home[name] = within
        elif wanted is not None and (choices := self._choices(name, wanted)):
            self.drafts[name] = self.home[name] = _Draft(name, choices, [name])

    def _wanted(self, name: str, value: ir.Value) -> str | None:
        """The reference's value of this name."""
        if _is_real(value):
            return name if name in self.floats else None
        bare = name.removesuffix(_SUFFIX)
        coded = name in self.codes and bare != name and bare in self.floats
        return bare if coded and bare not in self.home else None

    def _choices(self, key: str, name: str) -> tuple[str, ...]:
        found = [name]
        if self.floats[name].producer() is not None:
            found = [*reversed(self._folded(name)), name]
        return tuple(each for each in found if (key, each) not in self.refused)

    def _folded(self, name: str) -> list[str]:
        """Of the chain behind a value, what the candidate does not have."""
        return list(takewhile(lambda n: not {n, n + _SUFFIX} & self.ours.keys(), self._chain(name)))

    def _chain(self, name: str) -> list[str]:
        """What the reference computes from the value alone, by operators that fold into what
        computes the value."""
        found: list[str] = []
        value = self.theirs.get(name)
        while value is not None and not value.is_graph_output():
            nodes = {use.node for use in value.uses()}
            node = next(iter(nodes)) if len(nodes) == 1 else None
            if node is None or node.domain != "" or node.op_type not in _FOLD:
                break
            if node.graph is not value.graph:  # a body reads it
                break
            others = [v for v in node.inputs if v is not None and v is not value]
            if any((v.name or "") in self.floats for v in others):
                break
            value = node.outputs[0]
            found.append(value.name or "")
        return found

    def _swallowed(self, key: str) -> bool:
        """Whether an integer kernel ends behind the clamp that alone reads the value: nothing has
        this value then, and reading it here would split the kernel."""
        value, draft = self.ours[key], self.drafts[key]
        node, nodes = value.producer(), {use.node for use in value.uses()}
        if draft.members != [key] or len(nodes) != 1 or node is None or value.is_graph_output():
            return False
        clamp = next(iter(nodes))
        spec = OPS.get(clamp.op_type)
        if spec is None or not spec.clamps or clamp.domain != "":
            return False
        behind = {use.node.op_type for use in clamp.outputs[0].uses()}
        before = [v.producer() for v in node.inputs if v and v.name not in self.fixed]
        integers = any(p is not None and p.op_type == "DequantizeLinear" for p in before)
        return behind == {"QuantizeLinear"} and integers

    def _idle(self, key: str) -> bool:
        """Whether it is an input that the candidate takes as it is."""
        value, draft = self.ours[key], self.drafts[key]
        alike = value.dtype == self.floats[draft.choices[0]].dtype
        return value.producer() is None and draft.members == [key] and alike

    def _finish(self, draft: _Draft) -> Place:
        unit = self._unit(self.ours[draft.key])
        seen = self._seen(draft)
        codes = self._codes_behind(seen)
        node, op_type = self._named(draft, unit)
        read = {v.name or "": None for each in unit for v in reads(each)}
        sources = {self.home[name].key: None for name in read if name in self.home}
        return Place(
            draft.key,
            draft.choices,
            tuple(map(self._member, draft.members)),
            seen,
            codes,
            node,
            op_type,
            any(self._reads_integers(each) for each in unit if not is_step(each)),
            tuple(key for key in sources if key != draft.key),
            any(part in each.op_type for each in unit for part in _MIX),
            self._moved(draft, codes),
            any(self.ours[name].is_graph_output() for name in draft.members),
        )

    def _member(self, name: str) -> Member:
        codes = self.codes.get(name)
        return Member(name, codes, codes is None and self._codes_behind(name) is not None)

    def _seen(self, draft: _Draft) -> str:
        """What readers outside get: restored from integers, else the integers, else floats."""
        used = [name for name in draft.members if self._used_outside(name, draft)]
        floats = [name for name in used if name not in self.codes]
        restored = [name for name in floats if self._codes_behind(name) is not None]
        integers = [name for name in draft.members if name in self.codes]
        return next(iter([*restored, *integers, *floats, draft.key]))

    def _used_outside(self, name: str, draft: _Draft) -> bool:
        value = self.ours[name]
        outside = any(use.node.outputs[0].name not in draft.members for use in value.uses())
        return outside or value.is_graph_output()

    def _codes_behind(self, name: str) -> Codes | None:
        """How the value was quantized last, if it was."""
        value: ir.Value | None = self.ours[name]
        while value is not None and (value.name or "") not in self.codes:
            node = value.producer()
            value = node.inputs[0] if node is not None and is_step(node) else None
        return self.codes[value.name or ""] if value is not None else None

    def _moved(self, draft: _Draft, codes: Codes | None) -> bool:
        value = self.ours[draft.key]
        while (node := value.producer()) is not None and is_step(node):
            assert node.inputs[0] is not None
            value = node.inputs[0]
        source = node.inputs[0] if node is not None and node.inputs and moves(node) else None
        if source is None or source.name not in self.home:
            return False
        before = self._codes_behind(source.name)
        if codes is None or before is None:
            return codes is before and source.dtype == value.dtype
        return same(before, codes, self.ours)

    def _unit(self, value: ir.Value) -> list[ir.Node]:
        """The nodes that compute a value from other places, the nearest first."""
        return _back(value, lambda v: (v.name or "") in self.home or (v.name or "") in self.fixed)

    def _reads_integers(self, node: ir.Node) -> bool:
        read = [v for v in node.inputs if v is not None]
        makers = [v.producer() for v in read]
        restored = any(m is not None and m.op_type == "DequantizeLinear" for m in makers)
        return restored or any(v.name in self.codes for v in read)

    def _named(self, draft: _Draft, unit: list[ir.Node]) -> tuple[str, str]:
        """The node that a person would exclude: of the reference, where it has a name there."""
        others = {name for d in self.drafts.values() for name in d.choices if d is not draft}
        source = self.floats[draft.choices[0]]
        theirs = _back(source, lambda v: (v.name or "") in others or v.name not in self.floats)
        found, own = _main(theirs), _main(unit)
        if found is None:
            return "", ""
        name = found.name or (own.name if own is not None else None)
        return name or "", found.op_type


def _back(value: ir.Value, stop: Callable[[ir.Value], bool]) -> list[ir.Node]:
    queue, found = [value], dict[ir.Node, None]()
    while queue:
        node = queue.pop(0).producer()
        if node is None or node in found:
            continue
        found[node] = None
        queue += [v for v in reads(node) if not stop(v)]
    return list(found)


def _main(nodes: list[ir.Node]) -> ir.Node | None:
    """The one with weights, else the nearest that computes."""
    heavy = [n for n in nodes if any(part in n.op_type for part in _MIX)]
    working = [n for n in nodes if not is_step(n)]
    making = [n for n in working if n.op_type not in OPS or not OPS[n.op_type].clamps]
    return next(iter([*heavy, *making, *working, *nodes]), None)


def _is_real(value: ir.Value) -> bool:
    """Whether it is a tensor of floats; a sequence of such says that it has their type too."""
    return value.dtype in FLOATS and isinstance(value.type, ir.TensorType)


def _values(graph: ir.Graph) -> Mapping[str, ir.Value]:
    """All values of the main graph by name, in order of computation."""
    nodes = (value for node in graph for value in node.outputs)
    return {v.name: v for v in (*graph.inputs, *graph.initializers.values(), *nodes) if v.name}
