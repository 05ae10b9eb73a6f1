"""A model that is run in stages, so that values can be changed on the way.

    stage(node) = max over what it reads:  stage of its maker, + 1 behind a stop

Each stage starts from what the ones before left, so all of them together cost one run of the
model, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from qtool.apart import open_model
from qtool.bodies import bodies_of
from qtool.refine.taps import Feeds

BYTES = 512 << 20  # that may be held at once: beyond it the last samples are left out
_FEWEST = 8  # samples that always stay

Held = dict[str, NDArray[Any]]


def walk(
    model: ir.Model, stops: Iterable[str], feeds: Sequence[Feeds], *, threads: int = 0
) -> Iterator[list[Held]]:
    """Run up to the stops of one stage after the other: for each sample, stop -> value.

    What the caller puts into these dictionaries is what all behind will read; the list is empty
    once the next stage is asked for. Samples may become fewer, from the end. Nothing is optimized,
    for the reason that `Taps` gives.

    Args:
        model: one that `can_walk`.
        stops: values that nodes of the main graph make.
    """
    course = _Course(model, set(stops))
    held: list[Held] = [dict(each) for each in feeds]
    for stage in range(course.stages):
        reached, waiting = course.made(stage)
        session = open_model(
            _part(model, held[0], [*reached, *waiting]), threads=threads, optimize=False
        )
        given, size = list[Held](), 0
        for values in held:
            # Copies: as long as one of its results is held, a session keeps the room of all.
            values.update((name, x.copy()) for name, x in session.run(values).items())
            given.append({name: values.pop(name) for name in reached})
            for name in course.read_last(stage):
                values.pop(name, None)
            size += sum(x.nbytes for each in (values, given[-1]) for x in each.values())
            if size > BYTES and len(given) >= _FEWEST:
                break
        del held[len(given) :]
        yield given
        for values, changed in zip(held, given, strict=True):
            values.update({name: changed[name] for name in reached if name in course.last})
        given.clear()  # the caller has it still, and would hold what is read no more


def can_walk(model: ir.Model) -> bool:
    """Whether all values of the main graph can be taken out and given back as arrays."""
    values = [*model.graph.inputs, *(v for node in model.graph for v in node.outputs)]
    tensors = all(v.type is None or isinstance(v.type, ir.TensorType) for v in values)
    return tensors and all(v.dtype is not ir.DataType.BFLOAT16 for v in values)


def _part(model: ir.Model, inputs: Mapping[str, NDArray[Any]], outputs: list[str]) -> ir.Model:
    """What makes the outputs of the inputs."""
    graph = ir.convenience.extract(model.graph, list(inputs), outputs)
    for value in graph.inputs:
        if value.type is None:
            dtype = ir.DataType.from_numpy(inputs[value.name or ""].dtype)
            value.type = ir.TensorType(dtype)
        value.shape = None  # as it is in this sample; the next may be longer
    return ir.Model(graph, ir_version=model.ir_version, functions=tuple(model.functions.values()))


class _Course:
    """In which stage each value is made that a stop needs, and in which it is read last."""

    def __init__(self, model: ir.Model, stops: set[str]) -> None:
        self._inputs = {v.name or "" for v in model.graph.inputs}
        made = dict.fromkeys(self._inputs, 0)
        read = {node: [v.name or "" for v in _read(node)] for node in model.graph}
        needed, path = set(stops), list[ir.Node]()
        for node in reversed(model.graph):
            if not needed.isdisjoint(v.name or "" for v in node.outputs):
                needed.update(read[node])
                path.append(node)
        self._stops, self._made, self.last = stops, made, dict[str, int]()
        for node in reversed(path):
            known = [name for name in read[node] if name in made]
            if not known and stops.isdisjoint(v.name or "" for v in node.outputs):
                continue  # weights and what is made of them: each part has its own
            stage = max((made[name] + (name in stops) for name in known), default=0)
            made.update((v.name or "", stage) for v in node.outputs if v.name)
            self.last.update((name, max(stage, self.last.get(name, 0))) for name in known)
        self.stages = 1 + max((made[name] for name in stops), default=-1)

    def made(self, stage: int) -> tuple[list[str], list[str]]:
        """Stops that are reached in a stage, and what else it makes that a later one reads."""
        here = [name for name, made in self._made.items() if made == stage]
        stops = [name for name in here if name in self._stops]
        others = [name for name in here if name not in self._stops and name not in self._inputs]
        return stops, [name for name in others if self.last.get(name, -1) > stage]

    def read_last(self, stage: int) -> list[str]:
        """What no later stage reads."""
        return [name for name, last in self.last.items() if last == stage]


def _read(node: ir.Node) -> Iterator[ir.Value]:
    """What a node reads, inside its bodies too."""
    yield from (value for value in node.inputs if value is not None)
    for body in bodies_of(node):
        for inner in body:
            yield from _read(inner)
