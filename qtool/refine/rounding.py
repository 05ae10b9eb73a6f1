"""The steps that choose codes for weights by what their layers read, layer after layer.

Each group of layers sees the inputs that those before it, rounded already, give: so a later layer
makes good of what earlier ones lost, and nothing is made good twice. The moments of a group are
summed up in as many runs over the samples as memory asks for; what is found does not depend on it.

Of fewer than 256 codes the scales are chosen too (see `rounding.scales`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import onnx_ir as ir

from qtool.numeric.affine import Codes, QParams
from qtool.ops import OPS, constant
from qtool.plan.plan import Plan, Rounded
from qtool.refine.fit_levels import on_levels
from qtool.refine.layers import Key, Layer, find_layers, in_groups, in_loads
from qtool.refine.moments import moments_of
from qtool.refine.state import State
from qtool.rounding import ROUNDINGS
from qtool.rounding.gptq import gptq as gptq_codes
from qtool.rounding.problem import Problem, Reals
from qtool.rounding.scales import Grid, fitted

_PASSES = 16  # over the samples, where memory does not ask for more
_DAMPING = 0.1  # of the moments: what few samples show of them would be believed too well
# Of what would undo the error so far, the share, and the damping of moments for it. At many bits
# that error is small beside what few samples tell of it by chance; of few it is most of the noise.
_MANY, _FEW = (0.5, 1.0), (0.75, 0.5)
_LARGEST = 2.0**30  # of the codes of a bias, whose scale goes with the weights': int32, and room

Chosen = tuple[Codes, QParams]


def gptq(state: State, below: int | None = None) -> State:
    """Weights rounded column by column, those of fewer than `below` bits; the same state where
    there is none to round."""
    return _rounded(state, "gptq", below)


def adaround(state: State, below: int | None = None) -> State:
    """Weights rounded as is learned by gradients; otherwise the same."""
    return _rounded(state, "adaround", below)


def levels(state: State, below: int | None = None) -> State:
    """Codebooks fitted, and all weights rounded that have one, or fewer than 8 bits; the same state
    where no weight has one."""
    return _rounded(state, "levels", below)


def _rounded(state: State, by: str, below: int | None) -> State:
    layers = find_layers(state.model, state.plan)
    if below is not None:
        layers = [layer for layer in layers if layer.params.type.bits < below]
    # What was rounded with codebooks has GPTQ's codes, which go together.
    done = {key for key, each in state.rounded.items() if each.by == "levels"}
    layers = [layer for layer in layers if not done & {*layer.keys}]
    if by == "levels":
        booked = any(layer.params.book is not None for layer in layers)
        layers = [e for e in layers if booked and (e.params.book or e.params.type.bits < 8)]
    wide = [layer for layer in layers if layer.bytes > state.memory]
    state = state.leaving(key[0] for layer in wide for key in layer.keys)
    found: dict[Key, Chosen] = {}
    for group in in_groups([layer for layer in layers if layer not in wide], _PASSES):
        # Ranges stay as they are, so that nothing is to be decided again until the end.
        now = replace(state, plan=_with_codes(state.plan, found, by))
        quantized = replace(now, plan=_unfed(now.plan, group)).quantized()
        for load in in_loads(group, state.memory):
            found.update(_codes(now, quantized, load, ROUNDINGS.get(by)))
    if not found:
        return state
    codes, params = ({key: each[i] for key, each in found.items()} for i in (0, 1))
    return state.with_codes(codes, by, params)  # type: ignore[arg-type]


def _with_codes(plan: Plan, found: Mapping[Key, Chosen], by: str) -> Plan:
    weights = dict(plan.weights)
    for key, (codes, params) in found.items():
        weights[key] = replace(weights[key], params=params, rounded=Rounded(by, codes, params))
    return replace(plan, weights=weights)


def _unfed(plan: Plan, layers: Sequence[Layer]) -> Plan:
    """The plan without those weights that multiply what comes of them, if a float kernel does: what
    their codes lose, which are to be chosen, is not to be made good of."""
    fed = {key for layer in layers for key, form in layer.uses if form.recurs}
    kept = {k: w for k, w in plan.weights.items() if k not in fed or w.form != "stored"}
    return replace(plan, weights=kept)


def _codes(
    state: State,
    quantized: ir.Model,
    layers: Sequence[Layer],
    algorithm: Callable[[Problem], Codes] | None,
) -> dict[Key, Chosen]:
    """Codes, and their parameters, for layers that are rounded at once; with no algorithm levels
    are fitted too."""
    found = {}
    for layer, moments in zip(layers, moments_of(state, quantized, layers), strict=True):
        few = layer.params.type.codes < 256
        target = moments.target(layer.matrices(layer.weight), *(_FEW if few else _MANY))
        problem = layer.problem(target, moments.second(_DAMPING))
        free = few and layer.apart and all(state.plan.weights[key].free for key in layer.keys)
        fit = partial(_fit, state, algorithm or gptq_codes)
        if algorithm is None and layer.params.book is not None:
            chosen = on_levels(layer, problem, fit if free else None)
        elif free:
            grid, codes = fit(layer, problem)
            chosen = layer.restored(codes), layer.params_of(grid)
        else:
            chosen = layer.restored((algorithm or gptq_codes)(problem)), layer.params
        found.update(dict.fromkeys(layer.keys, chosen))
    return found


def _fit(
    state: State, algorithm: Callable[[Problem], Codes], layer: Layer, problem: Problem
) -> tuple[Grid, Codes]:
    """Scales for a layer and codes by an algorithm."""
    held = state.plan.weights[layer.keys[0]].half
    least = np.maximum.reduce([_least(state, key, layer.groups) for key in layer.keys])
    return fitted(problem, layer.grid(), algorithm, _HOLD[held], least)


def _in_single(scale: Reals) -> Reals:
    return np.asarray(scale.astype(np.float32), np.float64)


def _in_half(scale: Reals) -> Reals:
    kind = np.finfo(np.float16)
    held = np.clip(np.abs(scale), float(kind.smallest_normal), float(kind.max))
    return np.asarray(np.copysign(held, scale).astype(np.float16), np.float64)


_HOLD = {False: _in_single, True: _in_half}  # by whether scales are written as float16


def _least(state: State, key: Key, groups: int) -> Reals:
    """The least scales under which the codes of the bias fit, to broadcast against a grid."""
    node = next(node for node in state.model.graph if node.name == key[0])
    position = OPS[node.op_type].bias
    if position is None or (key[0], position) not in state.plan.biases:
        return np.zeros((1, 1, 1))
    tensor, plan = constant(node.inputs[position]), state.plan.biases[key[0], position]
    assert tensor is not None
    codes = np.abs(tensor.numpy().astype(np.float64)) / plan.params.scale
    least = state.plan.weights[key].params.scale.reshape(-1) * codes / _LARGEST
    if state.plan.weights[key].params.scale.ndim == 0:
        return np.asarray(least.max().reshape(1, 1, 1))
    return np.asarray(least.reshape(groups, -1, 1))
