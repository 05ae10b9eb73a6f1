"""The steps that choose codes for weights by what their layers read, layer after layer.

Each group of layers sees the inputs that those before it, rounded already, give: so a later layer
makes good of what earlier ones lost, and nothing is made good twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from qtool.numeric.affine import Codes
from qtool.plan.plan import Plan, Rounded
from qtool.refine.layers import Key, Layer, find_layers, in_groups
from qtool.refine.moments import Moments
from qtool.refine.state import State
from qtool.refine.taps import Taps
from qtool.rounding import ROUNDINGS
from qtool.rounding.problem import Problem

_PASSES = 16  # over the samples
_BYTES = 256 << 20  # of the moments of one group of layers
_PLACES, _FEWEST = 256, 16  # of one run, that count
_WORK = 2e9  # multiplications that the places of one run may cost in one layer
_DAMPING = 0.1  # of the moments: what few samples show of them would be believed too well
_SHARE, _TARGET_DAMPING = 0.5, 1.0  # of what would undo the error so far


def gptq(state: State) -> State:
    """Weights rounded column by column; the same state where there is none to round."""
    return _rounded(state, "gptq")


def adaround(state: State) -> State:
    """Weights rounded as is learned by gradients; the same state where there is none to round."""
    return _rounded(state, "adaround")


def _rounded(state: State, by: str) -> State:
    layers = find_layers(state.model, state.plan)
    found: dict[Key, Codes] = {}
    for group in in_groups(layers, _PASSES, _BYTES):
        # Ranges and scales stay as they are, so that nothing is to be decided again until the end.
        now = replace(state, plan=_with_codes(state.plan, found, by))
        found.update(_codes(now, group, ROUNDINGS[by]))
    return state.with_codes(found, by) if found else state


def _with_codes(plan: Plan, codes: Mapping[Key, Codes], by: str) -> Plan:
    weights = dict(plan.weights)
    for key, chosen in codes.items():
        weights[key] = replace(weights[key], rounded=Rounded(by, chosen, weights[key].params))
    return replace(plan, weights=weights)


def _codes(
    state: State, layers: Sequence[Layer], algorithm: Callable[[Problem], Codes]
) -> dict[Key, Codes]:
    """Codes for layers that are rounded at once."""
    found = {}
    for layer, moments in zip(layers, _moments(state, layers), strict=True):
        target = moments.target(layer.matrices(layer.weight), _SHARE, _TARGET_DAMPING)
        problem = layer.problem(target, moments.second(_DAMPING))
        codes = layer.restored(algorithm(problem))
        found.update(dict.fromkeys(layer.keys, codes))
    return found


def _moments(state: State, layers: Sequence[Layer]) -> list[Moments]:
    """Of what each layer reads, over all samples, in float and with all before it quantized."""
    keys = [key for layer in layers for key in layer.keys]
    quantized = state.quantized()
    exact, rounded = _reads(state.model), _reads(quantized)
    made = {value.name for node in quantized.graph for value in node.outputs}
    made |= {value.name for value in quantized.graph.inputs}
    # A product whose input is quantized on the run is another node by now, its input is not.
    names = {key: (exact[key[0]], rounded.get(key[0], exact[key[0]])) for key in keys}
    before = _taps(state, state.model, (x for x, _ in names.values()))
    after = _taps(state, quantized, (y for _, y in names.values() if y in made))
    sums = [Moments(layer.groups, layer.width) for layer in layers]
    for feeds in state.samples.fit:
        expected, given = before.run(feeds), after.run(feeds)
        for layer, moments in zip(layers, sums, strict=True):
            work = layer.groups * layer.width**2
            most = max(_FEWEST, min(_PLACES, int(_WORK / work)))
            for key in layer.keys:
                x = expected[names[key][0]]
                y = given.get(names[key][1], x)
                same = x.shape == y.shape  # else there are as many as the data have it
                moments.add(layer.columns(x if same else y, most), layer.columns(y, most))
    return sums


def _taps(state: State, model: ir.Model, names: Iterable[str]) -> Taps:
    return Taps(model, names, threads=state.threads)


def _reads(model: ir.Model) -> dict[str, str]:
    """Node -> what it reads as data."""
    reading = ((node, node.inputs[0]) for node in model.graph if node.inputs)
    return {node.name or "": value.name or "" for node, value in reading if value is not None}
